"""What a verdict stands on: each testset example's scores, the faults, and what the calls cost.

Owns which examples count. An example whose scoring met an infrastructure fault, on either side, is
left out of everything and told; it never scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from oa_compile.money import Rate


@dataclass(frozen=True, slots=True)
class Row:
    """One example of the testset: its score with the parent and with the artifact, each in 0 … 1.

    `before` is None when there is no parent. A row with a `fault` has no score that counts.
    """

    example: str
    before: float | None
    after: float | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """`calls` made and what they cost; `saved` more were answered from the journal, for nothing."""

    calls: int = 0
    msat: int = 0
    saved: int = 0


class Pairs(NamedTuple):
    """Scores of the same examples, in the same order."""

    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All rows of the testset in order, and the costs.

    `artifact_cost` is what the artifact's own answers cost, at the recorded price where the journal
    answered: the price of using it. `spent` is what this validation paid. Raises ValueError when rows
    contradict each other.
    """

    rows: tuple[Row, ...]
    rate: Rate
    artifact_cost: Cost = Cost()
    spent: Cost = Cost()
    seed: int = 0

    def __post_init__(self) -> None:
        if len({row.example for row in self.rows}) != len(self.rows):
            raise ValueError("an example is there twice")
        for row in self.counted:
            if row.after is None:
                raise ValueError(f"example {row.example} has neither a score nor a fault")
            if (row.before is None) == self.has_parent:
                raise ValueError(f"example {row.example}: all examples have a parent's score, or none")

    @property
    def counted(self) -> tuple[Row, ...]:
        """The rows that were scored."""
        return tuple(row for row in self.rows if not row.fault)

    @property
    def excluded(self) -> tuple[Row, ...]:
        """The rows an infrastructure fault left without a score."""
        return tuple(row for row in self.rows if row.fault)

    @property
    def has_parent(self) -> bool:
        """Whether there is something to compare with."""
        return any(row.before is not None for row in self.counted)

    @property
    def scores(self) -> tuple[float, ...]:
        """The artifact's scores."""
        return tuple(row.after for row in self.counted if row.after is not None)

    @property
    def pairs(self) -> Pairs | None:
        """Both sides' scores, or None without a parent."""
        if not self.has_parent:
            return None
        return Pairs(tuple(row.before for row in self.counted if row.before is not None), self.scores)
