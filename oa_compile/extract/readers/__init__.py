"""Readers: one file a format, behind one Protocol, found by the first lines of a log.

A new format is one new module with the three names of `Reader`, its line in `READERS`, and its cases
in the shared suite (``tests/contract/test_readers.py``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from oa_compile.extract.lines import LogLine
from oa_compile.extract.readers import autopilot, events
from oa_compile.extract.session import Session
from oa_compile.extract.tally import Tally

SNIFF_LINES = 20
"""Usable lines looked at before a log's format counts as unknown."""


class Reader(Protocol):
    """A module that reads one format."""

    FORMAT: str
    """The format's name in cards and sessions."""

    def sniff(self, body: Mapping[str, Any]) -> bool:
        """Whether a line with this object can only be of this format."""

    def read(self, lines: Iterable[LogLine], *, tally: Tally) -> Iterator[Session]:
        """The sessions of one log, in order, taking lines one by one. Never raises for bad content:
        what cannot be used goes to the tally, and the rest is used.
        """


READERS: dict[str, Reader] = {reader.FORMAT: reader for reader in (autopilot, events)}


def sniff(lines: Iterator[LogLine]) -> tuple[Reader | None, Iterator[LogLine]]:
    """The reader of a log (None if no line of its first ones is known) and all its lines."""
    head: list[LogLine] = []
    for line in itertools.islice(lines, SNIFF_LINES):
        head.append(line)
        for reader in READERS.values():
            if reader.sniff(line.body):
                return reader, itertools.chain(head, lines)
    return None, itertools.chain(head, lines)
