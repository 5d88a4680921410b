"""The gates between an artifact's states: what each demands, and what was measured.

A gate that does not apply (a program without a judge has no judge's score) says so; it is neither passed nor
missed. Nothing here reads what the search thought of its own candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from oa_compile.errors import LaneError
from oa_compile.evaluate.stats import paired
from oa_compile.events import PromotionState
from oa_compile.promote.evidence import Evidence
from oa_compile.spec.promotion import PromotionSpec

State = PromotionState

STEPS: tuple[State, ...] = ("candidate", "staged", "shadow", "promoted")

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Gate:
    """One demand. `passed` is None where it does not apply, and `reason` says why."""

    name: str
    passed: bool | None
    measured: float | None
    required: float
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, for the journal."""
        return asdict(self)


def gates(
    step: State, spec: PromotionSpec, evidence: Evidence, *, current: Evidence | None, seed: int = 0
) -> tuple[Gate, ...]:
    """The gates before `step`. `current` is the evidence of the artifact in use; without one the program as
    written stands for it. Raises LaneError when the two were not scored on the same.
    """
    if step == "staged":
        return tuple(_form(spec, evidence))
    if step == "shadow":
        return tuple(_worth(spec, evidence, seed=seed))
    return tuple(_win(spec, evidence, current, seed=seed))


def held(found: tuple[Gate, ...]) -> bool:
    """Whether none is missed."""
    return all(gate.passed is not False for gate in found)


def _form(spec: PromotionSpec, evidence: Evidence) -> Iterator[Gate]:
    for kind, required in (("format", spec.min_format), ("syntax", spec.min_syntax)):
        if required is not None:
            yield _mean(kind, required, evidence)


def _worth(spec: PromotionSpec, evidence: Evidence, *, seed: int) -> Iterator[Gate]:
    if spec.min_judge is not None:
        yield _mean("judge", spec.min_judge, evidence)
    if spec.min_gain is not None:
        yield _gain(spec, evidence, seed=seed)


def _win(spec: PromotionSpec, evidence: Evidence, current: Evidence | None, *, seed: int) -> Iterator[Gate]:
    theirs, who = evidence.before, "the program as written"
    if current is not None:
        if (current.testset, current.metric) != (evidence.testset, evidence.metric):
            raise LaneError(
                "the artifact in use was scored on another testset or by another metric: no comparison",
                hint="validate an artifact compiled on the same dataset",
            )
        theirs, who = current.after, "the artifact in use"
    both = [name for name in evidence.after if name in theirs]
    if spec.min_examples is not None:
        enough = len(both) >= spec.min_examples
        reason = f"{len(both)} examples were scored with both, at least {spec.min_examples} are asked for"
        yield Gate("min_examples", enough, float(len(both)), float(spec.min_examples), reason)
    if spec.min_win_rate is None:
        return
    if not both:
        yield _nothing("min_win_rate", spec.min_win_rate, "no example was scored with both")
        return
    found = paired([theirs[name] for name in both], [evidence.after[name] for name in both], seed=seed)
    rate = (found.wins + found.ties / 2) / found.n
    passed = rate >= spec.min_win_rate - _ROUNDING and found.p_value < spec.alpha
    reason = (
        f"{found.wins} won, {found.losses} lost, {found.ties} tied against {who}: win rate {rate:.3f}, "
        f"one-sided p = {found.p_value:.2g} ({found.method}); asked for are {spec.min_win_rate:g} and "
        f"p < {spec.alpha:g}"
    )
    yield Gate("min_win_rate", passed, rate, spec.min_win_rate, reason)


def _gain(spec: PromotionSpec, evidence: Evidence, *, seed: int) -> Gate:
    assert spec.min_gain is not None
    both = [name for name in evidence.after if name in evidence.before]
    if not both:
        return _nothing("min_gain", spec.min_gain, "there is no score of the program as written")
    before, after = [evidence.before[name] for name in both], [evidence.after[name] for name in both]
    found = paired(before, after, seed=seed)
    passed = found.mean_gain >= spec.min_gain - _ROUNDING and found.p_value < spec.alpha
    reason = (
        f"a gain of {100 * found.mean_gain:+.1f} points [{100 * found.interval.low:.1f}, "
        f"{100 * found.interval.high:.1f}] over the program as written on {found.n} examples, one-sided "
        f"p = {found.p_value:.2g}; asked for are {100 * spec.min_gain:+.1f} and p < {spec.alpha:g}"
    )
    return Gate("min_gain", passed, found.mean_gain, spec.min_gain, reason)


def _mean(kind: str, required: float, evidence: Evidence) -> Gate:
    measured = evidence.parts.get(kind)
    name = f"min_{kind}"
    if measured is None:
        return Gate(name, None, None, required, f"does not apply: the program has no metric of kind {kind}")
    passed = measured >= required - _ROUNDING
    reason = (
        f"{kind} came to {measured:.3f} on {len(evidence.after)} examples, at least {required:g} is asked for"
    )
    return Gate(name, passed, measured, required, reason)


def _nothing(name: str, required: float, reason: str) -> Gate:
    return Gate(name, passed=False, measured=None, required=required, reason=reason)
