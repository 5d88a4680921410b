"""From the ``[[metrics]]`` of a program spec to one `Metric` that scores an example.

Owns the two tiers, weights and the digest; what each kind looks at is in the files beside this one. Knows
nothing of DSPy: inputs, gold and prediction are plain mappings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from oa_compile.dataset import ExampleRecord, record_id
from oa_compile.digest import digest_bytes, digest_json
from oa_compile.errors import SpecError
from oa_compile.evaluate import compare
from oa_compile.evaluate.feedback import check_template
from oa_compile.evaluate.proxies import format_scorer, keywords_scorer, length_scorer, syntax_scorer
from oa_compile.evaluate.python_metric import python_scorer
from oa_compile.evaluate.rules import Case, Fields, Judged, MetricError, Part, Rule, Scorer
from oa_compile.evaluate.tested import Tester, read_files, tested_scorer
from oa_compile.spec.metrics import (
    AnyMetricSpec,
    CommandMetric,
    ComparisonMetric,
    FormatMetric,
    JudgeMetric,
    KeywordsMetric,
    LengthMetric,
    NumericMetric,
    PytestMetric,
    PythonMetric,
    SandboxedMetric,
    SyntaxMetric,
)
from oa_compile.spec.program import ProgramSpec
from oa_compile.spec.target import load_target

__all__ = ["Metric", "MetricError", "Scored", "build_metric"]

VERSION = 2
"""Part of every metric's digest: raised when a built-in kind starts to score differently."""

_COMPARISONS = {
    "exact_match": compare.exact_match,
    "normalized_match": compare.normalized_match,
    "set_f1": compare.set_f1,
    "contains": compare.contains,
    "file_overlap": compare.file_overlap,
}


Ask = Callable[[JudgeMetric, Case], Judged]
"""Puts a case before a judge. Raises LaneFault when it cannot be judged: no fault of the answer's."""


class Scored(NamedTuple):
    """An example's score in 0 … 1, its feedback (one line or more a part), and the parts."""

    score: float
    feedback: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """The program's metric: the weighted mean of its parts. Safe to call from many threads.

    `digest` covers every part's spec and the bytes of the Python files they run. `notes` are what records
    say beyond their fields, by the records' ids.
    """

    rules: tuple[Rule, ...]
    digest: str
    proxy_threshold: float
    notes: Mapping[str, str] = field(default_factory=dict)

    def with_notes(self, records: Iterable[ExampleRecord]) -> Metric:
        """The same metric, which fills `{note}` with what these records' meta tells of failed tries."""
        if not any("{note}" in rule.spec.feedback for rule in self.rules):
            return self
        return replace(self, notes={record.id: record.note for record in records if record.note})

    @property
    def judges(self) -> int:
        """How many of its parts ask a language model."""
        return sum(isinstance(rule.spec, JudgeMetric) for rule in self.rules)

    def with_judge(self, ask: Ask) -> Metric:
        """The same metric, whose judges ask through `ask`."""
        rules = tuple(
            replace(rule, scorer=partial(ask, rule.spec)) if isinstance(rule.spec, JudgeMetric) else rule
            for rule in self.rules
        )
        return replace(self, rules=rules)

    def without_gold(self) -> Metric:
        """Its free parts that need no right answer."""
        return replace(
            self, rules=tuple(rule for rule in self.rules if rule.is_proxy and not rule.spec.reads_gold)
        )

    def reward(self, *, inputs: Fields, pred: Fields) -> Judged:
        """How good an answer is by the proxies alone, and what is wrong with it."""
        parts = [rule.part(Case(inputs, {}, pred)) for rule in self.rules]
        wrong = (part.feedback for part in parts if part.score is not None and part.score < 1)
        return Judged(_proxy_score(parts), " ".join(wrong))

    @property
    def runs_code(self) -> bool:
        """Whether a part of it needs the sandbox."""
        return any(isinstance(rule.spec, SandboxedMetric) for rule in self.rules)

    def with_tester(self, test: Tester) -> Metric:
        """The same metric, whose commands and tests are run by `test`."""
        rules = tuple(
            replace(rule, scorer=tested_scorer(rule.spec, test, files=rule.files))
            if isinstance(rule.spec, CommandMetric | PytestMetric)
            else rule
            for rule in self.rules
        )
        return replace(self, rules=rules)

    def score(self, *, inputs: Fields, gold: Fields, pred: Fields) -> Scored:
        """Score one example: the proxies first, the truth only where they reach their threshold; truth that
        was not asked counts 0. Raises MetricError when the metric or the gold values are at fault.
        """
        note = self.notes.get(record_id(inputs, outputs=gold), "") if self.notes else ""
        case = Case(inputs, gold, pred, note)
        proxies = [rule.part(case) if rule.is_proxy else None for rule in self.rules]
        reached = _proxy_score(part for part in proxies if part)
        short = reached < self.proxy_threshold
        why = f"the proxies came to {reached:.2f}, and it takes {self.proxy_threshold:g}"
        parts = tuple(
            part or (rule.unasked(why) if short else rule.part(case))
            for rule, part in zip(self.rules, proxies, strict=True)
        )
        weight = math.fsum(part.weight for part in parts)
        score = math.fsum(part.weight * (part.score or 0.0) for part in parts) / weight
        return Scored(min(max(score, 0.0), 1.0), "\n".join(part.feedback for part in parts), parts)


