"""Gates and the verdict: what passes, what is missed, what cannot be judged, and in which words."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import ExitCode, LaneError, UsageError
from oa_compile.money import Rate
from oa_compile.spec.config import GateSpec
from oa_compile.validate import attestation
from oa_compile.validate.evidence import Cost, Evidence, Row
from oa_compile.validate.gates import GateResult, apply_gates
from oa_compile.validate.verdict import Subject, Validation, judge

RATE = Rate(Decimal(100_000))
SHA = "sha256:" + "0" * 64
SUBJECT = Subject("demo", artifact=SHA, testset=SHA, config=SHA, parent=SHA)


def evidence(pairs, *, faults: int = 0, **more) -> Evidence:
    rows = [Row(f"e{i}", before, after) for i, (before, after) in enumerate(pairs)]
    rows += [Row(f"f{i}", None, None, "timeout") for i in range(faults)]
    return Evidence(tuple(rows), RATE, **more)


def flips(fixed: int, broken: int, right: int = 0, wrong: int = 0):
    return [(0.0, 1.0)] * fixed + [(1.0, 0.0)] * broken + [(1.0, 1.0)] * right + [(0.0, 0.0)] * wrong


def one(spec: GateSpec, seen: Evidence) -> GateResult:
    (result,) = apply_gates(spec, seen)
    return result


def test_a_gate_left_out_is_not_applied():
    assert apply_gates(GateSpec(), evidence(flips(1, 0))) == ()


def test_gates_come_in_the_order_of_the_config():
    spec = GateSpec(max_cost_per_call=0, min_gain=0, min_score=0)
    names = [gate.name for gate in apply_gates(spec, evidence(flips(1, 0)))]
    assert names == ["min_score", "min_gain", "max_cost_per_call"]


@pytest.mark.parametrize(("right", "passed"), [(7, False), (8, True), (9, True)])
def test_min_score_is_at_least(right, passed):
    result = one(GateSpec(min_score=0.8), evidence(flips(0, 0, right, 10 - right)))
    assert (result.passed, result.measured, result.code) == (passed, right / 10, "OAC201")
    assert result.severity == ("ok" if passed else "error")


def test_min_score_forgives_a_rounding_error():
    assert one(GateSpec(min_score=0.7), evidence([(None, 0.1 + 0.2 + 0.4)] * 3)).passed


def test_a_gain_needs_size_and_evidence():
    both = evidence(flips(20, 4, 16))
    assert one(GateSpec(min_gain=0.0), both).passed
    assert one(GateSpec(min_gain=0.4), both).passed
    too_small = one(GateSpec(min_gain=0.41), both)
    assert not too_small.passed
    assert "+41.0 were asked for" in too_small.reason
    by_luck = one(GateSpec(min_gain=0.0), evidence(flips(6, 4, 30)))
    assert not by_luck.passed
    assert by_luck.measured == pytest.approx(0.05)
    assert "no evidence of a gain" in by_luck.reason


def test_no_change_is_no_gain():
    assert not one(GateSpec(min_gain=0.0), evidence(flips(0, 0, 50, 50))).passed


def test_alpha_rules_the_evidence():
    seen = evidence(flips(8, 2, 10))  # p = 0.0547
    assert not one(GateSpec(min_gain=0, alpha=0.05), seen).passed
    assert one(GateSpec(min_gain=0, alpha=0.06), seen).passed


def test_too_few_examples_are_told_as_that():
    result = one(GateSpec(min_gain=0.0), evidence(flips(4, 0)))
    assert not result.passed
    assert "4 examples can never give p < 0.05, at least 5 are needed" in result.reason
    assert one(GateSpec(min_gain=0.0), evidence(flips(5, 0))).passed


def test_a_level_the_test_cannot_reach_is_told():
    pairs = [(0.25, 0.75)] * 30
    result = one(GateSpec(min_gain=0.0, alpha=1e-7), evidence(pairs))
    assert not result.passed
    assert "no result can give p < 1e-07" in result.reason


def test_negative_min_gain_is_non_inferiority():
    same = evidence(flips(5, 5, 90))
    assert not one(GateSpec(min_gain=0.0), same).passed
    result = one(GateSpec(min_gain=-0.1), same)
    assert result.passed
    assert "a loss of 10.0 points or more is ruled out" in result.reason
    strict = one(GateSpec(min_gain=-0.02), same)
    assert not strict.passed
    assert "not ruled out" in strict.reason


def test_non_inferiority_cannot_be_had_from_few_examples():
    assert not one(GateSpec(min_gain=-0.05), evidence(flips(0, 0, 5))).passed
    assert not one(GateSpec(min_gain=-0.05), evidence([(0.5, 0.5)] * 5)).passed
    assert one(GateSpec(min_gain=-0.05), evidence(flips(0, 0, 80))).passed


def test_non_inferiority_at_an_odd_alpha_does_not_fall_over():
    assert one(GateSpec(min_gain=-0.05, alpha=0.9), evidence(flips(5, 5, 90))).passed


def test_without_a_parent_there_is_no_gain():
    result = one(GateSpec(min_gain=-1.0), evidence([(None, 1.0)] * 9))
    assert (result.passed, result.measured) == (False, None)
    assert "no parent" in result.reason


@pytest.mark.parametrize(("msat", "passed"), [(2999, True), (3000, True), (3001, False)])
def test_cost_per_call_is_exact(msat, passed):
    seen = evidence(flips(1, 0), artifact_cost=Cost(3, msat))
    result = one(GateSpec(max_cost_per_call="1sat"), seen)
    assert (result.passed, result.measured, result.required) == (passed, msat / 3, 1000)


def test_cost_in_dollars_uses_the_rate():
    seen = evidence(flips(1, 0), artifact_cost=Cost(1, 1_000_000))
    assert one(GateSpec(max_cost_per_call="1usd"), seen).required == 1_000_000


def test_a_cost_that_was_not_measured_does_not_pass():
    result = one(GateSpec(max_cost_per_call=10), evidence(flips(1, 0)))
    assert (result.passed, result.measured) == (False, None)


def test_a_pass_that_hangs_on_the_excluded_is_a_warning():
    spec = GateSpec(min_score=0.8)
    assert one(spec, evidence(flips(0, 0, 8, 2))).severity == "ok"
    close = one(spec, evidence(flips(0, 0, 8, 2), faults=1))
    assert (close.passed, close.severity) == (True, "warning")
    assert "1 example that faults left out" in close.reason
    assert one(spec, evidence(flips(0, 0, 10), faults=1)).severity == "ok"
    gain = GateSpec(min_gain=0.0)
    assert one(gain, evidence(flips(5, 0), faults=1)).severity == "warning"
    assert one(gain, evidence(flips(9, 0), faults=1)).severity == "ok"


def test_gates_need_a_scored_example():
    with pytest.raises(ValueError, match="no example"):
        apply_gates(GateSpec(min_score=0), evidence([], faults=2))


def test_false_promotions_stay_under_alpha():
    """Programs with no true difference, run through the gate 400 times."""
    draw, spec, promoted = random.Random(5), GateSpec(min_gain=0.0, alpha=0.1), 0
    for _ in range(400):
        pairs = [(float(draw.random() < 0.6), float(draw.random() < 0.6)) for _ in range(60)]
        promoted += one(spec, evidence(pairs)).passed
    assert promoted <= 400 * 0.1


def test_a_stated_effect_is_promoted():
    """0.5 to 0.8 on 60 examples: at least 9 times of 10."""
    draw, spec, promoted = random.Random(6), GateSpec(min_gain=0.0), 0
    for _ in range(200):
        pairs = [(float(draw.random() < 0.5), float(draw.random() < 0.8)) for _ in range(60)]
        promoted += one(spec, evidence(pairs)).passed
    assert promoted >= 180


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30),
    st.integers(0, 3),
    st.floats(-1, 1),
)
def test_a_fault_never_lowers_a_score(pairs, faults, min_gain):
    """What was measured is the same with and without examples lost to faults."""
    scored = [(float(before), float(after)) for before, after in pairs]
    spec = GateSpec(min_score=0.5, min_gain=min_gain)
    clean, holed = apply_gates(spec, evidence(scored)), apply_gates(spec, evidence(scored, faults=faults))
    assert [(g.passed, g.measured) for g in clean] == [(g.passed, g.measured) for g in holed]


def decide(seen: Evidence, **more) -> Validation:
    return judge(seen, subject=SUBJECT, gates=GateSpec(min_gain=0.0), **more)


def test_the_sentence_of_each_verdict():
    assert decide(evidence(flips(41, 12, 80, 27))).sentence == (
        "better: 41 of 160 fixed, 12 broken, gain +18.1 points [9.6, 26.7], p = 0.000041"
    )
    worse = decide(evidence(flips(2, 12, 40)))
    assert (worse.verdict, worse.passed) == ("worse", False)
    assert worse.sentence.startswith("worse: 2 of 54 fixed, 12 broken, gain -18.5 points [")
    assert worse.sentence.endswith("p = 0.0065")
    unclear = decide(evidence(flips(6, 4, 30)))
    assert unclear.examples_needed is not None
    assert f"on about {unclear.examples_needed:,} examples" in unclear.sentence
    assert "3 of 3 up, 0 down" in decide(evidence([(0.25, 0.5)] * 3)).sentence
    alone = decide(evidence([(None, 1.0)] * 4))
    assert alone.sentence == "score 100.0 % [51.0, 100.0] on 4 examples; no parent to compare with"


@pytest.mark.parametrize(("faults", "judged"), [(0, True), (1, True), (2, False)])
def test_too_many_faults_are_not_judged(faults, judged):
    found = decide(evidence(flips(10 - faults, 0), faults=faults))
    assert (found.outcome, found.exit_code) == (
        ("passed", ExitCode.OK) if judged else ("not judged", ExitCode.LANE)
    )
    assert found.passed is judged
    assert bool(found.gates) is judged
    assert "failed on infrastructure" in found.sentence or judged


def test_all_examples_lost_is_not_judged_at_any_share():
    assert decide(evidence([], faults=3), max_fault_share=1.0).outcome == "not judged"


def test_a_missed_gate_is_exit_1():
    found = decide(evidence(flips(0, 9, 3)))
    assert (found.outcome, found.exit_code) == ("missed", ExitCode.GATE_MISSED)


def test_an_empty_testset_is_a_usage_error():
    with pytest.raises(UsageError, match="no examples"):
        decide(evidence([]))


def test_an_excluded_example_counts_nowhere():
    found = decide(evidence(flips(9, 0, 6, 5), faults=1))
    assert found.n == 20
    assert found.after is not None
    assert found.after.mean == 15 / 20
    assert found.paired is not None
    assert found.paired.n == 20


@pytest.mark.parametrize(
    "rows",
    [
        (Row("a", 1.0, 1.0), Row("a", 1.0, 1.0)),
        (Row("a", 1.0, 1.0), Row("b", None, 1.0)),
        (Row("a", 1.0, None),),
    ],
)
def test_rows_that_contradict_each_other_are_refused(rows):
    with pytest.raises(ValueError, match="example"):
        Evidence(rows, RATE)


def test_attested_results():
    def result(seen: Evidence, spec: GateSpec) -> dict[str, object]:
        made = attestation.statement(judge(seen, subject=SUBJECT, gates=spec))
        assert made["subject"] == [{"name": "demo", "digest": {"sha256": "0" * 64}}]
        return made["predicate"]

    gain = GateSpec(min_gain=0.0)
    assert result(evidence(flips(9, 0)), gain)["result"] == "PASSED"
    assert result(evidence(flips(5, 0, 6), faults=1), gain)["result"] == "WARNED"
    assert result(evidence(flips(1, 0)), gain)["result"] == "FAILED"
    assert result(evidence(flips(9, 0)), GateSpec())["result"] == "WARNED"
    assert "url" not in result(evidence(flips(9, 0)), gain)


def test_what_was_not_judged_is_not_attested():
    with pytest.raises(LaneError, match="could not be judged"):
        attestation.statement(decide(evidence([], faults=2)))


def test_only_sha256_is_described():
    with pytest.raises(ValueError, match="not a sha256"):
        attestation.descriptor("x", "md5:00")
