"""Lines around an Anthropic message, as autopilot and Claude Code write them: what is in its blocks.

No reader of its own. Results are most of such a log, and few of them are ever looked at. So a long line is
read into just the fields that count, and its results stay the bytes they are until somebody asks for their
text; every other line is held to the strict reading of `extract.strict`, and a long one too when the
reading is to be thorough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
import orjson

from oa_compile.extract.lines import Line, in_batches, refuse
from oa_compile.extract.records import Record, Returned, Used
from oa_compile.extract.session import MAX_TEXT_BYTES, Count, Message, ToolCall, ToolResult, Usage
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally

Role = Literal["assistant", "user", "system"]
EMPTY = msgspec.Raw(b"")
LONG = 512
"""Bytes from which on a line is not read as a whole before somebody needs that. Up to twice as many stand
two lines of three, and reading those as a whole took a quarter of all the time.
"""

_LIST = ord("[")
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


class _Tokens(Usage, frozen=True, gc=False):
    """Usage under the API's names; a number below nothing is none."""

    cache_read_tokens: Count = msgspec.field(default=0, name="cache_read_input_tokens")
    cache_write_tokens: Count = msgspec.field(default=0, name="cache_creation_input_tokens")


_NEWLINE = orjson.OPT_APPEND_NEWLINE
_ENVELOPE = msgspec.json.Decoder(Envelope)
_TOKENS = msgspec.json.Decoder(_Tokens)
_UNREADABLE = (
    msgspec.DecodeError,
    orjson.JSONDecodeError,
    orjson.JSONEncodeError,
    RecursionError,
    UnicodeDecodeError,
)
"""What the libraries raise for a line that is no JSON, or nested too deeply for one of them."""


def envelopes(lines: Iterable[Line], *, tally: Tally) -> Iterator[tuple[int, Envelope, bytes]]:
    """Number, fields and bytes of each line that holds a message's envelope; others are left out."""
    for first, raws in in_batches(lines):
        try:
            found = _decoded(raws, thorough=tally.thorough)
        except (*_UNREADABLE, BadJson):
            yield from _one_by_one(first, raws, tally)  # one of them is bad
        else:
            yield from zip(itertools.count(first), found, raws, strict=False)


def _decoded(raws: list[bytes], *, thorough: bool) -> list[Envelope]:
    found = list(map(_ENVELOPE.decode, raws))
    loads, dumps = orjson.loads, orjson.dumps
    for raw in raws if thorough else [raw for raw in raws if len(raw) <= LONG]:
        if dumps(loads(raw), None, _NEWLINE) != raw:
            parse_object(raw)
    return found


def _one_by_one(first: int, raws: list[bytes], tally: Tally) -> Iterator[tuple[int, Envelope, bytes]]:
    for number, raw in enumerate(raws, first):
        try:
            (envelope,) = _decoded([raw], thorough=tally.thorough)
        except _UNREADABLE:
            _say_why(raw, number, tally)
        except BadJson as error:
            refuse(error, raw, number, tally=tally)
        else:
            yield number, envelope, raw


class Blocks:
    """What messages' blocks say, one message after the other."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._told, self._told_by = EMPTY, ""

    def read(self, body: Body, line: int, *, role: Role, thread: str = "") -> list[Record]:
        """The records of one message. The role ``system`` is for what stands in a user's place and is no
        prompt.
        """
        records: list[Record] = []
        message_id = body.id or f"line {line}"
        # An API message spans several lines, and each repeats its usage.
        if role == "assistant" and not (body.usage == self._told and message_id == self._told_by):
            self._told, self._told_by = body.usage, message_id
            if body.usage is not EMPTY and (usage := _usage(body.usage)) is not None:
                records.append(Used(message_id, usage, thread))
        content = body.content
        if content is None:
            self._tally.leave_out("message without content", line)
        elif isinstance(content, str):
            records.append(self._message(role, content, message_id, line, thread))
        else:
            for block in content:
                kind = block.type
                if kind == "tool_result" and block.tool_use_id is not None:
                    records.append(Returned(block.tool_use_id, self._result(block, line)))
                elif kind == "tool_use" and not (
                    block.id is None or block.name is None or block.input is EMPTY
                ):
                    records.append(ToolCall(block.id, block.name, block.input, message_id, line, thread))
                elif kind == "text" and block.text is not None:
                    records.append(self._message(role, block.text, message_id, line, thread))
                else:
                    self._pass_over(kind, line)
        return records

    def _pass_over(self, kind: str, line: int) -> None:
        if kind in _PASSED_OVER:
            self._tally.count(f"{kind}_blocks_passed_over")
        elif kind == "tool_result":
            self._tally.leave_out("tool result without its call", line)
        elif kind == "tool_use":
            self._tally.leave_out("tool call without id, name or input", line)
        else:
            self._tally.leave_out("unknown content block", line)

    def _message(self, role: Role, text: str, message_id: str, line: int, thread: str) -> Message:
        if len(text) > MAX_TEXT_BYTES:
            self._tally.count("long_texts_cut")
            text = text[:MAX_TEXT_BYTES]
        return Message(role, text, message_id, line, thread)

    def _result(self, block: Block, line: int) -> ToolResult:
        body, is_error = block.content, block.is_error is True
        if body is EMPTY:
            return ToolResult("", is_error, line)
        view, passed_over = memoryview(body), False
        if view.nbytes > MAX_TEXT_BYTES:
            self._tally.count("huge_outputs_passed_over")
            return ToolResult("", is_error, line, passed_over=True)
        if view[0] == _LIST and b'"image"' in bytes(view):
            self._tally.count("image_blocks_passed_over")
            passed_over = True
        return ToolResult(body, is_error, line, None, passed_over, self._tally)


def _usage(raw: msgspec.Raw) -> Usage | None:
    try:
        return _TOKENS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _say_why(raw: bytes, number: int, tally: Tally) -> None:
    try:
        parse_object(raw)
    except BadJson as error:
        refuse(error, raw, number, tally=tally)
    else:
        tally.leave_out("line of another shape", number)
