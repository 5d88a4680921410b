"""Readers: one file a format, behind one Protocol, found by the first lines of a log.

A new format is one new module with the three names of `Reader`, its line in `READERS`, and its cases
in the shared suite (``tests/contract/test_readers.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from oa_compile.extract.lines import Line
from oa_compile.extract.readers import (
    atif,
    autopilot,
    autopilot_session,
    claude_code,
    codex,
    events,
    log_entry,
    rlog,
)
from oa_compile.extract.records import Record
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally


class Reader(Protocol):
    """A module that reads one format."""

    FORMAT: str
    """The format's name in cards and sessions."""

    def sniff(self, body: Mapping[str, Any], raw: bytes) -> bool:
        """Whether this line can only be of this format. `body` is its JSON object, empty when it is none."""

    def read(self, lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
        """What each line says, in order, taking lines one by one. Never raises for bad content: what
        cannot be used goes to the tally, and the rest is used.
        """


READERS: dict[str, Reader] = {
    reader.FORMAT: reader
    for reader in (autopilot, claude_code, codex, atif, rlog, log_entry, autopilot_session, events)
}


def sniff(head: Sequence[Line], *, described: Reader | None = None) -> Reader | None:
    """The reader of a log that begins with these lines; None if none of them is known. The format that is
    `described` comes before all others: whoever describes one means it.
    """
    for readers in [described] if described else [], [*READERS.values()]:
        for line in head if readers else ():
            body = _body(line)
            for reader in readers:
                if reader.sniff(body, line.raw):
                    return reader
    return None


def _body(line: Line) -> Mapping[str, Any]:
    try:
        return parse_object(line.raw)
    except BadJson:
        return {}
