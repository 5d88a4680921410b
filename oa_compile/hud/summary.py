"""What the final screens are told beyond the journal: paths, intervals, verdicts, the next command.

Plain values; whoever ends a step fills them in. An empty string or None means: not there, not shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from oa_compile.hud.record import ForecastLine
from oa_compile.hud.swarm import Premium, SwarmSpend
from oa_compile.money import Rate


class Bounds(NamedTuple):
    """A 95 % interval, in the unit of what it bounds (a score, or a difference of scores)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would take: for the dry run's screen."""

    program: str
    optimizer: str
    lines: tuple[ForecastLine, ...]
    rate: Rate
    notes: tuple[str, ...] = ()
    next_command: str = ""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What the end of ``optimize`` knows besides the journal. `saved` counts calls that this process
    had answered from the journal; None leaves that to the journal's evaluations.
    """

    artifact: str = ""
    artifact_digest: str = ""
    bundle: str = ""
    saved: int | None = None
    next_command: str = ""


@dataclass(frozen=True, slots=True)
class SealedScore:
    """A score in 0 … 1 on the sealed testset, over `n` examples."""

    score: float
    n: int
    interval: Bounds | None = None


@dataclass(frozen=True, slots=True)
class LaneCost:
    """What one lane came to."""

    lane: str
    calls: int
    msat: int
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class LoopSummary:
    """The whole loop on one screen: extract, optimize, validate, replay.

    `gain` is the mean paired difference, with `gain_interval`; `verdict` is validate's sentence.
    `replay_identical` is None when no replay was made.
    """

    program: str
    optimizer: str
    before: SealedScore
    after: SealedScore
    gain: float
    verdict: str
    costs: tuple[LaneCost, ...]
    rate: Rate
    saved: int
    seconds: float
    gain_interval: Bounds | None = None
    excluded: int = 0
    replay_identical: bool | None = None
    artifact_digest: str = ""
    artifact: str = ""
    bundle: str = ""
    next_command: str = ""
    swarm: SwarmSpend = field(default_factory=SwarmSpend)
    premium: Premium | None = None