def _proxy_score(parts: Iterable[Part]) -> float:
    """The weighted mean of the proxies; those that only decide (weight 0) count alike when all do. 1 when
    there are none.
    """
    scored = [(part.score or 0.0, part.weight) for part in parts]
    if not scored:
        return 1.0
    weight = math.fsum(weight for _, weight in scored)
    if not weight:
        return math.fsum(score for score, _ in scored) / len(scored)
    return math.fsum(score * weight for score, weight in scored) / weight


def build_metric(spec: ProgramSpec, folder: Path) -> Metric:
    """The metric of a program whose ``program.toml`` lies in `folder`.

    Raises SpecError for a feedback template, a pattern or a Python target that does not hold.
    """
    rules = tuple(_build_rule(part, folder) for part in spec.metrics)
    described = [{"spec": rule.spec.model_dump(mode="json"), "file": rule.digest or None} for rule in rules]
    threshold = spec.evaluation.proxy_threshold
    digest = digest_json({"version": VERSION, "metrics": described, "proxy_threshold": threshold})
    return Metric(rules, digest, threshold)


def _build_rule(spec: AnyMetricSpec, folder: Path) -> Rule:
    name = spec.target if isinstance(spec, PythonMetric) else spec.kind
    name = f"{name}({spec.field_name})" if spec.field_name and name == spec.kind else name
    where = f"{folder / 'program.toml'}: metric {name}"
    check_template(spec.feedback, where=where)
    if isinstance(spec, PythonMetric):
        target = load_target(spec.target, folder)
        return Rule(spec, name, python_scorer(target, name), target.digest)
    if isinstance(spec, CommandMetric | PytestMetric):
        files = read_files(spec, folder)
        digest = digest_json({name: digest_bytes(data) for name, data in files.items()})
        return Rule(spec, name, _no_sandbox, digest, files)
    try:
        return Rule(spec, name, _scorer(spec))
    except ValueError as error:
        raise SpecError(f"{where}: {error}", hint="correct it in the program's spec") from error


def _scorer(spec: AnyMetricSpec) -> Scorer:
    match spec:
        case ComparisonMetric():
            return _comparison(spec.field, _COMPARISONS[spec.kind])
        case NumericMetric():
            return _comparison(spec.field, partial(compare.numeric, tolerance=spec.tolerance))
        case FormatMetric():
            return format_scorer(spec)
        case KeywordsMetric():
            return keywords_scorer(spec)
        case LengthMetric():
            return length_scorer(spec)
        case SyntaxMetric():
            return syntax_scorer(spec)
        case JudgeMetric():
            return _no_judge
    raise AssertionError(spec.kind)


def _no_judge(_case: Case) -> Judged:
    raise MetricError("a judge was asked where there is no lane to ask it on")


def _no_sandbox(_case: Case) -> Judged:
    raise MetricError("code was to be run where there is no sandbox")


def _comparison(name: str, same: compare.Comparison) -> Scorer:
    return lambda case: Judged(same(case.gold[name], case.pred[name]))
