"""What the market is told and what it answers: the policy's settings, an offer, why there is none, a row.

Plain data. Settings count amounts in bids (the most a job may cost), so that one policy fits every price
level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oa_compile.swarm.protocol.nip89 import Handler


@dataclass(frozen=True, slots=True)
class Choice:
    """The policy's settings.

    Cost: `second_bids` is what a second of waiting is worth, `patience_seconds` the time a failure is taken
    to cost, `wrong_bids` the price of a wrong answer, `load` by how much of itself each further job in
    flight slows a job down. `memory` is the weight that an outcome keeps with each later one.
    `latency_seconds` is expected where nothing is known.

    Trust: a provider has at most `newcomer_bids` at stake, and besides what its answers earned it: leaving
    with the money never pays for having earned the trust. Until `trusted_after` answers it has at most
    `newcomer_jobs` in flight, and two more for each answer; and all such providers together have at most
    `risk_bids` at stake or lost, growing back by `risk_bids_per_minute`: nobody steals more than that,
    however many keys he makes. Those who have not answered once, or are on trial, get at most
    `newcomer_share` of the jobs while there are others.

    Audits: where there are any, the answers of a provider are audited until it was compared
    `vouched_after` times: a crowd of cheap keys would else have its first wrong answers for nothing.

    Rest: `rest_seconds` after two failures running, `distrust_seconds` after a loss or when more than
    `most_disagreement` of the answers disagree; times `rest_growth` each time, up to `rest_most_seconds`.

    `hedge_floor_seconds` and `hedge_ceiling_seconds` bound the straggler delay, `most_in_flight` the jobs
    any provider has, `most_offers` the announcements kept.
    """

    second_bids: float = 0.1
    patience_seconds: float = 30.0
    wrong_bids: float = 20.0
    load: float = 0.25
    memory: float = 0.95
    latency_seconds: float = 2.0
    trusted_after: int = 3
    newcomer_jobs: int = 2
    newcomer_bids: float = 2.0
    newcomer_share: float = 0.1
    risk_bids: float = 20.0
    risk_bids_per_minute: float = 2.0
    vouched_after: int = 3
    rest_seconds: float = 5.0
    distrust_seconds: float = 300.0
    rest_growth: float = 3.0
    rest_most_seconds: float = 3600.0
    most_disagreement: float = 1 / 3
    hedge_floor_seconds: float = 0.25
    hedge_ceiling_seconds: float = 30.0
    most_in_flight: int = 64
    most_offers: int = 20_000

    def __post_init__(self) -> None:
        if not 0 < self.memory < 1 or not 0 <= self.newcomer_share <= 1:
            raise ValueError("memory must lie between 0 and 1, newcomer_share in 0 … 1")
        if self.hedge_floor_seconds > self.hedge_ceiling_seconds:
            raise ValueError("hedge_floor_seconds must not be above hedge_ceiling_seconds")
        if min(self.newcomer_jobs, self.most_in_flight, self.most_offers) < 1 or self.rest_growth < 1:
            raise ValueError("newcomer_jobs, most_in_flight, most_offers and rest_growth must be at least 1")


@dataclass(frozen=True, slots=True)
class Offer:
    """The provider a job should go to. `price_msat` is what it is expected to charge, `stake_msat` of that
    before the answer; `operator` is who says to run it (else its own pubkey). Of one not `trusted`, check
    the answer if you can. `hedge_after` is its straggler delay in seconds, before this job.
    """

    provider: str
    handler: Handler
    operator: str
    price_msat: int
    stake_msat: int
    trusted: bool
    hedge_after: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """Why `choose` has nobody: `waits` if the end of a job in flight may change that, `at` the time when
    somebody may be asked again (None: no such time), `reason` for people.
    """

    waits: bool
    at: float | None
    reason: str


State = Literal["trusted", "known", "new", "trial", "resting", "not eligible"]


@dataclass(frozen=True, slots=True)
class Row:
    """One provider as the market sees it. `why_not` says why it gets no job now, empty if it may.
    `success` and `disagreement` are expected shares; `cost_msat` the expected cost of an answer.
    """

    provider: str
    name: str
    price_msat: int | None
    state: State
    why_not: str
    in_flight: int
    answered: int
    success: float
    disagreement: float
    latency_seconds: float | None
    cost_msat: float


OutcomeKind = Literal["answered", "failed", "refused", "lost", "disagreed", "cancelled"]


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What became of one job.

    ``answered``   a result came; `msat` is what it cost.
    ``failed``     silence, an error, a result that makes no sense.
    ``refused``    the provider would not serve it, or not at the price it announced.
    ``lost``       paid, and no answer; `msat` is what is gone.
    ``disagreed``  a result came and was found to differ from what others say; `msat` is what it cost.
    ``cancelled``  we stopped waiting. Says something only past the provider's own straggler delay.

    `latency_seconds` is the time since the job began, whatever the outcome.
    """

    kind: OutcomeKind
    latency_seconds: float = 0.0
    msat: int = 0
