"""How an error is told: to a person on stderr, to a program as one JSON object on stdout."""

from __future__ import annotations

from typing import Any

from oa_compile.cli.output import Output
from oa_compile.errors import Diagnostic, Divergence, OacompileError, SpecError


def render(error: OacompileError, *, output: Output, json: bool) -> None:
    """Tell `error` on stderr, and with `json` on stdout too, which so stays parseable."""
    for diagnostic in _diagnostics(error):
        output.note(diagnostic_text(diagnostic))
    if isinstance(error, Divergence) and error.diff:
        output.note(error.diff)
    output.note(_styled("error", "bold red", f": {error.message}"))
    if error.hint:
        output.note(_styled(" hint", "cyan", f": {error.hint}"))
    if json:
        output.emit({"error": error_json(error)})


def error_json(error: OacompileError) -> dict[str, Any]:
    """An error as data. `kind` is the class of the error, `exit_code` what the process ends with."""
    body: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }
    if isinstance(error, SpecError):
        body["diagnostics"] = [diagnostic_json(diagnostic) for diagnostic in error.diagnostics]
    if isinstance(error, Divergence):
        body["diff"] = error.diff
    return body


def diagnostic_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic with the keys of ruff's JSON output, and `hint`."""
    return {
        "code": str(diagnostic.code),
        "name": diagnostic.name,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "filename": diagnostic.filename,
        "location": {"row": diagnostic.row, "column": diagnostic.column},
        "end_location": {
            "row": diagnostic.end_row or diagnostic.row,
            "column": diagnostic.end_column or diagnostic.column,
        },
        "url": None,
        "hint": diagnostic.hint,
    }


def diagnostic_text(diagnostic: Diagnostic) -> Any:
    """``file:row:column: error[OAC101] …`` and the hint below; ``<name>`` is a flag or a variable."""
    from rich.text import Text

    place = diagnostic.filename
    if not place.startswith("<"):
        place += f":{diagnostic.row}:{diagnostic.column}"
    text = Text.assemble(
        (f"{place}: ", "bold"),
        (f"{diagnostic.severity}[{diagnostic.code}]", "bold red"),
        f" {diagnostic.message}",
    )
    if diagnostic.hint:
        text.append("\n  hint", "cyan").append(f": {diagnostic.hint}")
    return text


def _diagnostics(error: OacompileError) -> tuple[Diagnostic, ...]:
    return error.diagnostics if isinstance(error, SpecError) else ()


def _styled(word: str, style: str, rest: str) -> Any:
    from rich.text import Text

    return Text.assemble((word, style), rest)
