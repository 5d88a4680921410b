"""Reader of autopilot JSONL: ``{type: system|assistant|user|result, message, timestamp}`` a line,
`message` being a Claude SDK object.

One API message spans several lines with one id and repeated usage: usage counts by message id, tool
calls by call id. A resumed session starts with another ``init`` of the same session id and goes on; an
``init`` with a new id starts a new session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oa_compile.extract.lines import LogLine
from oa_compile.extract.session import Message, Outcome, Place, Session, Step, ToolCall, ToolResult, Usage
from oa_compile.extract.tally import Tally

FORMAT = "autopilot"
_TYPES = ("system", "assistant", "user", "result")
_PASSED_OVER = ("thinking", "redacted_thinking", "image", "document")
_ABOUT_CHARS = 400


def sniff(body: Mapping[str, Any]) -> bool:
    """A known type around a message object. Claude Code's own transcripts have a `uuid` beside it."""
    return body.get("type") in _TYPES and isinstance(body.get("message"), dict) and "uuid" not in body


@dataclass(slots=True)
class _Open:
    """The session being read."""

    file: str
    id: str = ""
    cwd: str = ""
    agent: str = ""
    about: str = ""
    steps: list[Step] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    compactions: int = 0
    begun: bool = False

    def close(self) -> Session:
        return Session(
            id=self.id or self.file,
            format=FORMAT,
            file=self.file,
            cwd=self.cwd,
            agent=self.agent,
            about=self.about,
            steps=tuple(self.steps),
            usage=sum(self.usage.values(), Usage()),
            outcomes=tuple(self.outcomes),
            compactions=self.compactions,
        )


def read(lines: Iterable[LogLine], *, tally: Tally) -> Iterator[Session]:
    """The log's sessions, each when it ends."""
    current: _Open | None = None
    for line in lines:
        kind, message = line.body.get("type"), line.body.get("message")
        if kind not in _TYPES:
            tally.leave_out("unknown line type", line.place)
            continue
        if not isinstance(message, dict):
            tally.leave_out("line without a message object", line.place)
            continue
        named = message.get("session_id") if kind in {"system", "result"} else None
        starts = kind == "system" and message.get("subtype") == "init"
        if current is not None and starts and current.begun and named != current.id:
            yield current.close()
            current = None
        if current is None:
            current = _Open(line.place.file)
        if isinstance(named, str) and not current.id:
            current.id = named
        current.begun = True
        _TAKE[kind](current, message, line.place, tally)
    if current is not None:
        yield current.close()


def _take_system(session: _Open, message: Mapping[str, Any], _place: Place, _tally: Tally) -> None:
    if message.get("subtype") == "init":
        session.cwd = _text(message.get("cwd")) or session.cwd
        session.agent = _text(message.get("model")) or session.agent
        session.about = _text(message.get("about"))[:_ABOUT_CHARS] or session.about
    elif message.get("subtype") == "compact_boundary":
        session.compactions += 1


def _take_assistant(session: _Open, message: Mapping[str, Any], place: Place, tally: Tally) -> None:
    message_id = _text(message.get("id")) or str(place)
    if isinstance(message.get("usage"), dict):
        session.usage[message_id] = _usage(message["usage"])
    for block in _blocks(message, place, tally):
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            session.steps.append(Message("assistant", block["text"], message_id, place))
        elif kind == "tool_use":
            _take_call(session, block, message_id, place, tally)
        elif kind in _PASSED_OVER:
            tally.count(f"{kind}_blocks_passed_over")
        else:
            tally.leave_out("unknown content block", place)


def _take_call(session: _Open, block: Mapping[str, Any], message_id: str, place: Place, tally: Tally) -> None:
    call_id, name, arguments = block.get("id"), block.get("name"), block.get("input")
    if not (isinstance(call_id, str) and isinstance(name, str) and isinstance(arguments, dict)):
        tally.leave_out("tool call without id, name or input", place)
    elif call_id in session.calls:
        tally.count("repeated_tool_calls")
    else:
        tally.count("tool_calls")
        session.calls[call_id] = len(session.steps)
        session.steps.append(ToolCall(call_id, name, arguments, message_id, place))


def _take_user(session: _Open, message: Mapping[str, Any], place: Place, tally: Tally) -> None:
    for block in _blocks(message, place, tally):
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            session.steps.append(Message("user", block["text"], str(place), place))
        elif kind == "tool_result":
            _take_result(session, block, place, tally)
        elif kind in _PASSED_OVER:
            tally.count(f"{kind}_blocks_passed_over")
        else:
            tally.leave_out("unknown content block", place)


def _take_result(session: _Open, block: Mapping[str, Any], place: Place, tally: Tally) -> None:
    index = session.calls.get(_text(block.get("tool_use_id")))
    call = session.steps[index] if index is not None else None
    if index is None or not isinstance(call, ToolCall):
        tally.leave_out("tool result without its call", place)
    elif call.result is not None:
        tally.count("repeated_tool_results")
    else:
        is_error = block.get("is_error") is True
        tally.count("tool_errors", int(is_error))
        session.steps[index] = replace(
            call, result=ToolResult(_result_text(block.get("content")), is_error, place)
        )


def _take_result_line(session: _Open, message: Mapping[str, Any], place: Place, _tally: Tally) -> None:
    cost = message.get("total_cost_usd")
    session.outcomes.append(
        Outcome(
            status=_text(message.get("subtype")) or "unknown",
            is_error=message.get("is_error") is True,
            turns=_count(message.get("num_turns")),
            cost_usd=float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else 0.0,
            place=place,
        )
    )


_TAKE = {
    "system": _take_system,
    "assistant": _take_assistant,
    "user": _take_user,
    "result": _take_result_line,
}


def _blocks(message: Mapping[str, Any], place: Place, tally: Tally) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list):
        tally.leave_out("message without content", place)
        return
    for block in content:
        if isinstance(block, dict):
            yield block
        else:
            tally.leave_out("unknown content block", place)


def _result_text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)]
    return "\n".join(texts)


def _usage(raw: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=_count(raw.get("input_tokens")),
        output_tokens=_count(raw.get("output_tokens")),
        cache_read_tokens=_count(raw.get("cache_read_input_tokens")),
        cache_write_tokens=_count(raw.get("cache_creation_input_tokens")),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
