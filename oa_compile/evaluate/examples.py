"""Records as DSPy examples, and the program's metric as a function of an example and a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import dspy

from oa_compile.dataset import ExampleRecord
from oa_compile.errors import OacompileError
from oa_compile.evaluate.metrics import Metric
from oa_compile.lanes.lane import LaneFault


class Score(NamedTuple):
    """A program's score on one example, 0 … 1, and what to say about it."""

    score: float
    feedback: str
    parts: Mapping[str, float] = MappingProxyType({})
    """What each metric gave, by its name; those that were not asked are left out."""


ScoreFunction = Callable[[dspy.Example, Any], Score]


def to_examples(records: Iterable[ExampleRecord]) -> list[dspy.Example]:
    """DSPy examples in the records' order, inputs marked."""
    return [dspy.Example(**record.inputs, **record.outputs).with_inputs(*record.inputs) for record in records]


def score_function(
    metric: Metric,
    *,
    stop: Callable[[OacompileError], BaseException],
    on_fault: Callable[[LaneFault], bool] = lambda _fault: False,
) -> ScoreFunction:
    """The metric for DSPy. A fault of the metric itself stops the run through `stop`: DSPy would
    score it as a wrong answer.

    So does a fault of its judge's lane that `on_fault` does not take (it answers False): an example that
    could not be judged has no score, and DSPy knows none such.
    """

    def score(example: dspy.Example, prediction: Any) -> Score:
        pred = prediction.toDict() if isinstance(prediction, dspy.Example) else {}
        try:
            scored = metric.score(inputs=example.inputs().toDict(), gold=example.labels().toDict(), pred=pred)
        except LaneFault as fault:
            if on_fault(fault):
                return Score(0.0, "")
            raise stop(fault) from fault
        except OacompileError as error:
            raise stop(error) from error
        parts = {part.name: part.score for part in scored.parts if part.score is not None}
        return Score(scored.score, scored.feedback, parts)

    return score
