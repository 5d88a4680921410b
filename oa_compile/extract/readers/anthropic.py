"""Lines around an Anthropic message, as autopilot and Claude Code write them: what is in a message's blocks.

No reader of its own. Results are most of such a log, and few of them are ever looked at: a line is read into
just the fields that count, its results stay the bytes they are, and what is left is held to the same strict
reading as any other line (`extract.strict`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from oa_compile.extract.lines import Line, reason_for
from oa_compile.extract.records import Record, Returned, Used
from oa_compile.extract.session import MAX_TEXT_BYTES, Message, ToolCall, ToolResult, Usage
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally

EMPTY = msgspec.Raw(b"")
LONG = 1024
"""From here on a result's bytes are taken out before the rest of its line is read strictly."""

_PASSED_OVER = frozenset({"thinking", "redacted_thinking", "image", "document"})


class Block(msgspec.Struct, gc=False):
    """One block of a message's content; which fields are there depends on its type."""

    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = EMPTY
    tool_use_id: str | None = None
    content: msgspec.Raw = EMPTY
    is_error: bool | None = None


class Body(msgspec.Struct, gc=False):
    """The message."""

    id: str | None = None
    model: str | None = None
    content: list[Block] | str | None = None
    usage: msgspec.Raw = EMPTY


class Envelope(msgspec.Struct, gc=False):
    """The line around it; autopilot's has the first two fields only."""

    type: str
    message: Body | None = None
    uuid: str | None = None
    parentUuid: str | None = None  # noqa: N815  as the log has it
    sessionId: str | None = None  # noqa: N815
    agentId: str | None = None  # noqa: N815
    isSidechain: bool | None = None  # noqa: N815
    isMeta: bool | None = None  # noqa: N815
    isCompactSummary: bool | None = None  # noqa: N815
    subtype: str | None = None
    cwd: str | None = None
    gitBranch: str | None = None  # noqa: N815
    toolUseResult: msgspec.Raw = EMPTY  # noqa: N815


class _Tokens(msgspec.Struct, gc=False):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


_ENVELOPE = msgspec.json.Decoder(Envelope)
_TOKENS = msgspec.json.Decoder(_Tokens)


def envelopes(lines: Iterable[Line], *, tally: Tally) -> Iterator[tuple[int, Envelope, bytes]]:
    """Number, fields and bytes of each line that holds a message's envelope; others are left out."""
    decode = _ENVELOPE.decode
    for number, raw in lines:
        try:
            envelope = decode(raw)
            _hold_to_one_reading(raw, envelope)
        except (msgspec.DecodeError, RecursionError):
            tally.leave_out(_reason(raw), number)
        except BadJson as error:
            tally.leave_out(reason_for(error, raw), number)
        else:
            yield number, envelope, raw


def blocks(body: Body, line: int, *, role: str, thread: str, tally: Tally) -> Iterator[Record]:
    """What a message's blocks say. `role` is ``assistant``, ``user`` or ``system`` (no prompt of a user's)."""
    message_id = body.id or f"line {line}"
    if role == "assistant" and (usage := _usage(body.usage)) is not None:
        yield Used(message_id, usage, thread)
    content = body.content
    if content is None:
        tally.leave_out("message without content", line)
        return
    if isinstance(content, str):
        yield _message(role, content, message_id, line, thread, tally)
        return
    for block in content:
        kind = block.type
        if kind == "tool_result":
            if block.tool_use_id is None:
                tally.leave_out("tool result without its call", line)
            else:
                yield Returned(block.tool_use_id, _result(block, line, tally))
        elif kind == "tool_use":
            if block.id is None or block.name is None or memoryview(block.input)[:1] != b"{":
                tally.leave_out("tool call without id, name or input", line)
            else:
                yield ToolCall(block.id, block.name, block.input, message_id, line, thread)
        elif kind == "text" and block.text is not None:
            yield _message(role, block.text, message_id, line, thread, tally)
        elif kind in _PASSED_OVER:
            tally.count(f"{kind}_blocks_passed_over")
        else:
            tally.leave_out("unknown content block", line)


def _message(role: Any, text: str, message_id: str, line: int, thread: str, tally: Tally) -> Message:
    if len(text) > MAX_TEXT_BYTES:
        tally.count("long_texts_cut")
        text = text[:MAX_TEXT_BYTES]
    return Message(role, text, message_id, line, thread)


def _result(block: Block, line: int, tally: Tally) -> ToolResult:
    body, is_error = block.content, block.is_error is True
    size = len(memoryview(body))
    if size > MAX_TEXT_BYTES:
        tally.count("huge_outputs_passed_over")
        return ToolResult("", is_error, line, passed_over=True)
    view = memoryview(body)
    if size and view[:1] == b"[" and b'"image"' in bytes(view):
        tally.count("image_blocks_passed_over")
        return ToolResult(body, is_error, line, passed_over=True)
    return ToolResult(body if size else "", is_error, line)


def _usage(raw: msgspec.Raw) -> Usage | None:
    if not len(memoryview(raw)):
        return None
    try:
        tokens = _TOKENS.decode(raw)
    except msgspec.DecodeError:
        return None
    return Usage(
        max(0, tokens.input_tokens),
        max(0, tokens.output_tokens),
        max(0, tokens.cache_read_input_tokens),
        max(0, tokens.cache_creation_input_tokens),
    )


def _hold_to_one_reading(raw: bytes, envelope: Envelope) -> None:
    """Raise BadJson where another reader could read the line in another way."""
    if len(raw) > LONG:
        if not raw.isascii():
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError:
                raise BadJson("invalid UTF-8") from None
        body = envelope.message
        if body is not None and isinstance(body.content, list):
            for block in body.content:
                raw = _without(raw, block.content)
        raw = _without(raw, envelope.toolUseResult)
    parse_object(raw)


def _without(raw: bytes, part: msgspec.Raw) -> bytes:
    view = memoryview(part)
    if len(view) < LONG // 2:
        return raw
    begin = raw.find(view)
    return raw if begin < 0 else raw[:begin] + b"0" + raw[begin + len(view) :]


def _reason(raw: bytes) -> str:
    try:
        parse_object(raw)
    except BadJson as error:
        return reason_for(error, raw)
    return "line of another shape"
