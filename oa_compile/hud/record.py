"""What a run is made of, as the views read it: spend, forecast lines, evaluations, candidates, notes.

Plain values and the sums that need nothing but themselves; what fills them is `view`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from oa_compile.events import Decided, Evaluated

Split = Literal["train", "val", "test"]
Status = Literal["waiting", "running", "complete", "partial", "failed", "interrupted"]

SHORTEST_ID = 7


@dataclass(slots=True)
class Spend:
    """What attempts came to. `calls` counts every settled attempt, as the ledger's caps do."""

    calls: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0
    unused: int = 0
    in_flight: int = 0
    msat: int = 0
    tokens: int = 0

    def add(self, other: Spend) -> None:
        """Add `other` to this."""
        for name in Spend.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class ForecastLine:
    """What one phase was expected to take on one lane.

    `calls` is what is expected, `at_most` what it cannot exceed (0 when that is not told); `cap` names
    the cap that would stop it.
    """

    stage: str
    role: str
    lane: str
    calls: int = 0
    tokens: int = 0
    msat: int = 0
    seconds: float = 0.0
    cap: str = ""
    phase: str = ""
    at_most: int = 0

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> ForecastLine:
        """A line of events.ForecastMade; what is missing or no number is 0."""
        return cls(
            stage=str(line.get("stage") or ""),
            role=str(line.get("role") or ""),
            lane=str(line.get("lane") or ""),
            calls=int(_number(line.get("calls"))),
            tokens=int(_number(line.get("tokens"))),
            msat=int(_number(line.get("msat"))),
            seconds=_number(line.get("seconds")),
            cap=str(line.get("cap") or ""),
            phase=str(line.get("phase") or ""),
            at_most=int(_number(line.get("at_most"))),
        )


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and 0 <= value < 1e18 else 0  # refuses NaN, too


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation, and how many calls the run had made by then."""

    event: Evaluated
    calls_so_far: int

    @property
    def n(self) -> int:
        """Examples that have a score."""
        return sum(row.score is not None for row in self.event.rows)

    @property
    def faults(self) -> int:
        """Examples without one: the infrastructure failed them."""
        return len(self.event.rows) - self.n


@dataclass(slots=True)
class CandidateView:
    """A candidate and everything that became of it, in the journal's order."""

    candidate: str
    number: int
    parent: str = ""
    origin: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    decision: Decided | None = None

    @property
    def msat(self) -> int:
        """What its evaluations cost."""
        return sum(evaluation.event.msat for evaluation in self.evaluations)

    def last(self, split: Split, scope: Literal["full", "minibatch"]) -> Evaluation | None:
        """The latest evaluation on `scope` of `split`; one that faults spoiled only if there is no other."""
        found = [s for s in self.evaluations if s.event.split == split and s.event.scope == scope]
        chosen = [evaluation for evaluation in found if evaluation.event.valid] or found
        return chosen[-1] if chosen else None

    def score(self, split: Split) -> float | None:
        """Its score on the whole split, if that evaluation is valid."""
        evaluation = self.last(split, "full")
        return evaluation.event.score if evaluation is not None and evaluation.event.valid else None


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know; `at` is Unix time in ms."""

    code: str
    message: str
    at: int
    warning: bool


@dataclass(slots=True)
class Segment:
    """One process's part of the run; times are Unix ms."""

    started: int
    last: int
    resumed: int = 0
    first_call: int | None = None
    settled: int = 0


def shortest_ids(ids: Mapping[str, str]) -> dict[str, str]:
    """To each id (full -> without its prefix) as many characters as keep all apart, the same for all."""
    length = SHORTEST_ID
    longest = max(map(len, ids.values()), default=0)
    while length < longest and len({text[:length] for text in ids.values()}) < len(set(ids.values())):
        length += 1
    return {known: text[:length] for known, text in ids.items()}
