"""A metric that the program's author wrote in Python: called, and not believed further than it goes."""

from __future__ import annotations

import copy
import inspect
import numbers
from typing import Any

from oa_compile.errors import SpecError
from oa_compile.evaluate.rules import Case, Judged, MetricError, Scorer
from oa_compile.spec.target import Target

_ROUNDING = 1e-9


def python_scorer(target: Target, name: str) -> Scorer:
    """The callable as a scorer. Raises SpecError when it cannot be called with (inputs, gold, pred)."""
    hint = "write it as `def name(inputs, gold, pred)`, returning a score or (score, feedback)"
    if inspect.iscoroutinefunction(target.call):
        raise SpecError(f"{target.path}: metric {name} is async", hint=hint)
    try:
        inspect.signature(target.call).bind({}, {}, {})
    except TypeError as error:
        raise SpecError(f"{target.path}: metric {name} cannot be called: {error}", hint=hint) from error

    def score(case: Case) -> Judged:
        # Copies, so that a metric that changes what it is given cannot change the next score.
        given = (copy.deepcopy(dict(fields)) for fields in (case.inputs, case.gold, case.pred))
        try:
            returned = target.call(*given)
        except Exception as error:
            # A user's code may raise anything; it stops the run instead of scoring 0.
            raise MetricError(
                f"{target.path}: metric {name} raised {type(error).__name__}: {error}",
                hint="make it return a score for every prediction, 0 for a bad one",
            ) from error
        return check_returned(returned, f"{target.path}: metric {name}")

    return score


def check_returned(returned: Any, who: str) -> Judged:
    """A score or (score, feedback) that somebody's Python returned. Raises MetricError for anything else."""
    score, feedback = returned, ""
    if isinstance(returned, tuple):
        if len(returned) != 2 or not isinstance(returned[1], str):
            raise MetricError(
                f"{who} returned {returned!r}", hint="return a score, or (score, feedback text)"
            )
        score, feedback = returned
    if not isinstance(score, numbers.Real):
        raise MetricError(
            f"{who} returned a {type(score).__name__} as its score", hint="a score is a number in 0 … 1"
        )
    value = float(score)
    # Sums of weights may miss 0 or 1 by a rounding error; anything further out is a mistake.
    if not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise MetricError(f"{who} returned the score {value!r}", hint="a score is a number in 0 … 1")
    return Judged(min(max(value, 0.0), 1.0), feedback)
