"""The tally: everything that was counted, left out or replaced while reading one log.

Nothing is dropped silently: whoever passes something over tells the tally why and where.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from oa_compile.dataset import LeftOut
from oa_compile.extract.session import Place


@dataclass(slots=True)
class Tally:
    """Counters of one log, filled by readers, makers and redaction; of several once they are added up.

    `file` is the log's name in every place it tells.
    """

    file: str = ""
    thorough: bool = False
    """Whether every line is to be read as a whole, also where nothing of it is needed."""
    counts: Counter[str] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)
    _refused: set[str] = field(default_factory=set)
    _left_out: Counter[str] = field(default_factory=Counter)
    _first: dict[str, str] = field(default_factory=dict)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter of the card's `counts`."""
        self.counts[name] += amount

    def leave_out(self, reason: str, line: int) -> None:
        """Something in `line` is not used, for `reason` (a fixed phrase: reasons are grouped)."""
        self._left_out[reason] += 1
        if reason not in self._first:
            self._first[reason] = str(Place(self.file, line))

    def refuse(self, reason: str, line: int) -> None:
        """The same of bad input: what is no log, or no line of one, whatever is made of it."""
        self._refused.add(reason)
        self.leave_out(reason, line)

    def leave_out_many(self, left: LeftOut) -> None:
        """Take in what another part of the work left out."""
        self._left_out[left.reason] += left.count
        self._first.setdefault(left.reason, left.first)

    def add(self, other: Tally) -> None:
        """Take in another log's; of two first places the one added first stays."""
        self.counts.update(other.counts)
        self.redacted.update(other.redacted)
        self._refused |= other._refused
        self._left_out.update(other._left_out)
        for reason, place in other._first.items():
            self._first.setdefault(reason, place)

    def left_out(self) -> tuple[LeftOut, ...]:
        """All reasons, most frequent first, each with its count and the first place."""
        ordered = sorted(self._left_out.items(), key=lambda item: (-item[1], item[0]))
        return tuple(LeftOut(reason=r, count=n, first=self._first[r]) for r, n in ordered)

    def refused(self) -> tuple[LeftOut, ...]:
        """Of them the bad input."""
        return tuple(left for left in self.left_out() if left.reason in self._refused)
