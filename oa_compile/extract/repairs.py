"""Repairs: a check that failed, what was done then, and the same check passing.

Owns which later run answers a failure: one of the same check, in the same episode. What was done in between
is the proof of what had been wrong, and how many further runs failed says how clean a proof it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from oa_compile.extract.assemble import Closed
from oa_compile.extract.checks import check_name
from oa_compile.extract.commands import command_of, edited_paths, verification_of
from oa_compile.extract.context import line_of, on_one_line, plain
from oa_compile.extract.episodes import Episode, relative_path
from oa_compile.extract.files_seen import new_text
from oa_compile.extract.session import Message, Session, Step, ToolCall, Verification
from oa_compile.extract.shell import commands_in
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene

PathKind = Literal["test", "code", "manifest", "text"]

MAX_WAITING, MAX_KEPT = 16, 64
_LINE_CHARS = 160
_TEST = re.compile(
    r"(?:^|/)(?:tests?|__tests__|specs?|__snapshots__|testdata)/|(?:^|/)(?:test_[^/]+|conftest)\.py$"
    r"|[._-](?:test|tests|spec)\.\w+$|Tests?\.\w+$|\.snap$"
)
_MANIFEST = re.compile(
    r"(?:^|/)(?:Cargo\.(?:toml|lock)|package(?:-lock)?\.json|pnpm-(?:lock|workspace)\.yaml|yarn\.lock|bun\.lockb?"
    r"|pyproject\.toml|uv\.lock|poetry\.lock|requirements[^/]*\.txt|setup\.(?:py|cfg)|go\.(?:mod|sum)|pom\.xml"
    r"|build\.gradle(?:\.kts)?|Gemfile(?:\.lock)?|tsconfig[^/]*\.json|Dockerfile|docker-compose[^/]*|\.env[^/]*"
    r"|rust-toolchain(?:\.toml)?|Makefile)$|(?:^|/)\.(?:github|cargo)/"
)
_TEXT = re.compile(r"\.(?:md|rst|txt|adoc|rlog|log)$|(?:^|/)(?:LICENSE|CHANGELOG)")
_INLINE_TEST = re.compile(
    r"#\[(?:\w+::)?test\b|#\[cfg\(test\)\]|\bassert_(?:eq|ne)!|\bmod tests\b|\bdef test_"
)
_DOC_LINE = re.compile(r"\s*(?:///|//!)")


@dataclass(slots=True)
class Change:
    """One change to one file. `path` is relative to the repository, empty outside of it; `new` is what was
    put there, as far as it is known.
    """

    path: str
    line: int
    old: str = ""
    new: str = ""
    created: bool = False

    @property
    def kind(self) -> PathKind:
        """What the file is, by its name."""
        kinds: tuple[tuple[PathKind, re.Pattern[str]], ...]
        kinds = (("manifest", _MANIFEST), ("test", _TEST), ("text", _TEXT))
        return next((kind for kind, pattern in kinds if pattern.search(self.path)), "code")

    @property
    def in_a_test(self) -> bool:
        """Whether it changed a test that stands among the code, or an example in a doc comment, which Rust
        runs as one.
        """
        if self.kind != "code":
            return False
        lines = self._new_lines
        if lines and all(map(_DOC_LINE.match, lines)):
            return True
        return bool(_INLINE_TEST.search(f"{self.old}\n{self.new}"))

    @property
    def _new_lines(self) -> list[str]:
        known = set(self.old.split("\n"))
        return [line for line in self.new.split("\n") if line.strip() and line not in known]

    def __str__(self) -> str:
        """The file and the first line that is new in it."""
        if not self.old and not self.new:
            return self.path  # the log does not tell what was written
        lines = self._new_lines
        return f"{self.path}: {on_one_line(lines[0], _LINE_CHARS) if lines else 'lines removed'}"


@dataclass(slots=True)
class Repair:
    """A failed check and its way to passing. `output` is whole; `failed_at` is the line that shows it, and
    `passed_at` the one that shows the pass, 0 while it has not come. `reruns` counts later failures of it.
    """

    check: Verification
    output: str
    failed_at: int
    passed_at: int = 0
    reruns: int = 0
    changes: list[Change] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    words: list[Message] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The check's name."""
        return check_name(self.check.command) or self.check.command

    @property
    def analysis(self) -> str:
        """What the agent said between the failure and the first change."""
        first = self.changes[0].line if self.changes else self.passed_at
        return "\n\n".join(
            said.text.strip() for said in self.words if said.line < first and said.text.strip()
        )

    @property
    def fixes(self) -> list[str]:
        """What was changed, one text a change; where no file was, what was run."""
        return list(dict.fromkeys(map(str, self.changes) if self.changes else self.commands))

    @property
    def files(self) -> list[str]:
        """The files changed, in order."""
        return list(dict.fromkeys(change.path for change in self.changes if change.path))

    def evidence(self, session: Session) -> dict[str, Any]:
        """The lines that prove it, for a record's meta."""
        return {
            "check": self.check.command,
            "decided_at": str(session.place(self.failed_at)),
            "passed_at": str(session.place(self.passed_at)),
            "changed_at": [change.line for change in self.changes],
            "further_failures": self.reruns,
        }


