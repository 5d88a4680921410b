"""Maker of test-analyzer examples: a failed test run, and what had been wrong.

The cause is read from what made the same run pass, and from nothing else:

- nothing but tests was edited: TEST_ISSUE;
- only installing or configuring was done, or only manifests were edited: ENV_ISSUE;
- the output says that something is missing, and the edits to the code define just that, or create the file
  it names: MISSING_IMPL;
- other edits to the code: BUG.

The confidence says how clean that is: a test edited beside the code, tests among the code, further failures
on the way, commands that may have changed anything all make it less. A run that passed again with nothing
done proves nothing, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from oa_compile.extract.context import cut, plain
from oa_compile.extract.drafts import Draft
from oa_compile.extract.files_seen import FilesSeen, Sight
from oa_compile.extract.repairs import Repair, Repairs
from oa_compile.extract.session import ToolCall
from oa_compile.extract.shell import commands_in
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

RootCause = Literal["BUG", "MISSING_IMPL", "TEST_ISSUE", "ENV_ISSUE"]

OUTPUT_CHARS = 6_000
_ANALYSIS_CHARS = 2_000
_SHOWN_FILES, _SHOWN_CHARS, _AROUND = 3, 1_500, 20
_LEAST_CHARS = 40
_EXIT = re.compile(r"^Exit code \d+\s*")
_EACH_RERUN = 0.8
_UNKNOWN_CHANGES = 0.6

_INSTALLS = re.compile(
    r"(?:pip3?|uv|npm|pnpm|yarn|bun|cargo|poetry|brew|apt|apt-get|gem|bundle|rustup|conda)"
    r"(?: \S+)*? (?:install|i|ci|add|sync|update|clean|fetch)\b"
    r"|go (?:get|mod)\b|(?:docker|docker-compose|systemctl|service|export|chmod|mkdir|createdb|source)\b"
    r"|rm -rf (?:\S*/)?(?:node_modules|target|dist|\.venv|__pycache__)\b"
)
_CHANGES_ANYTHING = re.compile(
    r"(?:mv|cp|rm|patch|tee|dd|python3?|node|perl|ruby)\b|cargo (?:fix|fmt)\b|(?:\S+ )+--(?:fix|write)\b"
    r"|git (?:checkout|stash|revert|reset|apply|merge|pull|rebase|restore|cherry-pick)\b"
)
_MISSING = tuple(
    re.compile(pattern)
    for pattern in (
        r"cannot find [^`'\"\n]{1,60}[`'\"](\w+)",
        r"no (?:method|function|associated item|variant)[^`\n]{0,40} named `(\w+)`",
        r"unresolved import `(?:\w+::)*(\w+)`",
        r"missing: `(\w+)`",
        r"name '(\w+)' is not defined",
        r"has no attribute '(\w+)'",
        r"cannot import name '(\w+)'",
        r"No module named '?(?:\w+\.)*(\w+)",
        r"Property '(\w+)' does not exist",
        r"Cannot find name '(\w+)'",
        r"undefined: (\w+)",
        r"\b(\w+) is not (?:defined|a function)",
    )
)
_LINE_NUMBER = re.compile(r"\s*(\d{1,7})[→\t|:]")
_DEFINES = (
    r"\b(?:fn|def|class|struct|enum|trait|type|interface|function|func|const|static|mod|macro_rules!)\s+{}\b"
)


class Cause(NamedTuple):
    """What had been wrong, and how clean the proof is (0 … 1)."""

    root: RootCause
    confidence: float


class TestAnalyzer:
    """One draft for each failed test run that was made to pass, where that tells the cause."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        del spec
        self._tally, self._wanted = tally, wanted
        self._repairs, self._files = Repairs(tally), FilesSeen()
        self._contexts: dict[int, str] = {}

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A failed run waits until it passes; what was known of the code is kept when it fails."""
        for repair in self._repairs.take(scene, moment):
            if repair.check.kind == "test" and (draft := self._draft(scene, repair)) is not None:
                yield draft
        if "code_context" in self._wanted:
            waiting = self._repairs.waiting
            for repair in waiting:
                if repair.failed_at not in self._contexts:
                    self._contexts[repair.failed_at] = self._context(repair)
            known = {repair.failed_at for repair in waiting}
            self._contexts = {line: text for line, text in self._contexts.items() if line in known}
            if isinstance(moment, ToolCall):
                self._files.take(moment, scene.session.root)

    def _draft(self, scene: Scene, repair: Repair) -> Draft | None:
        if len(_EXIT.sub("", repair.output).strip()) < _LEAST_CHARS:
            self._tally.leave_out("failed test with hardly any output", repair.failed_at)
            return None
        cause = cause_of(repair)
        if cause is None:
            self._tally.leave_out("failed test whose cause the log does not prove", repair.failed_at)
            return None
        outputs: dict[str, Any] = {
            "root_cause": cause.root,
            "suggested_fixes": repair.fixes,
            "affected_files": repair.files,
        }
        if repair.analysis:
            outputs["analysis"] = cut(repair.analysis, _ANALYSIS_CHARS)
        inputs = {"test_output": cut(repair.output.strip(), OUTPUT_CHARS)}
        if "code_context" in self._wanted:
            inputs["code_context"] = self._contexts.get(repair.failed_at, "")
        evidence = repair.evidence(scene.session)
        return Draft(inputs, outputs, repair.passed_at, evidence, cause.confidence)

    def _context(self, repair: Repair) -> str:
        """What had last been seen of the files the output names; of none of them, of the last files."""
        sights = list(self._files.before(repair.failed_at + 1))
        named = [sight for sight in sights if sight.path in repair.output]
        return "\n\n".join(_shown(sight, repair.output) for sight in (named or sights)[:_SHOWN_FILES])


def cause_of(repair: Repair) -> Cause | None:
    """What had been wrong, by what was done until the run passed; None where that proves nothing."""
    changes = [change for change in repair.changes if change.kind != "text"]
    kinds = {"inline" if change.in_a_test else change.kind for change in changes}
    commands = [one.text for line in repair.commands for one in commands_in(line)]
    installed = any(_INSTALLS.match(text) for text in commands)
    unknown = any(_CHANGES_ANYTHING.match(text) for text in commands if not _INSTALLS.match(text))
    sure = _EACH_RERUN**repair.reruns * (_UNKNOWN_CHANGES if unknown else 1)
    if not kinds:
        return Cause("ENV_ISSUE", round(0.9 * sure, 2)) if installed and not unknown else None
    if kinds == {"manifest"}:
        return Cause("ENV_ISSUE", round(0.75 * sure, 2))
    if kinds <= {"test", "inline"}:
        return Cause("TEST_ISSUE", round((0.9 if kinds == {"test"} else 0.7) * sure, 2))
    if "code" not in kinds:
        return None  # tests and manifests together: either could have been it
    if kinds & {"test", "inline"} or installed:
        sure *= 0.7
    code = [change for change in changes if change.kind == "code" and not change.in_a_test]
    missing = {name for pattern in _MISSING for name in pattern.findall(repair.output)}
    written = "\n".join(change.new for change in code)
    defined = any(re.search(_DEFINES.format(re.escape(name)), written) for name in missing)
    created = any(change.created and _stem(change.path) in missing for change in code)
    if defined or created:
        return Cause("MISSING_IMPL", round(0.9 * sure, 2))
    return Cause("BUG", round(0.8 * sure, 2))


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".", 1)[0]


def _shown(sight: Sight, output: str) -> str:
    """A file as it was seen, near the line the output names where that is known."""
    lines = sight.text.split("\n")
    named = re.search(re.escape(sight.path) + r":(\d{1,7})", output)
    if named and not sight.edited:
        at = int(named[1])
        near = [
            line
            for line in lines
            if (found := _LINE_NUMBER.match(line)) and abs(int(found[1]) - at) <= _AROUND
        ]
        lines = near or lines
    return f"{sight.path}:\n{cut(plain(chr(10).join(lines)), _SHOWN_CHARS)}"
