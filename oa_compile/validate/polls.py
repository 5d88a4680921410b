"""All polls of a validation, added up: what they came to, and what they cost beside the verify lane alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from oa_compile.events import Polled
from oa_compile.spec.config import RedundancySpec


@dataclass(frozen=True, slots=True)
class Dissent:
    """One who answered: how often, and how often otherwise than was accepted."""

    by: str
    answers: int
    dissents: int


@dataclass(frozen=True, slots=True)
class Polls:
    """`before` and `after` are the polls over the parent's and the artifact's answers. `court` names who
    decided where a panel did not; `providers` says that ballots are of different ones, not samples.
    """

    settings: RedundancySpec
    providers: bool
    court: str
    before: tuple[Polled, ...]
    after: tuple[Polled, ...]

    @property
    def all(self) -> tuple[Polled, ...]:
        """Both sides'."""
        return self.before + self.after

    def count(self, way: str) -> int:
        """How many examples went that way."""
        return sum(poll.way == way for poll in self.all)

    @property
    def ballots(self) -> int:
        """Answers that were asked for."""
        return sum(len(poll.ballots) for poll in self.all)

    @property
    def msat(self) -> int:
        """What the answers took, votes and verification."""
        return sum(poll.votes_msat + poll.verify_msat for poll in self.all)

    @property
    def alone_msat(self) -> int | None:
        """What all of it would have taken on the verify lane alone; None when that lane has no price."""
        if any(poll.alone_msat < 0 for poll in self.all):
            return None
        return sum(poll.alone_msat for poll in self.all)

    @property
    def dissent(self) -> tuple[Dissent, ...]:
        """Who disagreed with what was accepted, most often first; of samples nobody did."""
        if not self.providers:
            return ()
        answers: Counter[str] = Counter()
        dissents: Counter[str] = Counter()
        for poll in self.all:
            for ballot in poll.ballots:
                if not ballot.fault and poll.way != "unresolved":
                    answers[ballot.by] += 1
                    dissents[ballot.by] += not ballot.agrees
        found = (Dissent(by, answers[by], dissents[by]) for by in answers)
        return tuple(sorted(found, key=lambda one: (-one.dissents, one.by)))
