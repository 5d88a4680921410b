"""Statistics against scipy, hand-computed values, symmetries, and simulations of their promises."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from oa_compile.evaluate.stats import (
    EXACT_UP_TO,
    Paired,
    examples_needed,
    gain_interval,
    least_examples,
    mean_interval,
    paired,
    verdict,
)

GRADES = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0])
BITS = st.sampled_from([0.0, 1.0])


def pairs_of(score):
    return st.lists(st.tuples(score, score), min_size=1, max_size=40)


def counted(wins: int, losses: int, ties: int = 0) -> Paired:
    before = [0.0] * wins + [1.0] * losses + [1.0] * ties
    after = [1.0] * wins + [0.0] * losses + [1.0] * ties
    return paired(before, after)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (81, 263), (15, 148), (1, 1), (10, 10)])
def test_wilson_is_scipys(hits, n):
    found = mean_interval([1.0] * hits + [0.0] * (n - hits))
    expected = reference.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert found.method == "Wilson"
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 5), (41, 12), (12, 41), (700, 650)])
def test_sign_test_is_scipys_binomial_test(wins, losses):
    found, changed = counted(wins, losses, ties=7), wins + losses
    if not changed:
        assert (found.p_value, found.p_worse, found.p_two_sided) == (1, 1, 1)
        return
    for p, side in (
        (found.p_value, "greater"),
        (found.p_worse, "less"),
        (found.p_two_sided, "two-sided"),
    ):
        assert p == pytest.approx(reference.binomtest(wins, changed, alternative=side).pvalue, rel=1e-9)
    assert (found.wins, found.losses, found.ties, found.n) == (wins, losses, 7, changed + 7)


def test_five_of_five_by_hand():
    found = counted(5, 0)
    assert found.p_value == 1 / 32
    assert found.p_two_sided == 1 / 16
    assert found.p_worse == 1.0


def test_tango_interval_at_published_and_closed_form_values():
    found = counted(12, 2, ties=36).interval
    assert found.method == "Tango score"
    assert (found.low, found.high) == pytest.approx((0.0611, 0.3447), abs=5e-5)
    z2 = reference.norm.ppf(0.975) ** 2
    still = counted(0, 0, ties=44).interval
    assert (still.low, still.high) == pytest.approx((-z2 / (44 + z2), z2 / (44 + z2)), abs=1e-9)


def test_tango_interval_approaches_walds_in_large_samples():
    n, wins, losses = 160_000, 15_000, 8_600
    found = counted(wins, losses, ties=n - wins - losses)
    error = math.sqrt((wins + losses) / n - found.mean_gain**2) / math.sqrt(n)
    assert found.interval.low == pytest.approx(found.mean_gain - 1.95996 * error, abs=2e-5)
    assert found.interval.high == pytest.approx(found.mean_gain + 1.95996 * error, abs=2e-5)


def test_tango_interval_covers_the_true_gain():
    """Exact coverage by summing over every outcome of 20 examples, at several truths."""
    n = 20
    intervals = {
        (w, loss): counted(w, loss, ties=n - w - loss).interval
        for w in range(n + 1)
        for loss in range(n + 1 - w)
    }
    for up, down in [(0.3, 0.1), (0.1, 0.1), (0.5, 0.05), (0.05, 0.02), (0.02, 0.3)]:
        law = reference.multinomial(n, [up, down, 1 - up - down])
        cover = sum(
            law.pmf([w, loss, n - w - loss])
            for (w, loss), found in intervals.items()
            if found.low <= up - down <= found.high
        )
        assert cover > 0.92


def test_permutation_test_is_every_sign_counted():
    before, after = [0.5, 0.25, 0.75, 0.5, 0.1], [0.75, 0.75, 0.5, 0.6, 0.1]
    gains = [b - a for a, b in zip(before, after, strict=True) if a != b]
    sums = [
        sum(s * abs(g) for s, g in zip(signs, gains, strict=True))
        for signs in itertools.product((1, -1), repeat=4)
    ]
    found = paired(before, after)
    assert found.method.startswith("exact")
    assert found.p_value == sum(s >= sum(gains) - 1e-9 for s in sums) / 16
    assert found.p_two_sided == sum(abs(s) >= abs(sum(gains)) - 1e-9 for s in sums) / 16


def test_permutation_test_is_scipys_beyond_enumeration():
    draw = random.Random(4)
    before = [draw.random() for _ in range(60)]
    after = [min(1.0, max(0.0, b + draw.uniform(-0.2, 0.3))) for b in before]
    found = paired(before, after)
    assert "50,000" in found.method
    expected = reference.permutation_test(
        (after, before),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        alternative="greater",
        rng=1,
    ).pvalue
    assert 0.005 < expected < 0.2
    assert found.p_value == pytest.approx(expected, abs=0.008)


def test_a_drawn_p_is_never_below_what_the_draws_can_show():
    """40 equal gains: no drawn flip comes near, so p is the seen one alone, of both directions."""
    found = paired([0.25] * 40, [0.75] * 40)
    assert found.p_value == found.smallest_p == 0.5 / 50_001
    assert found.p_two_sided == 1 / 50_001


def test_monte_carlo_and_exact_agree(monkeypatch):
    draw = random.Random(9)
    before = [draw.random() for _ in range(EXACT_UP_TO)]
    after = [min(1.0, max(0.0, b + draw.uniform(-0.2, 0.3))) for b in before]
    exact = paired(before, after)
    monkeypatch.setattr("oa_compile.evaluate.stats.EXACT_UP_TO", 0)
    drawn = paired(before, after)
    assert exact.method != drawn.method
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.005)
    assert drawn.p_two_sided == pytest.approx(exact.p_two_sided, abs=0.005)


@given(st.one_of(pairs_of(BITS), pairs_of(GRADES)))
def test_swapping_mirrors_and_order_does_not_count(pairs):
    before, after = zip(*pairs, strict=True)
    forth, back = paired(before, after), paired(after, before)
    assert back.mean_gain == -forth.mean_gain
    assert (back.wins, back.losses, back.ties) == (forth.losses, forth.wins, forth.ties)
    assert (back.p_value, back.p_worse) == (forth.p_worse, forth.p_value)
    assert back.p_two_sided == forth.p_two_sided
    assert back.interval[:2] == pytest.approx((-forth.interval.high, -forth.interval.low), abs=1e-9)
    shuffled = random.Random(0).sample(pairs, len(pairs))
    assert paired(*zip(*shuffled, strict=True)) == forth


@given(st.one_of(pairs_of(BITS), pairs_of(GRADES)))
def test_every_number_is_in_its_range(pairs):
    found = paired(*zip(*pairs, strict=True))
    for p in (found.p_value, found.p_worse, found.p_two_sided):
        assert 0 < p <= 1
        assert p >= found.smallest_p * (1 - 1e-9)
    assert -1 <= found.interval.low <= found.mean_gain + 1e-6
    assert found.mean_gain - 1e-6 <= found.interval.high <= 1
    single = mean_interval([after for _, after in pairs])
    assert 0 <= single.low <= single.high <= 1


def test_same_seed_same_numbers_and_they_are_these():
    """Pinned: a verdict must not change with the version of NumPy."""
    scores = [i / 30 for i in range(31)]
    found = mean_interval(scores, seed=3)
    assert found == mean_interval(scores, seed=3)
    assert found != mean_interval(scores, seed=4)
    assert (found.low, found.high) == pytest.approx((0.3929423, 0.6135093), abs=1e-6)


def test_scores_without_spread_still_leave_doubt():
    found = mean_interval([0.5] * 10)
    share = 1 - 0.025**0.1
    assert (found.low, found.high) == pytest.approx((0.5 - 0.5 * share, 0.5 + 0.5 * share))
    gain = gain_interval([0.5] * 10, [0.7] * 10)
    assert gain.low < 0.2 < gain.high


def test_bootstrap_covers_in_small_samples():
    """12 skewed graded scores: at least 90 % of 300 intervals hold the true mean."""
    draw, grades = random.Random(2), (0.0, 0.25, 0.5, 1.0)
    weights = (0.15, 0.2, 0.25, 0.4)
    truth = sum(g * w for g, w in zip(grades, weights, strict=True))
    hits = 0
    for _ in range(300):
        found = mean_interval(draw.choices(grades, weights, k=12))
        hits += found.low <= truth <= found.high
    assert hits >= 0.9 * 300


def test_no_difference_is_called_better_at_most_alpha_of_the_time():
    """Exact for 0/1 scores: the chance of p < alpha under no difference, over all outcomes."""
    for changed, alpha in itertools.product((3, 5, 10, 30, 80), (0.01, 0.05, 0.2)):
        chance = sum(
            reference.binom.pmf(wins, changed, 0.5)
            for wins in range(changed + 1)
            if verdict(counted(wins, changed - wins), alpha) == "better"
        )
        assert chance <= alpha


def test_no_difference_in_graded_scores_is_called_better_rarely():
    draw, alpha, rounds = random.Random(11), 0.1, 600
    called = 0
    for _ in range(rounds):
        base = [draw.choice((0.0, 0.25, 0.5, 0.75, 1.0)) for _ in range(14)]
        other = [draw.choice((0.0, 0.25, 0.5, 0.75, 1.0)) for _ in base]
        called += verdict(paired(base, other), alpha) == "better"
    assert called / rounds <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rounds)


def test_a_true_difference_is_seen():
    assert verdict(counted(41, 12, 107), 0.05) == "better"
    assert verdict(counted(12, 41, 107), 0.05) == "worse"
    assert verdict(counted(6, 4, 30), 0.05) == "no evidence"


@pytest.mark.parametrize(("wins", "losses", "ties"), [(6, 3, 31), (12, 8, 40), (5, 1, 30), (3, 0, 20)])
def test_examples_needed_reaches_its_power(wins, losses, ties):
    """Exact power of the sign test at the number named: near 0.8, and not with far fewer."""
    found = counted(wins, losses, ties)
    needed = examples_needed(found)
    assert needed is not None
    up, share = wins / (wins + losses), (wins + losses) / found.n

    def power(n: int) -> float:
        reached = 0.0
        for changed in range(n + 1):
            least = int(reference.binom.isf(0.05, changed, 0.5)) + 1
            while reference.binom.sf(least - 1, changed, 0.5) >= 0.05 and least <= changed:
                least += 1
            reached += reference.binom.pmf(changed, n, share) * reference.binom.sf(least - 1, changed, up)
        return float(reached)

    assert power(needed) >= 0.76
    assert power(int(needed * 0.7)) < 0.8


def test_examples_needed_never_promises_the_impossible():
    assert examples_needed(counted(3, 3, 4)) is None
    assert examples_needed(counted(0, 0, 9)) is None
    assert examples_needed(counted(4, 0)) == 5
    assert least_examples(0.05) == 5
    assert least_examples(0.0625) == 5
    assert least_examples(0.07) == 4


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no scores"):
        mean_interval([])
    with pytest.raises(ValueError, match="0 … 1"):
        mean_interval([0.5, math.nan])
    with pytest.raises(ValueError, match="one length"):
        paired([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="0 … 1"):
        paired([1.0], [1.5])
    with pytest.raises(ValueError, match="confidence"):
        gain_interval([1.0], [0.0], confidence=1.0)


def test_rounding_is_no_change():
    found = paired([0.1 + 0.2], [0.3])
    assert (found.wins, found.losses, found.ties) == (0, 0, 1)