class Repairs:
    """The failures of one thread, `waiting` for their check to pass; told of every moment in order."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.waiting: list[Repair] = []

    def take(self, scene: Scene, moment: Moment) -> list[Repair]:
        """The failures that a passing check answers."""
        if isinstance(moment, Episode | Closed):
            for repair in self.waiting:
                self._tally.leave_out("check that failed and did not pass again", repair.failed_at)
            self.waiting = []
            return []
        if isinstance(moment, Message):
            if moment.role == "assistant":
                for repair in self.waiting:
                    _keep(repair.words, moment)
            return []
        check = check_of(moment)
        if check is not None:
            return self._answer(check, moment) if check.passed else self._wait(check, moment)
        if isinstance(moment, ToolCall) and moment.worked and self.waiting:
            changes = list(changes_of(moment, scene.session.root))
            for repair in self.waiting:
                for change in changes:
                    _keep(repair.changes, change)
                if (command := command_of(moment)) and not changes:
                    _keep(repair.commands, command)
        return []

    def _wait(self, check: Verification, step: Step) -> list[Repair]:
        output = _output(step)
        repair = Repair(check, plain(output), line_of(step))
        for other in [one for one in self.waiting if one.name == repair.name]:
            if not other.changes and not other.commands:
                # Nothing was done since: the same failure, looked at again. What shows more of it counts.
                if len(other.output) >= len(repair.output):
                    return []
                self.waiting.remove(other)
            else:
                other.reruns += 1
        self.waiting = [*self.waiting, repair][-MAX_WAITING:]
        return []

    def _answer(self, check: Verification, step: Step) -> list[Repair]:
        name = check_name(check.command) or check.command
        # A run that found no tests has checked less than the one that failed.
        answered = [one for one in self.waiting if one.name == name and one.check.kind == check.kind]
        self.waiting = [one for one in self.waiting if one not in answered]
        for repair in answered:
            repair.passed_at = line_of(step)
        return answered


def check_of(step: Step) -> Verification | None:
    """The check that a step is, as the log tells it or as its command shows it."""
    if isinstance(step, Verification):
        return step
    return verification_of(step) if isinstance(step, ToolCall) else None


def changes_of(call: ToolCall, root: str) -> Iterator[Change]:
    """What a call that worked changed; of commands only those that edit in place say so."""
    for raw in edited_paths(call):
        old = call.arguments.get("old_string")
        path = relative_path(raw, root) or ""
        created = call.name == "Write" and call.result is not None and "created" in call.result.text[:200]
        yield Change(path, call.line, old if isinstance(old, str) else "", new_text(call), created=created)
    command = command_of(call)
    if "-i" not in command:
        return
    for one in commands_in(command):
        if one.words[0] in {"sed", "perl"} and any(word.startswith("-i") for word in one.words):
            for word in [word for word in one.words[1:] if not word.startswith("-")][1:]:
                yield Change(relative_path(word, root) or "", call.line)


def _output(step: Step) -> str:
    if isinstance(step, ToolCall) and step.result is not None:
        return step.result.text
    return step.output if isinstance(step, Verification) else ""


def _keep(items: list[Any], item: Any) -> None:
    if len(items) < MAX_KEPT:
        items.append(item)
