"""``oacompile diff``: what changed between two candidates of a run, and which examples it flipped."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.cli.runs import find_run


def diff(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name, or latest.")],
    a: Annotated[
        str, typer.Argument(metavar="A", help="A candidate's id, or baseline, or best.")
    ] = "baseline",
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")] = "best",
    json: Json = False,
) -> None:
    """Show what changed between two candidates of a run: instructions, demos, and flipped examples."""
    from oa_compile.hud.diff import diff_candidates, diff_screen
    from oa_compile.hud.screens import candidates_screen
    from oa_compile.hud.view import RunView
    from oa_compile.journal import FILE_NAME, read

    screen = output.current()
    view = RunView.of(read(find_run(run) / FILE_NAME))
    found = diff_candidates(view, a, b)
    if json:
        screen.emit(_plain(found))
        return
    screen.show(candidates_screen(view), "")
    screen.show(diff_screen(found))


def _plain(value: Any) -> Any:
    """Frozen dataclasses and tuples as JSON."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
