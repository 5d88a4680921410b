"""The reducer: a run's journal folded into the one state that every view of the run reads.

Owns what a run's events add up to; draws nothing, and knows nothing of DSPy. The fold is the same
live and from a file, takes any prefix of a journal, and never raises on an event it can read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from oa_compile.digest import PREFIX
from oa_compile.events import (
    Attempt,
    Candidate,
    Decided,
    Evaluated,
    ForecastMade,
    GaveUp,
    Line,
    Noted,
    PhaseStarted,
    Reserved,
    RunFinished,
    RunStarted,
    SegmentStarted,
)
from oa_compile.hud.caps import UNITS, Gauge, read_caps, read_rate
from oa_compile.hud.record import (
    SHORTEST_ID,
    CandidateView,
    Evaluation,
    ForecastLine,
    Note,
    Segment,
    Spend,
    Split,
    Status,
    shortest_ids,
)
from oa_compile.hud.swarm import Premium, SwarmSpend, read_premium
from oa_compile.ledger import RUN, Caps
from oa_compile.money import Rate

WARNINGS = frozenset({"budget", "invalid-winner"})
"""Codes of notes that are warnings; a note's data may also say ``severity = "warning"``."""

RATE_NEEDS = 5
"""Settled calls before their rate says anything about the time left."""


