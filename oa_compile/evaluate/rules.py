"""One ``[[metrics]]`` entry, ready to run: whose fault a zero is, and what is said about it.

A bad prediction scores 0 and the feedback says why. A bad metric or a bad gold value raises
MetricError: a score must never stand for a fault that is not the candidate's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oa_compile.errors import UsageError
from oa_compile.evaluate.compare import as_text
from oa_compile.evaluate.feedback import fill, quote
from oa_compile.spec.metrics import AnyMetricSpec

Fields = Mapping[str, Any]


class MetricError(UsageError):
    """A metric or a gold value is at fault: the run must stop rather than score it 0."""


class Case(NamedTuple):
    """What is scored: plain mappings, and what the example's record notes of failed tries."""

    inputs: Fields
    gold: Fields
    pred: Fields
    note: str = ""


class Judged(NamedTuple):
    """A score in 0 … 1; without feedback, the rule's template speaks."""

    score: float
    feedback: str = ""


Scorer = Callable[[Case], Judged]
"""Scores one case. Raises ValueError for a gold value that makes no sense, MetricError for its own fault."""


class Part(NamedTuple):
    """One metric's share of an example's score. `score` is None where the truth was not asked."""

    name: str
    score: float | None
    weight: float
    feedback: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One metric. `digest` is that of the files it runs, "" for those that run none."""

    spec: AnyMetricSpec
    name: str
    scorer: Scorer
    digest: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the program's folder that it puts into the sandbox."""

    @property
    def is_proxy(self) -> bool:
        """Whether it is free and goes first."""
        return self.spec.tier_in_force == "proxy"

    def part(self, case: Case) -> Part:
        """Score a case. Raises MetricError; what a judge's lane or a sandbox raises passes through."""
        judged = self._judge(case)
        text = judged.feedback or self._feedback(judged.score, case)
        return Part(self.name, judged.score, self.spec.weight, text)

    def unasked(self, why: str) -> Part:
        """Its part of an example that did not come so far."""
        return Part(self.name, None, self.spec.weight, f"{self.name} was not asked: {why}.")

    def _judge(self, case: Case) -> Judged:
        name = self.spec.field_name
        if name and self.spec.reads_gold and case.gold.get(name) is None:
            raise MetricError(
                f"metric {self.name}: an example has no gold `{name}`",
                hint="extract the dataset again, or point the metric at a field the examples have",
            )
        if name and case.pred.get(name) is None:
            return Judged(0.0, f"`{name}` is missing from the answer.")
        try:
            return self.scorer(case)
        except ValueError as error:
            raise MetricError(f"metric {self.name}: {error}", hint="correct the dataset") from error

    def _feedback(self, score: float, case: Case) -> str:
        name = self.spec.field_name
        subject = f"`{name}`" if name else f"The answer, by {self.name},"
        if score >= 1:
            return f"{subject} is right."
        values = {
            "gold": quote(case.gold.get(name) if name else dict(case.gold)),
            "pred": quote(case.pred.get(name) if name else dict(case.pred)),
            "field": name,
            "inputs": quote("\n".join(f"{key}: {as_text(v)}" for key, v in case.inputs.items())),
            "note": quote(case.note),
        }
        text = fill(self.spec.feedback or default_template(self.spec), values)
        return text if self.spec.feedback or score == 0 else f"{text} Score {score:.2f} of 1."


def default_template(spec: AnyMetricSpec) -> str:
    """What is said of a wrong answer when the spec does not say it."""
    match spec.kind:
        case "python" | "judge" | "command" | "pytest":
            return "The answer falls short."
        case "numeric":
            give = f" (give or take {spec.tolerance:g})" if spec.tolerance else ""
            return f"`{{field}}` should be {{gold}}{give}, but is {{pred}}."
        case "contains":
            return "`{field}` should contain {gold}, but is {pred}."
        case "file_overlap":
            return "`{field}` should name the files {gold}, but names {pred}."
    return "`{field}` should be {gold}, but is {pred}."
