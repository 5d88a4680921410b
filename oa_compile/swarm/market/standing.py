"""One service provider's standing with us: what its next job is expected to cost, and how far it is trusted.

Owns the estimates over one provider's outcomes; which provider gets a job is the market's matter. Times are
seconds of whatever clock the caller keeps.

Estimates: success and agreement are Beta posteriors that forget (an old outcome weighs less with each new
one), latency is a running mean with its mean deviation, as TCP keeps it, freed of the load at the time.
Two failures running put a provider to rest, for longer each time it fails again; money lost, or answers
that keep disagreeing, for much longer.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import NamedTuple

from oa_compile.swarm.market.choice import Choice, JobOutcome, State
from oa_compile.swarm.market.record import ProviderRecord


@dataclass(slots=True)
class Pace:
    """A running mean of seconds and its mean deviation; `mean` is None before the first."""

    mean: float | None = None
    deviation: float = 0.0

    def learn(self, seconds: float) -> None:
        """Take in one more time."""
        if self.mean is None:
            self.mean, self.deviation = seconds, seconds / 2
            return
        self.deviation += 0.25 * (abs(seconds - self.mean) - self.deviation)
        self.mean += 0.125 * (seconds - self.mean)


class Begun(NamedTuple):
    """A job in flight: when it began, what is paid before its answer, whether the provider was trusted with
    that, and how many jobs were in flight with it.
    """

    at: float
    stake_msat: int
    trusted: bool
    load: int


_PRIOR = (4.0, 0.5)
"""Successes and failures everybody starts with. High: trust is bought by the limits on newcomers, and a
provider that came through a few jobs must not lose against one that came through many.
"""
_AGREEMENT = (4.5, 0.5)
"""Agreements and disagreements everybody starts with: one disagreement alone does not ban."""
_LOSS = 4.0
"""Failures that losing a whole bid weighs, besides the one it is."""
_TIRED = 2
"""Failures running after which a provider rests."""


@dataclass(slots=True)
class Standing:
    """What we think of one provider. Mutable: the market tells it of every job."""

    choice: Choice
    bid_msat: int
    """At least 1, the unit of the policy's settings."""
    answered: int = 0
    successes: float = 0.0
    failures: float = 0.0
    agreed: float = 0.0
    disagreed: float = 0.0
    pace: Pace = field(default_factory=Pace)
    compared: int = 0
    """How often an answer of its was held against others'."""
    earned_msat: int = 0
    """What it was paid for answers."""
    charged_msat: int | None = None
    """The price of its last answer."""
    streak: int = 0
    """Failures running; those of one outage that were in flight together count as one."""
    strikes: int = 0
    struck: bool = False
    """It took money for nothing, and has not answered since."""
    staked_msat: int = 0
    """What its jobs in flight cost before their answers."""
    _begun: list[Begun] = field(default_factory=list)
    _failed_at: float = -math.inf
    _heard_at: float = -math.inf
    _tired_until: float = -math.inf
    _banned_until: float = -math.inf

    @classmethod
    def from_record(cls, record: ProviderRecord, *, choice: Choice, bid_msat: int) -> Standing:
        """The standing that earlier runs earned it, remembered no more firmly than this one's would be."""
        window = 1 / (1 - choice.memory)
        jobs = record.answered + record.failures
        scale = min(1.0, window / jobs) if jobs else 0.0
        compared = min(1.0, window / record.compared) if record.compared else 0.0
        made = cls(choice, bid_msat)
        made.answered = record.answered
        made.successes = record.answered * scale
        made.failures = (record.failures + _LOSS * record.lost_msat / bid_msat) * scale
        made.compared = record.compared
        made.earned_msat = max(record.paid_msat - record.lost_msat, 0)
        made.agreed = (record.compared - record.disagreed) * compared
        made.disagreed = record.disagreed * compared
        made.struck = record.lost_msat * 10 > record.paid_msat
        median, late = record.latency_ms(0.5), record.latency_ms(0.95)
        if median is not None and late is not None:
            made.pace = Pace(median / 1000, max((late - median) / 4, median / 8) / 1000)
        return made

    @property
    def wakes(self) -> float:
        """The time until which it rests."""
        return max(self._tired_until, self._banned_until)

    @property
    def in_flight(self) -> int:
        """Jobs begun and not ended."""
        return len(self._begun)

    @property
    def success(self) -> float:
        """The expected share of jobs it answers, 0 … 1."""
        good, bad = self.odds
        return good / (good + bad)

    @property
    def odds(self) -> tuple[float, float]:
        """The Beta posterior's parameters of that share."""
        return _PRIOR[0] + self.successes, _PRIOR[1] + self.failures

    @property
    def disagreement(self) -> float:
        """The expected share of its answers that are wrong, 0 … 1."""
        bad = _AGREEMENT[1] + self.disagreed
        return bad / (bad + _AGREEMENT[0] + self.agreed)

    @property
    def dependable(self) -> bool:
        """Neither its answers nor its dealings are such that only a trial is worth it."""
        return not self.struck and self.disagreement <= self.choice.most_disagreement

    @property
    def known(self) -> bool:
        """It has answered and is not on trial: it competes for every job."""
        return self.answered > 0 and self.streak < _TIRED and self.dependable

    @property
    def trusted(self) -> bool:
        """It has answered enough: it may have many jobs, and what it has at stake is its own matter."""
        return self.known and self.answered >= self.choice.trusted_after

    @property
    def vouched(self) -> bool:
        """Others' answers have borne it out often enough."""
        return self.known and self.compared >= self.choice.vouched_after

    @property
    def limit(self) -> int:
        """How many jobs it may have in flight. After a failure one, until it answers again."""
        if self.streak or not self.dependable:
            return 1
        if self.trusted:
            return self.choice.most_in_flight
        return min(self.choice.most_in_flight, self.choice.newcomer_jobs + 2 * self.answered)

    def seconds(self, *, usual: float) -> float:
        """How long one more job would take; `usual` where it has not answered yet."""
        mean = usual if self.pace.mean is None else self.pace.mean
        return mean * self._slower(self.in_flight + 1)

    def _slower(self, jobs: int) -> float:
        return 1 + self.choice.load * max(jobs - 1, 0)

    def hedge_after(self, *, usual: Pace) -> float:
        """The straggler delay in seconds: what nearly all its answers keep to at its present load."""
        pace = usual if self.pace.mean is None else self.pace
        choice = self.choice
        mean, spread = pace.mean, pace.deviation
        if mean is None:
            mean, spread = choice.latency_seconds, choice.latency_seconds / 2
        delay = (mean + 4 * spread) * self._slower(self.in_flight)
        return min(max(delay, choice.hedge_floor_seconds), choice.hedge_ceiling_seconds)

    def silent(self, now: float, *, usual: Pace) -> bool:
        """Whether a job is in flight past the straggler delay and nothing was heard meanwhile."""
        if not self._begun:
            return False
        return now - max(self._begun[0].at, self._heard_at) > self.hedge_after(usual=usual)

    def hindrance(self, now: float, stake_msat: int) -> str:
        """Why it gets no job that puts that much at stake; empty if it may."""
        if self.wakes > now:
            return "rests after failures, or for what it took"
        if self.in_flight >= self.limit:
            return "has as many jobs in flight as it may"
        if stake_msat and self.staked_msat + stake_msat > self.stake_limit:
            return "has as much at stake as it may"
        return ""

    def state(self, now: float) -> State:
        """What it is, in a word."""
        if self.wakes > now:
            return "resting"
        if self.known:
            return "trusted" if self.trusted else "known"
        return "trial" if self.answered or self.failures else "new"

    def cost(self, price: int, stake: int, *, success: float, seconds: float) -> float:
        """The expected cost of an answer in msat, time, failures and wrong answers included."""
        choice = self.choice
        second = choice.second_bids * self.bid_msat
        failure = stake + choice.patience_seconds * second
        tries = (1 - success) / max(success, 1e-6)
        return (
            price + second * seconds + tries * failure + self.disagreement * choice.wrong_bids * self.bid_msat
        )

    @property
    def stake_limit(self) -> float:
        """The most msat it may have at stake."""
        return self.bid_msat * self.choice.newcomer_bids + self.earned_msat

    def begin(self, now: float, stake_msat: int) -> Begun:
        """One more job is in flight, with that much at stake."""
        job = Begun(now, stake_msat, self.trusted, self.in_flight + 1)
        self.staked_msat += stake_msat
        insort(self._begun, job)
        return job

    def end(self, outcome: JobOutcome, now: float, *, usual: Pace) -> Begun:
        """A job ended; returns it as it began. Raises ValueError when none is in flight."""
        if not self._begun:
            raise ValueError("a job ended that never began")
        late = outcome.latency_seconds > self.hedge_after(usual=usual)
        job = self._pop(now - outcome.latency_seconds)
        self.staked_msat -= job.stake_msat
        match outcome.kind:
            case "answered" | "disagreed":
                self._succeed(outcome, job, now)
                if outcome.kind == "disagreed":
                    self.judge(agreed=False, now=now)
            case "failed" | "refused":
                self._fail(job, now)
            case "lost":
                self._fail(job, now, weight=1 + _LOSS * outcome.msat / self.bid_msat)
                self.struck = True
                self._strike(now)
            case "cancelled":
                if late:
                    self._fail(job, now)
        return job

    def _pop(self, at: float) -> Begun:
        """The job in flight that began nearest to `at`: the caller's own arithmetic may be off by a bit."""
        index = min(bisect_left(self._begun, (at,)), len(self._begun) - 1)
        if index and at - self._begun[index - 1].at < self._begun[index].at - at:
            index -= 1
        return self._begun.pop(index)

    def judge(self, *, agreed: bool, now: float) -> None:
        """An answer of its was held against others'."""
        self.compared += 1
        self.agreed = self.agreed * self.choice.memory + agreed
        self.disagreed = self.disagreed * self.choice.memory + (not agreed)
        if not agreed and not self.dependable:
            self._strike(now)

    def _succeed(self, outcome: JobOutcome, job: Begun, now: float) -> None:
        self._remember(success=1.0)
        self.answered += 1
        self.streak = 0
        self.struck = False
        self._tired_until = -math.inf
        self._heard_at = now
        self.charged_msat = outcome.msat
        self.earned_msat += outcome.msat
        self.pace.learn(outcome.latency_seconds / self._slower(job.load))

    def _fail(self, job: Begun, now: float, *, weight: float = 1.0) -> None:
        self._remember(failure=weight)
        if job.at < self._failed_at:  # in flight when the last one failed: the same outage
            return
        self._failed_at = now
        self.streak += 1
        if self.streak >= _TIRED:
            seconds = self._grown(self.choice.rest_seconds, self.streak - _TIRED)
            self._tired_until = max(self._tired_until, now + seconds)

    def _strike(self, now: float) -> None:
        # An answer ends a rest, and not this one: who takes what is not his may answer now and then.
        seconds = self._grown(self.choice.distrust_seconds, self.strikes)
        self._banned_until = max(self._banned_until, now + seconds)
        self.strikes += 1

    def _grown(self, seconds: float, times: int) -> float:
        return min(seconds * self.choice.rest_growth ** min(times, 50), self.choice.rest_most_seconds)

    def _remember(self, *, success: float = 0.0, failure: float = 0.0) -> None:
        self.successes = self.successes * self.choice.memory + success
        self.failures = self.failures * self.choice.memory + failure
