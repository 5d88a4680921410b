"""From the ``[[metrics]]`` of a program spec to one `Metric` that scores an example.

Owns weights, feedback text, a missing field, and what a Python metric may return; what "equal" means
is `compare`'s. Knows nothing of DSPy: inputs, gold and prediction are plain mappings.

A bad prediction scores 0 and the feedback says why. A bad metric or a bad gold value raises
MetricError: a score must never stand for a fault that is not the candidate's.
"""

from __future__ import annotations

import copy
import inspect
import math
import numbers
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from oa_compile.dataset import ExampleRecord, record_id
from oa_compile.digest import digest_json
from oa_compile.errors import SpecError, UsageError
from oa_compile.evaluate import compare
from oa_compile.spec.program import MetricSpec, ProgramSpec
from oa_compile.spec.target import Target, load_target

VERSION = 1
"""Part of every metric's digest: raised when a built-in kind starts to score differently."""

MAX_VALUE = 2_000
"""Characters of one value that feedback quotes; feedback is paid for by the token."""

PLACEHOLDERS = ("gold", "pred", "field", "inputs", "note")

Fields = Mapping[str, Any]
Comparison = Callable[[Any, Any], float]

_ROUNDING = 1e-9
_COMPARISONS: dict[str, Comparison] = {
    "exact_match": compare.exact_match,
    "normalized_match": compare.normalized_match,
    "set_f1": compare.set_f1,
    "contains": compare.contains,
}


class MetricError(UsageError):
    """A metric or a gold value is at fault: the run must stop rather than score it 0."""


class Part(NamedTuple):
    """One metric's share of an example's score."""

    name: str
    score: float
    weight: float
    feedback: str


class Scored(NamedTuple):
    """An example's score in 0 … 1, its feedback (one line or more a part), and the parts."""

    score: float
    feedback: str
    parts: tuple[Part, ...]


class _Judged(NamedTuple):
    score: float
    feedback: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """One ``[[metrics]]`` entry, ready to run."""

    spec: MetricSpec
    name: str
    compare: Comparison | None
    target: Target | None

    def part(self, inputs: Fields, gold: Fields, pred: Fields, note: str) -> Part:
        judged = self._judge(inputs, gold, pred, note)
        return Part(self.name, judged.score, self.spec.weight, judged.feedback)

    def _judge(self, inputs: Fields, gold: Fields, pred: Fields, note: str) -> _Judged:
        field = self.spec.field
        if field and gold.get(field) is None:
            raise MetricError(
                f"metric {self.name}: an example has no gold `{field}`",
                hint="extract the dataset again, or point the metric at a field the examples have",
            )
        if field and pred.get(field) is None:
            return _Judged(0.0, f"`{field}` is missing from the answer.")
        if self.target is not None:
            judged = self._call(self.target, inputs, gold, pred)
        else:
            judged = self._compare(gold, pred)
        if judged.feedback:
            return judged
        return _Judged(judged.score, self._feedback(judged.score, inputs, gold, pred, note))

    def _compare(self, gold: Fields, pred: Fields) -> _Judged:
        assert self.compare is not None
        try:
            score = self.compare(gold[self.spec.field], pred[self.spec.field])
        except ValueError as error:
            raise MetricError(f"metric {self.name}: {error}", hint="correct the dataset") from error
        return _Judged(score, "")

    def _call(self, target: Target, inputs: Fields, gold: Fields, pred: Fields) -> _Judged:
        # Copies, so that a metric that changes what it is given cannot change the next score.
        given = (copy.deepcopy(dict(fields)) for fields in (inputs, gold, pred))
        try:
            returned = target.call(*given)
        except Exception as error:
            # A user's code may raise anything; it stops the run instead of scoring 0.
            raise MetricError(
                f"{target.path}: metric {self.name} raised {type(error).__name__}: {error}",
                hint="make it return a score for every prediction, 0 for a bad one",
            ) from error
        return _check_returned(returned, f"{target.path}: metric {self.name}")

    def _feedback(self, score: float, inputs: Fields, gold: Fields, pred: Fields, note: str) -> str:
        subject = f"`{self.spec.field}`" if self.spec.field else f"The answer, by {self.name},"
        if score >= 1:
            return f"{subject} is right."
        template = self.spec.feedback or _default_template(self.spec)
        values = {
            "gold": _quote(gold.get(self.spec.field) if self.spec.field else dict(gold)),
            "pred": _quote(pred.get(self.spec.field) if self.spec.field else dict(pred)),
            "field": self.spec.field,
            "inputs": _quote("\n".join(f"{name}: {compare.as_text(v)}" for name, v in inputs.items())),
            "note": _quote(note),
        }
        text = fill(template, values)
        return text if self.spec.feedback or score == 0 else f"{text} Score {score:.2f} of 1."


