"""A validation as GitHub Actions reads it: workflow commands, and Markdown for the step summary.

Pure text; the CLI prints the one and appends the other to ``$GITHUB_STEP_SUMMARY``. Untrusted text can
neither start a workflow command nor bring markup into the summary.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from oa_compile.validate import formats, words
from oa_compile.validate.evidence import Row
from oa_compile.validate.verdict import Validation

_LEVELS = {"error": "error", "warning": "warning"}
_IN_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTY = _IN_MESSAGE | {":": "%3A", ",": "%2C"}
_MARKDOWN = re.compile(r"([\\`*_\[\]|~])")


def commands(validation: Validation, *, where: formats.Locations | None = None) -> list[str]:
    """Workflow commands: one a diagnostic, then the verdict as a notice."""
    lines = []
    for finding in formats.diagnostics(validation, where=where):
        place = {"file": finding.filename, "line": str(finding.row), "col": str(finding.column)}
        properties = {"title": f"oacompile ({finding.code})", **(place if finding.filename else {})}
        message = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
        lines.append(annotation(_LEVELS.get(finding.severity, "notice"), properties, message))
    if not validation.unjudged:
        title = f"oacompile: {validation.subject.program} {validation.outcome}"
        lines.append(annotation("notice", {"title": title}, validation.sentence))
    return lines


def annotation(level: str, properties: Mapping[str, str], message: str) -> str:
    """``::level name=value,…::message`` with GitHub's escapes, so that no text can start a command."""
    listed = ",".join(f"{name}={_escape(value, _IN_PROPERTY)}" for name, value in properties.items())
    return f"::{level} {listed}::{_escape(message, _IN_MESSAGE)}"


def summary(validation: Validation) -> str:
    """A summary for ``$GITHUB_STEP_SUMMARY``: the sentence, scores, gates, and what broke."""
    subject = validation.subject
    blocks = [
        f"### oacompile: `{subject.program}` {validation.outcome}",
        _plain(validation.sentence),
        *(
            _markdown_table(table)
            for table in (formats.score_table(validation), formats.gate_table(validation))
            if table.rows
        ),
    ]
    for label, rows in (("Broken", formats.broken(validation)), ("Left out", validation.evidence.excluded)):
        if rows:
            listed = "\n".join(f"- {_plain(_row_text(row))}" for row in rows[: formats.LISTED])
            more = f"\n- and {len(rows) - formats.LISTED:,} more" if len(rows) > formats.LISTED else ""
            title = f"<summary>{label}: {words.examples(len(rows))}</summary>"
            blocks.append(f"<details>{title}\n\n{listed}{more}\n\n</details>")
    blocks.append(f"Artifact `{subject.artifact}` · {_plain(formats.cost_line(validation))}")
    return "\n\n".join(blocks) + "\n"


def _escape(text: str, table: Mapping[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return html.escape(_MARKDOWN.sub(r"\\\1", formats.printable(text)), quote=False)


def _row_text(row: Row) -> str:
    if row.fault:
        return f"{row.example}: {row.fault}"
    assert row.before is not None
    assert row.after is not None
    return f"{row.example}: {words.percent(row.before)} to {words.percent(row.after)}"


def _markdown_table(table: formats.Table) -> str:
    rows = (table.header, ("---",) * len(table.header), *(tuple(map(_plain, row)) for row in table.rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
