"""What counts once over all logs, however often it is written: a tool call by its id, usage by its message's.

A resumed session repeats lines of the one it goes on from, in its own log and in others. Owns how the ids met
are kept: as numbers of 64 bits, in arrays that travel and grow at 8 bytes a call and 40 a message. Two ids of
ten million become the same number once in 370,000 times.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from operator import attrgetter

from xxhash import xxh3_64_intdigest

from oa_compile.extract.session import Usage

_MOST = 2**40
"""Tokens of one message. A larger number is nobody's count, and the sum of many would fit nowhere."""


class Once:
    """The calls and messages of some logs."""

    def __init__(self) -> None:
        self._calls = array("Q")
        self._messages = array("Q")
        self._tokens = tuple(array("Q") for _ in Usage.__struct_fields__)

    def note(self, calls: Iterable[str], usage: Mapping[str, Usage]) -> None:
        """Take in the ids of calls, and what messages took by their ids."""
        self._calls.extend(map(_number, calls))
        self._messages.extend(map(_number, usage))
        for field, counts in zip(Usage.__struct_fields__, self._tokens, strict=True):
            found = list(map(attrgetter(field), usage.values()))
            if found and max(found) > _MOST:
                found = [min(count, _MOST) for count in found]
            counts.fromlist(found)

    def add(self, other: Once) -> None:
        """Take in those of other logs."""
        self._calls.extend(other._calls)
        self._messages.extend(other._messages)
        for counts, others in zip(self._tokens, other._tokens, strict=True):
            counts.extend(others)

    def calls(self) -> int:
        """How many calls there are."""
        import numpy as np  # not in workers, which only note

        return len(np.unique(np.frombuffer(self._calls, np.uint64)))

    def usage(self) -> Usage:
        """Tokens over all messages, of each as it was told last."""
        import numpy as np

        told_last = np.unique(np.frombuffer(self._messages, np.uint64)[::-1], return_index=True)[1]
        sums = (np.frombuffer(counts, np.uint64)[::-1][told_last].sum() for counts in self._tokens)
        return Usage(*map(int, sums))


def _number(key: str) -> int:
    return xxh3_64_intdigest(key.encode("utf-8", "replace"))