@dataclass(frozen=True, slots=True)
class Metric:
    """The program's metric: the weighted mean of its parts. Safe to call from many threads.

    `digest` covers every part's spec and the bytes of the Python files they run. `notes` are what records
    say beyond their fields, by the records' ids.
    """

    rules: tuple[_Rule, ...]
    digest: str
    notes: Mapping[str, str] = field(default_factory=dict)

    def with_notes(self, records: Iterable[ExampleRecord]) -> Metric:
        """The same metric, which fills `{note}` with what these records' meta tells of failed tries."""
        if not any("{note}" in rule.spec.feedback for rule in self.rules):
            return self
        return replace(self, notes={record.id: record.note for record in records if record.note})

    def score(self, *, inputs: Fields, gold: Fields, pred: Fields) -> Scored:
        """Score one example. Raises MetricError when the metric or the gold values are at fault."""
        note = self.notes.get(record_id(inputs, outputs=gold), "") if self.notes else ""
        parts = tuple(rule.part(inputs, gold, pred, note) for rule in self.rules)
        weight = math.fsum(part.weight for part in parts)
        score = math.fsum(part.weight * part.score for part in parts) / weight
        return Scored(min(max(score, 0.0), 1.0), "\n".join(part.feedback for part in parts), parts)


def build_metric(spec: ProgramSpec, folder: Path) -> Metric:
    """The metric of a program whose ``program.toml`` lies in `folder`.

    Raises SpecError for a feedback template or a Python target that does not hold.
    """
    rules = tuple(_build_rule(part, folder) for part in spec.metrics)
    described = [
        {"spec": rule.spec.model_dump(mode="json"), "file": rule.target.digest if rule.target else None}
        for rule in rules
    ]
    return Metric(rules, digest_json({"version": VERSION, "metrics": described}))


def _build_rule(spec: MetricSpec, folder: Path) -> _Rule:
    name = spec.target if spec.kind == "python" else f"{spec.kind}({spec.field})"
    check_template(spec.feedback, where=f"{folder / 'program.toml'}: metric {name}")
    if spec.kind == "python":
        return _Rule(spec, name, None, _check_callable(load_target(spec.target, folder), name))
    if spec.kind == "numeric":
        return _Rule(spec, name, partial(compare.numeric, tolerance=spec.tolerance), None)
    return _Rule(spec, name, _COMPARISONS[spec.kind], None)


def _check_callable(target: Target, name: str) -> Target:
    hint = "write it as `def name(inputs, gold, pred)`, returning a score or (score, feedback)"
    if inspect.iscoroutinefunction(target.call):
        raise SpecError(f"{target.path}: metric {name} is async", hint=hint)
    try:
        inspect.signature(target.call).bind({}, {}, {})
    except TypeError as error:
        raise SpecError(f"{target.path}: metric {name} cannot be called: {error}", hint=hint) from error
    return target


def _check_returned(returned: Any, who: str) -> _Judged:
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
    return _Judged(min(max(value, 0.0), 1.0), feedback)


def check_template(template: str, *, where: str) -> None:
    """Raise SpecError unless `template` holds only plain `PLACEHOLDERS`.

    Attributes, indices, conversions and format specs are refused: values come from sessions and
    models, and a template must not reach into them.
    """
    hint = f"use {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}; write {{{{ and }}}} for braces"
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SpecError(f"{where}: feedback: {error}", hint=hint) from error
    for _text, name, form, conversion in pieces:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise SpecError(f"{where}: feedback: `{{{name}}}` cannot be filled in", hint=hint)


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with its placeholders replaced, once: braces inside values stay as they are."""
    pieces = string.Formatter().parse(template)
    return "".join(text + (values[name] if name is not None else "") for text, name, _form, _conv in pieces)


def _quote(value: Any) -> str:
    text = compare.as_text(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _default_template(spec: MetricSpec) -> str:
    if spec.kind == "python":
        return "The answer falls short."
    wanted = {
        "contains": "should contain {gold}",
        "numeric": "should be {gold}" + (f" (give or take {spec.tolerance:g})" if spec.tolerance else ""),
    }
    return f"`{{field}}` {wanted.get(spec.kind, 'should be {gold}')}, but is {{pred}}."
