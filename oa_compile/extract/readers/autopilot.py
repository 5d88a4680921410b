"""Reader of autopilot JSONL: ``{type: system|assistant|user|result, message, timestamp}`` a line,
`message` being a Claude SDK object.

A resumed session starts with another ``init`` of the same session id and goes on; an ``init`` with a new
id starts a new session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oa_compile.extract.fields import amount, count, listed, text
from oa_compile.extract.lines import Line, refuse
from oa_compile.extract.readers.anthropic import Blocks, Role, envelopes
from oa_compile.extract.records import Compacted, Opened, Record
from oa_compile.extract.session import Outcome
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally

FORMAT = "autopilot"
_ABOUT_CHARS = 400


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """A known type around a message object. Claude Code's own transcripts have a `uuid` beside it."""
    known = text(body.get("type")) in {"system", "assistant", "user", "result"}
    return known and isinstance(body.get("message"), dict) and not {"uuid", "sessionId"} & body.keys()


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each line says."""
    blocks = Blocks(tally)
    for number, envelope, raw in envelopes(lines, tally=tally):
        kind, message = envelope.type, envelope.message
        if message is None:
            known = kind in {"system", "assistant", "user", "result"}
            tally.leave_out("line without a message object" if known else "unknown line type", number)
        elif kind in {"assistant", "user"}:
            role: Role = "assistant" if kind == "assistant" else "user"
            yield from blocks.read(message, number, role=role)
        elif kind in {"system", "result"}:
            try:
                whole = parse_object(raw)["message"]
            except BadJson as error:
                refuse(error, raw, number, tally=tally)
                continue
            yield from (_system if kind == "system" else _result)(whole, number)
        else:
            tally.leave_out("unknown line type", number)


def _system(message: Mapping[str, Any], line: int) -> Iterator[Record]:
    if message.get("subtype") == "init":
        yield Opened(
            line,
            id=text(message.get("session_id")),
            cwd=text(message.get("cwd")),
            agent=text(message.get("model")),
            about=text(message.get("about"))[:_ABOUT_CHARS],
            tools=tuple(tool for tool in listed(message.get("tools")) if isinstance(tool, str)),
            fresh=True,
        )
    elif message.get("subtype") == "compact_boundary":
        yield Compacted(line)


def _result(message: Mapping[str, Any], line: int) -> Iterator[Record]:
    if session_id := text(message.get("session_id")):
        yield Opened(line, id=session_id)
    yield Outcome(
        status=text(message.get("subtype")) or "unknown",
        is_error=message.get("is_error") is True,
        line=line,
        turns=count(message.get("num_turns")),
        cost_usd=amount(message.get("total_cost_usd")),
    )
