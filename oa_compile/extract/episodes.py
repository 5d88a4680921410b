"""Episodes: the work on one task, cut out of a session as its steps go by.

Where the log has an issue tracker, an episode opens with a claim the tracker granted and closes with the
completion of the same issue: a completion with no claim before it, or of another issue, completes nothing.
Where the log names its tasks, they bound the episodes. Where there is neither, what the user asked for is the
task, up to what the user asks next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from oa_compile.digest import digest_json
from oa_compile.extract.commands import edited_paths, read_path, todo_items, verification_of
from oa_compile.extract.records import Finished, Tasked
from oa_compile.extract.session import Issue, Message, Session, Step, ToolCall, Verification

MAX_KEPT = 64
"""Of each list an episode keeps; enough for what examples say, whatever the log's length."""

_UNCLEAN = re.compile(r"//|/\.{1,2}(?:/|$)|/$")
_CREATED = re.compile(r"^Created issue #(\d+)\b")
_COMMIT = re.compile(r"^\[[\w./-]+(?: \(root-commit\))? ([0-9a-f]{7,40})\] ", re.M)
_TRACKER = frozenset({"issue_create", "issue_ready", "issue_get", "issue_list"})
_TITLE_CHARS = 120

Kind = Literal["issue", "task", "prompt"]
State = Literal["open", "completed", "failed", "abandoned"]


class Episode(msgspec.Struct):
    """The work on one task, as far as it is known; complete once `state` is not ``open``.

    `files` are the files edited, `read` those looked at before the first edit, both relative to the
    repository and in order; `plan` is the first list of steps the agent wrote; `verifications` are the
    commands that checked the work. `opened` and `closed` are lines.
    """

    kind: Kind
    key: str
    opened: int
    issue: Issue | None = None
    state: State = "open"
    closed: int | None = None
    files: list[str] = []
    read: list[str] = []
    plan: list[str] = []
    commits: list[str] = []
    verifications: list[Verification] = []
    first_edit: int | None = None
    last_edit: int | None = None
    calls: int = 0
    errors: int = 0

    @property
    def verified(self) -> bool | None:
        """Whether the last check after the last edit passed; None when nothing was checked since."""
        since = [v for v in self.verifications if self.last_edit is None or v.line > self.last_edit]
        return since[-1].passed if since else None

    @property
    def succeeded(self) -> bool:
        """Completed in the tracker's or the log's own word; a prompt's work by a commit or a passed check."""
        if self.kind == "prompt":
            return bool(self.files) and self.verified is not False and bool(self.commits or self.verified)
        return self.state == "completed"

    @property
    def teaches(self) -> bool:
        """It has a given task's text, at least one edited file, and success."""
        return self.issue is not None and self.issue.given and bool(self.files) and self.succeeded


