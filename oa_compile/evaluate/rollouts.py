"""An example's score from several runs of the program: the median of them, unless the spec says otherwise."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import dspy

from oa_compile.errors import OacompileError
from oa_compile.evaluate.examples import Score, ScoreFunction
from oa_compile.evaluate.scoring import fault_in
from oa_compile.lanes.lane import LaneFault
from oa_compile.lanes.rollout import Rollout, rolled_out
from oa_compile.spec.metrics import EvaluationSpec

Rerun = Callable[[], Callable[..., Any] | None]
"""The program that this thread has just run on an example, None where it is not being evaluated."""

_AGGREGATES: Mapping[str, Callable[[list[float]], float]] = {
    "median": statistics.median,
    "mean": statistics.fmean,
    "min": min,
}


def over_rollouts(
    score: ScoreFunction,
    spec: EvaluationSpec,
    *,
    rerun: Rerun,
    stop: Callable[[OacompileError], BaseException],
    on_fault: Callable[[LaneFault], bool],
) -> ScoreFunction:
    """`score` over `spec.rollouts` runs. The feedback is that of the run nearest to the aggregate."""
    if spec.rollouts == 1:
        return score

    def several(example: dspy.Example, prediction: Any) -> Score:
        first = score(example, prediction)
        program = rerun()
        if program is None:  # a demo in the making: one run is what it is made of
            return first
        scores = [first]
        for number in range(1, spec.rollouts):
            # A trace of its own: neither demos nor reflection are made of runs that only count.
            with dspy.context(trace=[]), rolled_out(Rollout(number, spec.temperature)):
                try:
                    again = program(**example.inputs().toDict())
                except Exception as error:
                    fault = fault_in(error)
                    if fault is None:
                        scores.append(Score(0.0, "The answer could not be read."))
                        continue
                    if on_fault(fault):
                        return Score(0.0, "")
                    raise stop(fault) from error
                scores.append(score(example, again))
        return aggregated(scores, spec)

    return several


def aggregated(scores: list[Score], spec: EvaluationSpec) -> Score:
    """One score of several."""
    value = _AGGREGATES[spec.aggregate]([one.score for one in scores])
    nearest = min(scores, key=lambda one: abs(one.score - value))
    names = dict.fromkeys(name for one in scores for name in one.parts)
    parts = {name: statistics.fmean(one.parts.get(name, 0.0) for one in scores) for name in names}
    return Score(value, nearest.feedback, parts)