@dataclass(slots=True)
class RunView:
    """The state of a run. `apply` every line, in order; read anything between two lines."""

    run: str = ""
    command: str = ""
    program: str = ""
    optimizer: str = ""
    seed: int = 0
    status: Status = "waiting"
    reason: str = ""
    phase: str = ""
    artifact: str = ""
    results: dict[str, Any] = field(default_factory=dict)
    forecast: tuple[ForecastLine, ...] = ()
    caps: dict[str, Caps] = field(default_factory=dict)
    rate: Rate = field(default_factory=lambda: read_rate({}))
    premium: Premium | None = None
    """What the verify stage's lane charges, if the settings say so."""
    swarm: SwarmSpend = field(default_factory=SwarmSpend)
    candidates: dict[str, CandidateView] = field(default_factory=dict)
    evaluations: dict[tuple[int, str, str, str], Evaluation] = field(default_factory=dict)
    """All evaluations in order. A resumed run may tell one again, at no cost then: the first valid telling
    stands."""
    curves: dict[Split, list[tuple[int, float]]] = field(default_factory=dict)
    """By split: (calls so far, best score) at every full evaluation that was better than all before."""
    notes: list[Note] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    """Failed attempts by kind of fault."""
    last_fault: str = ""
    gave_up: int = 0
    segments: list[Segment] = field(default_factory=list)
    lines: int = 0
    _spend: dict[tuple[str, str, str], Spend] = field(default_factory=dict)
    _total: Spend = field(default_factory=Spend)  # of what is settled, so that `done` costs nothing
    _open: dict[int, Spend] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[Line]) -> RunView:
        """The state after `lines`."""
        view = cls()
        for line in lines:
            view.apply(line)
        return view

    # ---- the fold ------------------------------------------------------------------------------

    def apply(self, line: Line) -> None:
        """Take up the journal's next line."""
        self.lines += 1
        event = line.event
        if isinstance(event, SegmentStarted):
            self.status, self.reason = "running", ""
            self.segments.append(Segment(line.at, line.at, event.resumed))
            if event.settings:
                self.caps, self.rate = read_caps(event.settings), read_rate(event.settings)
        elif self.segments:
            segment = self.segments[-1]
            segment.last = max(segment.last, line.at)
        match event:
            case Reserved():
                self._reserved(event, line.at)
            case Attempt():
                self._settled(event, line.at)
            case GaveUp():
                self.gave_up += 1
            case Evaluated():
                self._evaluated(event)
            case Decided():
                self._candidate(event.candidate).decision = event
            case Candidate():
                tried = self._candidate(event.candidate)
                if not (tried.parent or tried.origin or tried.state):  # where it first came from
                    tried.parent, tried.origin, tried.state = event.parent, event.origin, event.state
            case Noted():
                self.notes.append(Note(event.code, event.message, line.at, _is_warning(event)))
            case PhaseStarted():
                self.phase = event.phase
            case ForecastMade():
                self.forecast = tuple(ForecastLine.read(entry) for entry in event.lines)
            case RunStarted():
                self.run, self.command, self.program = event.run, event.command, event.program
                self.optimizer, self.seed = event.optimizer, event.seed
                self.caps, self.rate = read_caps(event.settings), read_rate(event.settings)
                self.premium = read_premium(event.settings)
            case RunFinished():
                self.status, self.reason = event.status, event.reason
                self.artifact, self.results = event.artifact, event.results

    def _reserved(self, event: Reserved, at: int) -> None:
        if event.hold not in self._open:
            self._open[event.hold] = spend = self._in(event)
            spend.in_flight += 1
        if self.segments and self.segments[-1].first_call is None:
            self.segments[-1].first_call = at

    def _settled(self, event: Attempt, at: int) -> None:
        held = self._open.pop(event.hold, None)
        if held is not None:
            held.in_flight -= 1
        for spend in (self._in(event), self._total):
            spend.calls += event.calls
            spend.msat += event.msat
            spend.tokens += event.tokens
            match event.outcome:
                case "ok":
                    spend.answered += event.calls
                case "unused":
                    spend.unused += 1
                case "refused":
                    spend.refused += 1
                case "fault":
                    spend.failed += 1
                case "lost":
                    spend.lost += 1
        self.swarm.take(event, at=at)
        if event.outcome in {"ok", "refused"} and self.segments:
            self.segments[-1].settled += event.calls
        if event.outcome == "fault":
            self.faults[event.fault] += 1
            self.last_fault = event.message

    def _in(self, event: Reserved | Attempt) -> Spend:
        return self._spend.setdefault((event.stage, event.role, event.lane), Spend())

    def _candidate(self, candidate: str) -> CandidateView:
        tried = self.candidates.get(candidate)
        if tried is None:
            tried = self.candidates[candidate] = CandidateView(candidate, len(self.candidates) + 1)
        return tried

    def _evaluated(self, event: Evaluated) -> None:
        key = (event.ordinal, event.candidate, event.split, event.scope)
        told = self.evaluations.get(key)
        if told is not None and told.event.valid:
            return
        evaluation = Evaluation(event, self.done)
        self.evaluations[key] = evaluation
        mine = self._candidate(event.candidate).evaluations
        if told is None:
            mine.append(evaluation)
        else:
            mine[mine.index(told)] = evaluation
        if event.scope == "full" and event.valid and event.score is not None:
            curve = self.curves.setdefault(event.split, [])
            if not curve or event.score > curve[-1][1]:
                curve.append((self.done, event.score))

    # ---- what it adds up to --------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Attempts sent and not yet settled."""
        return len(self._open)

    def spend(self, *, stage: str | None = None, role: str | None = None, lane: str | None = None) -> Spend:
        """The sum over what is named; over everything when nothing is."""
        total = Spend()
        for key, spend in self._spend.items():
            if all(want in {None, got} for want, got in zip((stage, role, lane), key, strict=True)):
                total.add(spend)
        return total

    @property
    def done(self) -> int:
        """Calls that came to an end: answered, refused or given up. A retried one counts once."""
        return self._total.answered + self._total.refused + self.gave_up

    @property
    def spent_on(self) -> list[tuple[str, str, str]]:
        """Every (stage, role, lane) that was asked, in order of first use."""
        return list(self._spend)

    @property
    def lanes(self) -> list[str]:
        """Lanes that were asked, in order of first use."""
        return list(dict.fromkeys(lane for _stage, _role, lane in self._spend))

    @property
    def saved(self) -> int:
        """Calls that evaluations did not make because the journal had the answer."""
        return sum(evaluation.event.saved for evaluation in self.evaluations.values())

    @property
    def expected(self) -> int | None:
        """Calls the run will make: the forecast's, or its cap of calls if that is lower."""
        forecast = sum(line.calls for line in self.forecast)
        cap = self.caps.get(RUN, Caps()).calls
        return min(forecast, cap) if forecast and cap is not None else forecast or None

    @property
    def split(self) -> Split:
        """The split whose full scores tell the run's progress: val, else what there is."""
        order: tuple[Split, ...] = ("test", "val") if self.command == "validate" else ("val", "train", "test")
        return next((split for split in order if self.curves.get(split)), order[0])

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The best full score so far: (calls so far, score), rising."""
        return self.curves.get(self.split, [])

    @property
    def best(self) -> CandidateView | None:
        """The candidate with the highest valid full score; the earlier one of equals."""
        scored = [
            (score, tried)
            for tried in self.candidates.values()
            if (score := tried.score(self.split)) is not None
        ]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    @property
    def best_score(self) -> float | None:
        """The best candidate's score in 0 … 1."""
        best = self.best
        return None if best is None else best.score(self.split)

    @property
    def baseline(self) -> CandidateView | None:
        """The program as it was: the candidate of origin ``baseline``, else the first with no parent."""
        named = (tried for tried in self.candidates.values() if tried.origin == "baseline")
        orphans = (tried for tried in self.candidates.values() if not tried.parent)
        return next(named, None) or next(orphans, None)

    @property
    def baseline_score(self) -> float | None:
        """The baseline's score in 0 … 1 on the same split as the best one's."""
        baseline = self.baseline
        return None if baseline is None else baseline.score(self.split)

    def elapsed(self, now: int | None = None) -> float:
        """Seconds at work, all segments; what lies between them does not count. With `now` (Unix ms)
        a running segment counts up to then.
        """
        total = sum(segment.last - segment.started for segment in self.segments)
        if now is not None and self.segments and self.status == "running":
            total += max(now - self.segments[-1].last, 0)
        return total / 1000

    def time_left(self, now: int | None = None) -> float | None:
        """Seconds to go at this segment's rate of settled calls, or None when that says nothing."""
        expected, segment = self.expected, self.segments[-1] if self.segments else None
        if expected is None or segment is None or segment.first_call is None or self.status != "running":
            return None
        working = (max(now or 0, segment.last) - segment.first_call) / 1000
        remaining = expected - self.done
        if segment.settled < RATE_NEEDS or working <= 0 or remaining <= 0:
            return None
        left = remaining * working / segment.settled
        cap = self.caps.get(RUN, Caps()).seconds
        return left if cap is None else min(left, max(cap - self.elapsed(now), 0.0))

    def gauges(self, scope: str, now: int | None = None) -> list[Gauge]:
        """Every cap of a scope (``run``, ``stage compile``, ``lane local``) and what it has used."""
        caps = self.caps.get(scope)
        if caps is None:
            return []
        kind, _, name = scope.partition(" ")
        spend = self.spend(**{kind: name}) if name else self._total
        gauges = [
            Gauge(scope, unit, getattr(spend, unit), limit)
            for unit in UNITS
            if (limit := getattr(caps, unit)) is not None
        ]
        if scope == RUN and caps.seconds is not None:  # the ledger caps wall time for the run only
            gauges.append(Gauge(scope, "seconds", self.elapsed(now), caps.seconds))
        return gauges

    def name(self, candidate: str) -> str:
        """A candidate's id as people read it: the shortest prefix that is unique in this run."""
        if len(self._names) != len(self.candidates):
            self._names = shortest_ids({known: known.removeprefix(PREFIX) for known in self.candidates})
        return self._names.get(candidate, candidate.removeprefix(PREFIX)[:SHORTEST_ID])


def _is_warning(event: Noted) -> bool:
    return event.code in WARNINGS or event.data.get("severity") == "warning"
