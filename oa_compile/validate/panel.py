"""How several answers to one example become one: redundancy on the validate stage, and the verify stage.

Owns who is asked and when to stop. A fault of the lane is no vote. The parent and the artifact pass through
the same instrument, so their comparison is fair.

A majority of independent liars is unlikely; colluding ones are out of voting's reach: see docs/validate.md.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dspy

from oa_compile.digest import digest_json
from oa_compile.evaluate.compare import as_text
from oa_compile.evaluate.scoring import fault_in
from oa_compile.events import Ballot, Polled
from oa_compile.lanes.lane import AsksMany, Estimating, Lane, LaneFault
from oa_compile.lanes.rollout import Rollout, rolled_out
from oa_compile.spec.config import ConsistencySpec, RedundancySpec
from oa_compile.validate.agreement import Equality, Fields

PREVIEW = 80
"""Characters of an answer that a ballot shows."""


@dataclass(frozen=True, slots=True)
class Court:
    """Who decides where the panel does not agree: a lane, asked once or for several samples."""

    lane: Lane
    lm: dspy.LM
    consistency: ConsistencySpec

    @property
    def name(self) -> str:
        """What it is, and no more than that."""
        samples = self.consistency.samples
        if samples > 1:
            return f"self-consistency over {samples} samples of {self.lane.identity}"
        return self.lane.identity


@dataclass(slots=True)
class _Run:
    """One run of the program: its answer, None when it came to nothing readable."""

    rollout: Rollout
    by: str
    prediction: Any = None
    error: Exception | None = None
    fault: LaneFault | None = None


@dataclass(slots=True)
class _Votes:
    """Runs in order, and those that say the same put together."""

    runs: list[_Run] = field(default_factory=list)
    groups: list[list[_Run]] = field(default_factory=list)

    def count(self, run: _Run, same: Equality) -> None:
        self.runs.append(run)
        if run.fault is not None:
            return
        for group in self.groups:
            if _agree(group[0], run, same):
                group.append(run)
                return
        self.groups.append([run])

    @property
    def first(self) -> list[_Run]:
        """The largest group; of several the one that was there first."""
        return max(self.groups, key=len, default=[])

    @property
    def second(self) -> int:
        """The size of the next largest."""
        return max((len(group) for group in self.groups if group is not self.first), default=0)


class Panel:
    """Answers examples, from any thread. What became of each is in `polls`, by the example's id."""

    def __init__(
        self,
        lane: Lane,
        *,
        ordinal: int,
        settings: RedundancySpec = RedundancySpec(),  # noqa: B008 - frozen
        same: Equality = operator.eq,
        fields: tuple[str, ...] = (),
        court: Court | None = None,
    ) -> None:
        self._many = isinstance(lane, AsksMany)
        self._settings = settings
        self._same = same
        self._fields = fields
        self._court = court
        self._ordinal = ordinal
        self._lock = threading.Lock()
        self.polls: dict[str, Polled] = {}

    def run(self, program: Callable[..., Any], example: dspy.Example, *, example_id: str) -> Any:
        """The accepted prediction. Raises LaneFault when there is none, and what the program raised when that
        is what was agreed on.
        """
        inputs = example.inputs().toDict()
        votes, note = self._vote(program, inputs)
        agreed = len(votes.first) >= self._settings.agree
        decided = votes
        if not agreed and self._court is not None:
            decided = self._appeal(program, inputs)
        winner = decided.first[0] if decided.first else None
        way = "agreed" if agreed else "verified" if self._court is not None and winner else "unresolved"
        poll = self._poll(example_id, votes, None if agreed else decided, winner, way=way, note=note)
        with self._lock:
            self.polls[example_id] = poll
        if winner is None or way == "unresolved":
            raise next((run.fault for run in decided.runs if run.fault), None) or LaneFault(
                "unavailable", "the answers did not agree, and nobody was there to decide"
            )
        if winner.error is not None:
            raise winner.error
        return winner.prediction

    # -- inside ----------------------------------------------------------------------------------

    def _vote(self, program: Callable[..., Any], inputs: dict[str, Any]) -> tuple[_Votes, str]:
        """Ask until enough agree, or cannot any more. Says why it stopped short of all."""
        settings, votes = self._settings, _Votes()
        alone = settings.of == 1
        if not self._many and not alone and settings.temperature == 0:
            return self._once(program, inputs), "asked once: at temperature 0 a further sample says the same"
        for number in range(settings.of):
            left = settings.of - number
            if len(votes.first) >= settings.agree or len(votes.first) + left < settings.agree:
                break
            avoid = (
                frozenset(by for run in votes.runs for by in run.rollout.by) if self._many else frozenset()
            )
            rollout = Rollout(number, None if self._many or alone else settings.temperature, avoid)
            votes.count(_run(program, inputs, rollout), self._same)
            fault = votes.runs[-1].fault
            if self._many and fault is not None and fault.kind == "unavailable":
                return votes, f"only {number} providers could be asked"
        return votes, ""

    def _once(self, program: Callable[..., Any], inputs: dict[str, Any]) -> _Votes:
        votes = _Votes()
        votes.count(_run(program, inputs, Rollout(0)), self._same)
        if votes.groups:  # what would be said again counts as said
            votes.groups[0] *= self._settings.agree
        return votes

    def _appeal(self, program: Callable[..., Any], inputs: dict[str, Any]) -> _Votes:
        """The most frequent answer of the court's samples; no more are asked for than can change it."""
        assert self._court is not None
        consistency, votes = self._court.consistency, _Votes()
        with dspy.context(lm=self._court.lm):
            for number in range(consistency.samples):
                left = consistency.samples - number
                if votes.groups and len(votes.first) > votes.second + left:
                    break
                temperature = consistency.temperature if consistency.samples > 1 else None
                votes.count(_run(program, inputs, Rollout(number, temperature)), self._same)
        return votes

    def _poll(
        self,
        example_id: str,
        votes: _Votes,
        appeal: _Votes | None,
        winner: _Run | None,
        *,
        way: Any,
        note: str,
    ) -> Polled:
        one = votes.first[0] if votes.first else None
        return Polled(
            ordinal=self._ordinal,
            example=example_id,
            way=way,
            ballots=[self._ballot(run, winner) for run in votes.runs],
            note=note,
            calls=one.rollout.calls if one else 0,
            msat=one.rollout.msat if one else 0,
            votes_msat=sum(run.rollout.msat for run in votes.runs),
            verify_msat=sum(run.rollout.msat for run in appeal.runs) if appeal is not None else 0,
            alone_msat=self._alone(one, appeal),
        )

    def _alone(self, one: _Run | None, appeal: _Votes | None) -> int:
        """What this example would have taken on the court's lane without a panel, by its price."""
        if self._court is None or not isinstance(self._court.lane, Estimating):
            return -1
        if appeal is not None:
            return sum(run.rollout.msat for run in appeal.runs)
        if one is None:
            return 0
        each = self._court.lane.estimate(one.rollout.usage, calls=one.rollout.calls)
        return each * self._court.consistency.samples

    def _ballot(self, run: _Run, winner: _Run | None) -> Ballot:
        answer = _fields(run)
        shown = {name: answer.get(name) for name in self._fields} if answer is not None else None
        text = "; ".join(as_text(value) for value in shown.values()) if shown else ""
        return Ballot(
            by=run.by,
            answer=digest_json({name: as_text(value) for name, value in shown.items()}) if shown else "",
            preview=text if len(text) <= PREVIEW else text[: PREVIEW - 1] + "…",
            agrees=run.fault is None and winner is not None and _agree(winner, run, self._same),
            fault=run.fault.kind if run.fault else "",
            msat=run.rollout.msat,
        )


def _run(program: Callable[..., Any], inputs: dict[str, Any], rollout: Rollout) -> _Run:
    prediction, problem, fault = None, None, None
    with rolled_out(rollout):
        try:
            prediction = program(**inputs)
        except Exception as error:  # noqa: BLE001 - a program may raise anything; only lanes are excused
            fault, problem = fault_in(error), error
    by = " ".join(rollout.by) or f"sample {rollout.number + 1}"
    return _Run(rollout, by, prediction, problem, fault)


def _agree(one: _Run, other: _Run, same: Equality) -> bool:
    first, second = _fields(one), _fields(other)
    if first is None or second is None:
        return first is None and second is None
    return same(first, second)


def _fields(run: _Run) -> Fields | None:
    if run.fault is not None or not isinstance(run.prediction, dspy.Example):
        return None
    found: Fields = run.prediction.toDict()
    return found
