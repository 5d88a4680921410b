"""The promotion gates in simulation: how often luck alone is promoted, and how often a real gain is."""

from __future__ import annotations

import numpy as np
import pytest

from oa_compile.errors import LaneError
from oa_compile.promote.evidence import Evidence
from oa_compile.promote.gates import gates, held
from oa_compile.spec.promotion import PromotionSpec

SPEC = PromotionSpec()
RUNS = 400


def evidence(before: np.ndarray, after: np.ndarray, **parts: float) -> Evidence:
    names = [f"e{index}" for index in range(len(after))]
    return Evidence(
        artifact="a",
        testset="t",
        metric="m",
        before=dict(zip(names, before.astype(float).tolist(), strict=True)),
        after=dict(zip(names, after.astype(float).tolist(), strict=True)),
        parts=parts,
        journal="",
        scorings=1,
    )


def drawn(n: int, *, better: float, seed: int, base: float = 0.5, luck: float = 0.6) -> Evidence:
    """0/1 scores of the same examples before and after: `luck` of them are decided anew by the prompt."""
    bits = np.random.default_rng(seed)
    before = bits.random(n) < base
    again = bits.random(n) < luck
    after = np.where(again, bits.random(n) < base + better / luck, before)
    return evidence(before, after)


def promoted(found: Evidence, current: Evidence | None = None) -> tuple[bool, bool]:
    """Whether it comes to shadow, and from there into use."""
    shadow = held(gates("shadow", SPEC, found, current=None))
    return shadow, shadow and held(gates("promoted", SPEC, found, current=current))


@pytest.mark.parametrize("n", [100, 200])
def test_luck_alone_is_promoted_less_often_than_the_stated_level(n: int) -> None:
    """False promotions over programs with no true difference: at most alpha, give or take the simulation's
    own error (three standard errors).
    """
    results = [promoted(drawn(n, better=0.0, seed=seed)) for seed in range(RUNS)]
    allowed = SPEC.alpha + 3 * (SPEC.alpha * (1 - SPEC.alpha) / RUNS) ** 0.5
    assert sum(shadow for shadow, _ in results) / RUNS <= allowed
    assert sum(use for _, use in results) / RUNS <= allowed


def test_the_win_rate_alone_would_let_luck_through() -> None:
    """Why the test stands beside the rate: chance reaches 0.52 of 100 examples often."""
    loose = PromotionSpec(alpha=0.999)
    hits = sum(
        held(gates("promoted", loose, drawn(100, better=0.0, seed=seed), current=None))
        for seed in range(RUNS)
    )
    assert hits / RUNS > 0.2


@pytest.mark.parametrize(("n", "power"), [(200, 0.8), (400, 0.97)])
def test_a_true_gain_of_15_points_comes_through(n: int, power: float) -> None:
    results = [promoted(drawn(n, better=0.15, seed=seed)) for seed in range(RUNS)]
    assert sum(use for _, use in results) / RUNS >= power


def test_too_few_examples_are_never_enough() -> None:
    won = evidence(np.zeros(99), np.ones(99))
    assert not held(gates("promoted", SPEC, won, current=None))
    assert held(gates("promoted", SPEC, evidence(np.zeros(100), np.ones(100)), current=None))


def test_the_one_in_use_is_what_a_later_one_is_held_against() -> None:
    current = evidence(np.zeros(100), np.ones(100))
    same = evidence(np.zeros(100), np.ones(100))
    assert held(gates("promoted", SPEC, same, current=None))
    assert not held(gates("promoted", SPEC, same, current=current))


def test_what_was_scored_otherwise_cannot_be_compared() -> None:
    one = evidence(np.zeros(100), np.ones(100))
    other = Evidence("b", "another", "m", {}, {"e0": 1.0}, {}, "", 1)
    with pytest.raises(LaneError, match="another testset"):
        gates("promoted", SPEC, one, current=other)


@pytest.mark.parametrize(("value", "passed"), [(0.95, True), (0.949, False), (None, None)])
def test_a_gate_for_what_the_program_does_not_have_does_not_apply(
    value: float | None, passed: bool | None
) -> None:
    parts = {} if value is None else {"format": value}
    found = gates("staged", SPEC, evidence(np.zeros(5), np.ones(5), **parts), current=None)
    gate = next(gate for gate in found if gate.name == "min_format")
    assert gate.passed is passed
    assert ("does not apply" in gate.reason) is (value is None)
