"""Reader of Claude Code's own transcripts: ``{type, uuid, parentUuid, isSidechain, sessionId, message, …}``.

A file is one conversation, also where it was resumed: its lines then carry the ids of both sessions. What a
subagent did stands between the lines of the main thread and is told apart by its agent's id or, in older
logs, by the chain of parents. What Claude Code itself puts into a user's mouth (the output of a local
command, a summary, a note that the user interrupted) is no prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oa_compile.extract.fields import text
from oa_compile.extract.lines import Line
from oa_compile.extract.readers.anthropic import Blocks, Envelope, Role, envelopes
from oa_compile.extract.records import Compacted, Finished, Opened, Record
from oa_compile.extract.session import Message
from oa_compile.extract.tally import Tally

FORMAT = "claude-code"
_TYPES = frozenset({"user", "assistant", "system", "summary", "queue-operation"})
_NOTES = ("<", "Caveat: ", "This session is being continued from", "[Request interrupted")
_INTERRUPTED = "[Request interrupted"


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """A transcript's lines name their session or their own id beside a type."""
    kind = text(body.get("type"))
    if kind == "summary":
        return isinstance(body.get("leafUuid"), str)
    named = isinstance(body.get("sessionId"), str) or isinstance(body.get("uuid"), str)
    return named and kind in _TYPES


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each line says."""
    session, told, threads, blocks = "", ("", "", ""), _Threads(), Blocks(tally)
    for number, envelope, _ in envelopes(lines, tally=tally):
        kind, message = envelope.type, envelope.message
        if kind == "assistant" and not session and envelope.sessionId:
            session = envelope.sessionId
            yield Opened(number, id=session)
        # A user's line has no model: what a line does not say holds on.
        about = (
            envelope.cwd or told[0],
            envelope.gitBranch or told[1],
            (message and message.model) or told[2],
        )
        if about != told:
            told = about
            yield Opened(number, id=session, cwd=about[0], branch=about[1], agent=_model(about[2]))
        thread = threads.of(envelope)
        if kind in {"user", "assistant"}:
            if message is None:
                tally.leave_out("line without a message object", number)
                continue
            if envelope.isCompactSummary and not thread:
                yield Compacted(number)
            prompt = kind == "user" and not envelope.isMeta and not envelope.isCompactSummary
            role: Role = "assistant" if kind == "assistant" else "user" if prompt else "system"
            for record in blocks.read(message, number, role=role, thread=thread):
                if type(record) is Message and record.role == "user":
                    yield from _said_by_a_user(record)
                else:
                    yield record
        elif kind == "system" and envelope.subtype == "compact_boundary":
            yield Compacted(number)
        else:
            tally.count("housekeeping_lines_passed_over")


class _Threads:
    """Which sidechain a line belongs to: the empty name is the main thread."""

    def __init__(self) -> None:
        self._of_line: dict[str, str] = {}

    def of(self, envelope: Envelope) -> str:
        """The thread of one line, asked in the lines' order."""
        if envelope.isSidechain is not True:
            return ""
        if envelope.agentId:
            return envelope.agentId
        own = envelope.uuid or "sidechain"
        thread = self._of_line.get(envelope.parentUuid or "", own)
        self._of_line[own] = thread
        return thread


def _said_by_a_user(message: Message) -> Iterator[Record]:
    if message.text.startswith(_INTERRUPTED):
        yield Finished(message.line, None)
    elif message.text.lstrip().startswith(_NOTES):
        message.role = "system"
        yield message
    else:
        yield message


def _model(name: str) -> str:
    return "" if name.startswith("<") else name  # "<synthetic>": no model wrote it
