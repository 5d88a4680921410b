"""Reader of autopilot-core's log entries: ``{timestamp, session_id, phase, event_type, data}`` a line.

Calls and results carry no id, only the tool's name. The raw messages, where a log keeps them, say the same
with ids: what comes first in a session, raw or typed, is read, and the other is not counted again. A phase's
start and its result are one event of the runtime: what it was given, and what it gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from oa_compile.digest import digest_json
from oa_compile.extract.fields import kept, mapping, parts_of, result, text, truth, written
from oa_compile.extract.lines import Line, objects
from oa_compile.extract.pairing import Pairing
from oa_compile.extract.readers.anthropic import Blocks, Body
from oa_compile.extract.records import Finished, Opened, Record, Returned, Tasked
from oa_compile.extract.session import Issue, Message, Outcome, RuntimeEvent, ToolCall
from oa_compile.extract.tally import Tally

FORMAT = "log-entry"

_PHASES = frozenset({"planning", "execution", "verification"})
_SAID = frozenset({"assistant", "user"})
_CALLS = frozenset({"tool_use", "tool_result"})
_EVENTS = _SAID | _CALLS | {"raw_message", "result", "error", "phase_start", "phase_end"}
_VERDICTS: Mapping[str, bool | None] = {"PASS": True, "FAIL": False, "RETRY": False}
_TITLE_CHARS = 120


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """A known event of a known phase, with its data."""
    return text(body.get("phase")) in _PHASES and text(body.get("event_type")) in _EVENTS and "data" in body


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each line says."""
    session = _Session("", tally)
    for number, body in objects(lines, tally=tally):
        if not sniff(body, b""):
            tally.leave_out("unknown line type", number)
            continue
        if (name := text(body.get("session_id"))) != session.id:
            session = _Session(name, tally)
            yield Opened(number, id=name)
        yield from session.take(number, text(body["phase"]), text(body["event_type"]), body["data"])


class _Session:
    """One session while it is read."""

    def __init__(self, name: str, tally: Tally) -> None:
        self.id = name
        self._tally = tally
        self._pairing = Pairing()
        self._blocks = Blocks(tally)
        self._source: Literal["", "raw", "typed"] = ""
        self._given: dict[str, Mapping[str, Any]] = {}

    def take(self, line: int, phase: str, event: str, data: object) -> Iterator[Record]:
        """What one entry says."""
        if event == "raw_message":
            if self._tells("raw"):
                yield from self._raw(line, mapping(data))
        elif event in _SAID:
            if self._tells("typed"):
                yield from self._said(line, event, data)
        elif event in _CALLS:
            if self._tells("typed"):
                yield from self._called(line, event, mapping(data))
        elif event == "phase_start":
            yield from self._started(line, phase, mapping(data))
        elif event == "result":
            yield from self._resulted(line, phase, mapping(data))
        elif event == "error":
            yield Outcome("error", is_error=True, line=line)
        else:
            self._given.pop(phase, None)

    def _tells(self, source: Literal["raw", "typed"]) -> bool:
        self._source = self._source or source
        if self._source != source:
            self._tally.count("entries_told_twice")
        return self._source == source

    def _raw(self, line: int, data: Mapping[str, Any]) -> Iterator[Record]:
        role = text(data.get("type"))
        if role not in _SAID or not isinstance(data.get("message"), dict):
            self._tally.count("housekeeping_lines_passed_over")
            return
        try:
            body = msgspec.json.decode(msgspec.json.encode(data["message"]), type=Body)
        except msgspec.DecodeError:
            self._tally.leave_out("line of another shape", line)
            return
        yield from self._blocks.read(body, line, role="assistant" if role == "assistant" else "user")

    def _said(self, line: int, event: str, data: object) -> Iterator[Record]:
        content = mapping(mapping(data).get("message")) or mapping(data)
        found = content.get("content", content.get("text")) if content else data
        texts = parts_of(found, tally=self._tally)
        if not texts:
            self._tally.leave_out("message without content", line)
        for words in texts:
            role: Literal["assistant", "user"] = "assistant" if event == "assistant" else "user"
            yield Message(role, kept(words, tally=self._tally), self._own(line), line)

    def _called(self, line: int, event: str, data: Mapping[str, Any]) -> Iterator[Record]:
        name = text(data.get("tool"))
        if event == "tool_use":
            arguments = data.get("input")
            if not name or not isinstance(arguments, dict):
                self._tally.leave_out("tool call without id, name or input", line)
                return
            self._pairing.called(name, self._own(line))
            yield ToolCall(self._own(line), name, arguments, self._own(line), line)
            return
        call_id = self._pairing.returned(name)
        if call_id is None:
            self._tally.leave_out("tool result whose call cannot be told", line)
            return
        told = data.get("result")
        body = mapping(told)
        texts = parts_of(body.get("content", body.get("output")) if body else told, tally=self._tally)
        failed = body.get("is_error") is True or body.get("success") is False or bool(body.get("error"))
        yield Returned(
            call_id,
            result("\n".join(texts) or written(told), line, is_error=failed, tally=self._tally),
        )

    def _started(self, line: int, phase: str, data: Mapping[str, Any]) -> Iterator[Record]:
        self._given[phase] = data
        issue = text(data.get("issue_description"))
        if phase == "planning" and issue:
            title = text(data.get("issue_title")) or issue.split("\n", 1)[0][:_TITLE_CHARS]
            key = digest_json({"task": " ".join(issue.split())}).removeprefix("sha256:")[:16]
            yield Tasked(Issue(key, title, issue, given=True, line=line))

    def _resulted(self, line: int, phase: str, data: Mapping[str, Any]) -> Iterator[Record]:
        given = self._given.get(phase, {})
        verdict = _VERDICTS.get(text(data.get("verdict")).upper(), truth(data.get("passed")))
        failed = data.get("is_error") is True or data.get("success") is False or verdict is False
        yield RuntimeEvent(f"{phase}.result", not failed, dict(given), dict(data), line)
        if phase == "verification" and verdict is not None:
            yield Finished(line, verdict)

    def _own(self, line: int) -> str:
        return f"{self.id}:{line}"