class Episodes:
    """The episodes of one thread; told of its steps in order. `current` is the open one."""

    def __init__(self, session: Session) -> None:
        self.current: Episode | None = None
        self._session = session
        self._issues: dict[str, Issue] = {}

    def take(self, step: Step | Tasked | Finished) -> list[Episode]:
        """What one step closes."""
        if isinstance(step, ToolCall):
            return self._take_call(step)
        if isinstance(step, Message):
            return self._take_prompt(step) if step.role == "user" else []
        if isinstance(step, Tasked):
            return self._begin("task", step.issue.key, step.issue.line, step.issue)
        if isinstance(step, Finished):
            state: State = "completed" if step.success else "abandoned" if step.success is None else "failed"
            return self._end(state, step.line)
        if isinstance(step, Verification) and self.current is not None:
            _keep(self.current.verifications, step)
        return []

    def close(self) -> list[Episode]:
        """The session has ended."""
        return self._end("abandoned", None)

    def _take_prompt(self, message: Message) -> list[Episode]:
        if self.current is not None and self.current.kind != "prompt":
            return []
        text = message.text.strip()
        if not text:
            return []
        if self.current is not None and self.current.issue is not None and not self.current.calls:
            # Nothing was done in between: both are one request.
            text = f"{self.current.issue.description}\n\n{text}"
            self.current = None
        title = text.split("\n", 1)[0][:_TITLE_CHARS]
        key = digest_json({"task": " ".join(text.split())}).removeprefix("sha256:")[:16]
        issue = Issue(key, title, text, given=not self._session.thread, line=message.line)
        return self._begin("prompt", key, message.line, issue)

    def _take_call(self, call: ToolCall) -> list[Episode]:
        name, current = call.plain_name, self.current
        if current is not None:
            current.calls += 1
            current.errors += call.result is not None and call.result.is_error
        if not call.worked or call.result is None:
            if current is not None and (check := verification_of(call)) is not None:
                _keep(current.verifications, check)
            return []
        if name in _TRACKER:
            self._note_issues(call, name)
        elif name == "issue_claim":
            if (number := _number(call.arguments.get("number"))) and call.result.text.startswith("Claimed"):
                return self._begin("issue", number, call.line, self._issues.get(number))
        elif name == "issue_complete":
            number = _number(call.arguments.get("number"))
            mine = current is not None and current.kind == "issue" and current.key == number
            if mine and call.result.text.startswith("Completed"):
                return self._end("completed", call.line)
        elif current is not None:
            self._note_work(current, call)
        return []

    def _note_work(self, episode: Episode, call: ToolCall) -> None:
        for raw in edited_paths(call):
            episode.last_edit = call.line
            episode.first_edit = episode.first_edit or call.line
            if (path := relative_path(raw, self._session.root)) is not None:
                _keep(episode.files, path)
        if episode.first_edit is None:
            seen = read_path(call)
            if seen is not None and (path := relative_path(seen, self._session.root)) is not None:
                _keep(episode.read, path)
        if not episode.plan:
            episode.plan = todo_items(call)[:MAX_KEPT]
        if (check := verification_of(call)) is not None:
            _keep(episode.verifications, check)
        elif call.result is not None and "commit" in str(call.arguments.get("command", "")):
            for commit in _COMMIT.findall(call.result.text):
                _keep(episode.commits, commit)

    def _begin(self, kind: Kind, key: str, line: int, issue: Issue | None) -> list[Episode]:
        # A prompt that led to nothing but a claim was no task of its own.
        idle = self.current is not None and self.current.kind == "prompt" and not self.current.files
        ended = [] if idle and kind != "prompt" else self._end("abandoned", line)
        self.current = Episode(kind, key, line, issue)
        return ended

    def _end(self, state: State, line: int | None) -> list[Episode]:
        if self.current is None:
            return []
        episode, self.current = self.current, None
        episode.state, episode.closed = state, line
        if episode.kind == "prompt" and episode.succeeded:
            episode.state = "completed"
        return [episode]

    def _note_issues(self, call: ToolCall, name: str) -> None:
        text = call.result.text if call.result is not None else ""
        if name == "issue_create":
            if match := _CREATED.match(text):
                issue = _issue({**call.arguments, "number": int(match[1])}, call.line, given=False)
                if issue is not None:
                    self._issues.setdefault(issue.key, issue)
            return
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return  # "No ready issues available" and other prose
        for item in body if isinstance(body, list) else [body]:
            line = call.result.line if call.result is not None else call.line
            if isinstance(item, dict) and (issue := _issue(item, line, given=True)) is not None:
                self._issues[issue.key] = issue


def relative_path(path: str, root: str) -> str | None:
    """`path` relative to the repository folder `root`; None when it lies elsewhere."""
    if path.startswith(f"{root}/") and not _UNCLEAN.search(path):
        return path[len(root) + 1 :]
    given = PurePosixPath(path)
    if ".." in given.parts:
        return None
    if not given.is_absolute():
        return str(given)
    if not root or not given.is_relative_to(root):
        return None
    return str(given.relative_to(root))


def _keep(items: list[Any], item: Any) -> None:
    if item not in items and len(items) < MAX_KEPT:
        items.append(item)


def _issue(body: Mapping[str, object], line: int, *, given: bool) -> Issue | None:
    number = _number(body.get("number"))
    if not number:
        return None
    title, description = str(body.get("title") or ""), str(body.get("description") or "")
    return Issue(number, title, description, given=given, line=line)


def _number(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
