"""The contract of an optimizer: fit its settings, forecast its calls, search.

The three real DSPy optimizers fulfil it, each in its own file; the driver knows only this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import dspy

from oa_compile.evaluate.examples import ScoreFunction
from oa_compile.events import Role
from oa_compile.optimize.lookahead import LookAhead
from oa_compile.optimize.recorder import CandidateRecorder
from oa_compile.signatures.frozen import Part, Tunable
from oa_compile.spec.config import OptimizerName, OptimizerSpec

Note = Callable[[str, str], None]
"""Tells the user something: a code and a sentence."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how many calls a search takes."""

    train: int
    val: int
    predictors: int
    calls_per_example: int


@dataclass(frozen=True, slots=True)
class PhaseEstimate:
    """Expected calls of one phase. `examples` counts program runs or proposals; `demos` is the mean
    number of demos in their prompts.
    """

    phase: str
    role: Role
    calls: int
    at_most: int
    demos: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a search works with."""

    program: dspy.Module
    trainset: list[dspy.Example]
    valset: list[dspy.Example]
    score: ScoreFunction
    task_lm: dspy.LM
    proposer_lm: dspy.LM
    tunable: Tunable
    seed: int
    threads: int
    recorder: CandidateRecorder
    phase: Callable[[str], None]
    ahead: LookAhead | None = None


class Optimizer(Protocol):
    """One search algorithm. Stateless: settings come in, a program comes out."""

    name: OptimizerName
    searched: frozenset[Part]

    def fit(self, settings: Any, *, sizes: Sizes, tunable: Tunable, note: Note) -> Any:
        """Settings that this data and program allow; every change is noted. UsageError when none do."""

    def val_limit(self, settings: Any) -> int | None:
        """The most validation examples it scores on; None for all there are."""

    def proposes(self, settings: Any) -> bool:
        """Whether the proposer will be asked for instructions."""

    def forecast(self, settings: Any, *, sizes: Sizes) -> list[PhaseEstimate]:
        """Expected and greatest number of calls, phase by phase, before any is made."""

    def probe(self, lm: dspy.LM, *, instruction: str, settings: Any) -> str:
        """Ask the proposer once in this optimizer's own format. Returns the instruction it wrote."""

    def compile(self, job: Job, settings: Any) -> dspy.Module:
        """Search. Infrastructure faults, budget stops and interrupts pass through as StopRun."""


OPTIMIZERS: Mapping[OptimizerName, str] = {
    "miprov2": "oa_compile.optimize.miprov2",
    "copro": "oa_compile.optimize.copro",
    "gepa": "oa_compile.optimize.gepa",
}


def optimizer_named(name: OptimizerName) -> Optimizer:
    """The optimizer of that name; its library is imported now and not before."""
    return cast(Optimizer, import_module(OPTIMIZERS[name]).OPTIMIZER)


def settings_of(spec: OptimizerSpec, name: OptimizerName) -> Any:
    """The settings section of an optimizer."""
    return getattr(spec, name)
