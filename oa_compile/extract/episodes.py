"""Episodes: the work on one issue, cut out of a session's steps.

An episode opens with a claim the tracker granted and closes with the completion of the same issue; a
completion with no claim before it, or of another issue, completes nothing. A further granted claim ends
the open episode uncompleted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from oa_compile.extract.session import Episode, Issue, Place, Session, ToolCall

EDIT_TOOLS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit"})
_CREATED = re.compile(r"^Created issue #(\d+)\b")
_COMMIT = re.compile(r"^\[[\w./-]+(?: \(root-commit\))? ([0-9a-f]{7,40})\] ", re.M)


@dataclass(slots=True)
class _Open:
    number: int
    issue: Issue | None
    claimed: Place
    start: int
    files: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)

    def close(self, stop: int, *, completed: Place | None) -> Episode:
        return Episode(
            self.number,
            self.issue,
            self.claimed,
            completed,
            tuple(self.files),
            tuple(self.commits),
            self.start,
            stop,
        )


def find_episodes(session: Session) -> tuple[Episode, ...]:
    """The session's episodes, in order of their claims."""
    issues: dict[int, Issue] = {}
    found: list[Episode] = []
    current: _Open | None = None
    for index, step in enumerate(session.steps):
        if not isinstance(step, ToolCall) or not step.worked or step.result is None:
            continue
        name, text = step.plain_name, step.result.text
        _note_issues(step, issues)
        number = _number(step.arguments.get("number"))
        if name == "issue_claim" and number is not None and text.startswith("Claimed"):
            if current is not None:
                found.append(current.close(index, completed=None))
            current = _Open(number, issues.get(number), step.place, index)
        elif current is None:
            continue
        elif name == "issue_complete" and number == current.number and text.startswith("Completed"):
            found.append(current.close(index + 1, completed=step.place))
            current = None
        elif name in EDIT_TOOLS:
            _note_edit(current, step, session.cwd)
        elif name == "Bash":
            current.commits += _COMMIT.findall(text)
    if current is not None:
        found.append(current.close(len(session.steps), completed=None))
    return tuple(found)


def relative_path(path: str, cwd: str) -> str | None:
    """`path` relative to the repository folder `cwd`; None when it lies elsewhere."""
    given = PurePosixPath(path)
    if ".." in given.parts:
        return None
    if not given.is_absolute():
        return str(given)
    if not cwd or not given.is_relative_to(cwd):
        return None
    return str(given.relative_to(cwd))


def _note_edit(episode: _Open, call: ToolCall, cwd: str) -> None:
    raw = call.arguments.get("file_path", call.arguments.get("notebook_path"))
    path = relative_path(raw, cwd) if isinstance(raw, str) else None
    if path is not None and path not in episode.files:
        episode.files.append(path)


def _note_issues(call: ToolCall, issues: dict[int, Issue]) -> None:
    text = call.result.text if call.result is not None else ""
    if call.plain_name == "issue_create":
        if match := _CREATED.match(text):
            number = int(match[1])
            issues.setdefault(number, _issue({**call.arguments, "number": number}, call.place, given=False))
    elif call.plain_name in {"issue_ready", "issue_get", "issue_list"}:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return  # "No ready issues available" and other prose
        for item in body if isinstance(body, list) else [body]:
            if isinstance(item, dict) and (number_ := _number(item.get("number"))) is not None:
                place = call.result.place if call.result is not None else call.place
                issues[number_] = _issue(item, place, given=True)


def _issue(body: Mapping[str, object], place: Place, *, given: bool) -> Issue:
    return Issue(
        number=_number(body.get("number")) or 0,
        title=str(body.get("title") or ""),
        description=str(body.get("description") or ""),
        given=given,
        place=place,
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
