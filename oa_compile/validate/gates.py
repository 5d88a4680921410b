"""The gates: what the config demands of an artifact, held against the evidence.

Owns each gate's rule and the words for its result. Choosing the exit code and rendering are others'.

``min_score``  the mean score on the testset is at least this.
``min_gain``   0 or more asks for a gain with evidence: the mean gain over the parent is at least this,
               *and* the one-sided paired test against "no gain" gives p < alpha. At 0 that is: better
               than the parent, by any amount, not by luck. Below 0 it asks for non-inferiority: the lower
               bound of the gain's interval at confidence 1 - 2·alpha (so a one-sided test at alpha) lies
               above this; a loss of that size or more is ruled out.
``max_cost_per_call``  the artifact's cost over its calls is at most this, in msat, compared exactly.

A gate that passes only because faults left examples out is a warning: it is applied again with the
excluded examples gone the worst way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from oa_compile.evaluate.stats import Paired, gain_interval, least_examples, mean_interval, paired
from oa_compile.money import parse_amount
from oa_compile.spec.config import GateSpec
from oa_compile.validate import words
from oa_compile.validate.evidence import Evidence, Pairs, Row

GateName = Literal["min_score", "min_gain", "max_cost_per_call"]
Severity = Literal["ok", "warning", "error"]
Unit = Literal["score", "gain", "msat"]

CODES: dict[GateName, str] = {
    "min_score": "OAC201",
    "min_gain": "OAC202",
    "max_cost_per_call": "OAC203",
}

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's result. `measured` is None when there was nothing to measure.

    Units: a ``score`` is in 0 … 1, a ``gain`` in -1 … 1, a cost in msat for one call. A gate that is
    missed has the severity ``error``; one that passed with a reservation, ``warning``.
    """

    name: GateName
    passed: bool
    measured: float | None
    required: float
    unit: Unit
    reason: str
    severity: Severity

    @property
    def code(self) -> str:
        """The diagnostic code: one a gate."""
        return CODES[self.name]


class _Finding(NamedTuple):
    passed: bool
    measured: float | None
    reason: str


def apply_gates(spec: GateSpec, evidence: Evidence) -> tuple[GateResult, ...]:
    """The result of every gate `spec` sets, in the order of its fields; a gate left out is not applied.

    Raises ValueError without a scored example: such a run is not judged at all.
    """
    if not evidence.counted:
        raise ValueError("no example was scored, so no gate can be applied")
    results = []
    if spec.min_score is not None:
        results.append(_guarded("min_score", "score", spec.min_score, spec, evidence))
    if spec.min_gain is not None:
        results.append(_guarded("min_gain", "gain", spec.min_gain, spec, evidence))
    if spec.max_cost_per_call is not None:
        limit = parse_amount(spec.max_cost_per_call, evidence.rate)
        results.append(_result("max_cost_per_call", "msat", limit, _cost(limit, evidence)))
    return tuple(results)


def _guarded(
    name: Literal["min_score", "min_gain"], unit: Unit, required: float, spec: GateSpec, evidence: Evidence
) -> GateResult:
    def find(seen: Evidence) -> _Finding:
        return _score(required, seen) if name == "min_score" else _gain(required, spec.alpha, seen)

    finding = find(evidence)
    result = _result(name, unit, required, finding)
    left_out = len(evidence.excluded)
    if result.passed and left_out and not find(_at_worst(evidence)).passed:
        left = words.examples(left_out)
        reason = (
            f"{finding.reason}; it hangs on the {left} that faults left out: gone wrong, it would be missed"
        )
        return replace(result, severity="warning", reason=reason)
    return result


def _result(name: GateName, unit: Unit, required: float, finding: _Finding) -> GateResult:
    severity: Severity = "ok" if finding.passed else "error"
    return GateResult(name, finding.passed, finding.measured, required, unit, finding.reason, severity)


def _at_worst(evidence: Evidence) -> Evidence:
    """The evidence had every excluded example been lost by the artifact and won by its parent."""
    before = 1.0 if evidence.has_parent else None
    rows = tuple(Row(row.example, before, 0.0) if row.fault else row for row in evidence.rows)
    return replace(evidence, rows=rows)


def _score(required: float, evidence: Evidence) -> _Finding:
    scores = evidence.scores
    mean = math.fsum(scores) / len(scores)
    interval = mean_interval(scores, seed=evidence.seed)
    passed = mean >= required - _ROUNDING
    return _Finding(
        passed,
        mean,
        f"the score is {words.percent(mean)} {words.bounds(interval)} on {words.examples(len(scores))}, "
        f"{'at least' if passed else 'below'} the {words.percent(required)} asked for",
    )


def _gain(required: float, alpha: float, evidence: Evidence) -> _Finding:
    pairs = evidence.pairs
    if pairs is None:
        return _Finding(
            passed=False, measured=None, reason="there is no parent's score to measure a gain against"
        )
    result = paired(pairs.before, pairs.after, seed=evidence.seed)
    if required < 0:
        return _non_inferior(required, alpha, result, pairs, seed=evidence.seed)
    if result.mean_gain < required - _ROUNDING:
        passed, why = False, f"; {words.points(required)} were asked for"
    elif result.p_value < alpha:
        passed, why = True, f" < {alpha:g}"
    elif result.smallest_p >= alpha:
        passed, why = False, f"; {_out_of_reach(result, alpha)}"
    else:
        passed, why = False, f", not below {alpha:g}: no evidence of a gain"
    seen = f"the gain is {words.points(result.mean_gain)} points on {words.examples(result.n)}"
    return _Finding(passed, result.mean_gain, f"{seen}, {words.probability(result.p_value)}{why}")


def _out_of_reach(result: Paired, alpha: float) -> str:
    least = least_examples(alpha)
    if result.n < least:
        return f"{words.examples(result.n)} can never give p < {alpha:g}, at least {least} are needed"
    return f"the test's smallest p is {result.smallest_p:.2g}, so no result can give p < {alpha:g}"


def _non_inferior(required: float, alpha: float, result: Paired, pairs: Pairs, *, seed: int) -> _Finding:
    # From alpha = 0.5 on the one-sided bound is the mean itself, or worse: a sliver of width stays.
    confidence = max(1 - 2 * alpha, 0.001)
    low = gain_interval(pairs.before, pairs.after, confidence=confidence, seed=seed).low
    passed = low > required
    return _Finding(
        passed,
        result.mean_gain,
        f"the gain is {words.points(result.mean_gain)} points on {words.examples(result.n)}, and a loss of "
        f"{100 * -required:.1f} points or more is {'ruled out' if passed else 'not ruled out'} "
        f"(lower bound {words.points(low)} at {confidence:.3g} confidence)",
    )


def _cost(limit: int, evidence: Evidence) -> _Finding:
    calls, msat = evidence.artifact_cost.calls, evidence.artifact_cost.msat
    if calls == 0:
        return _Finding(passed=False, measured=None, reason="no call was made, so no cost was measured")
    passed = msat <= limit * calls
    return _Finding(
        passed,
        msat / calls,
        f"a call costs {msat / calls:,.6g} msat on the mean of {calls:,}, "
        f"{'within' if passed else 'above'} the {limit:,} msat allowed",
    )
