"""Statistics of scores: intervals, the paired test, and the verdict in one word.

Owns the numbers a verdict stands on; what is demanded of them is the gates' matter.

Methods, and why these:

- one mean, 0/1 scores: Wilson's score interval. Graded scores: the bootstrap with expanded percentiles
  (Hesterberg 2015), which takes the narrowness out of the plain percentile bootstrap in small samples.
- a paired gain, 0/1 scores: exact sign test over the examples that changed (exact McNemar), with Tango's
  score interval (1998), which stays honest when nothing changed. Graded scores: sign-flip permutation
  test, exact while the flips can be enumerated, else Monte Carlo; bootstrap interval as above.
- scores that are all the same say nothing of their spread: the interval is the exact bound on the mean
  when at most a share 1 - (tail)^(1/n) of the examples could be anything else.

Everything is deterministic: random numbers are PCG64's raw bits, a stream NumPy keeps stable across
versions. Results do not depend on the order of the examples, and swapping before and after mirrors them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Verdict = Literal["better", "worse", "no evidence"]

CONFIDENCE = 0.95
RESAMPLES = 10_000
FLIPS = 50_000
EXACT_UP_TO = 18
"""Changed examples up to which all 2^n sign flips are enumerated."""

_ROUNDING = 1e-9
_BLOCK = 1 << 20


class Interval(NamedTuple):
    """A two-sided confidence interval, both ends included."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True)
class Paired:
    """What changed between two scorings of the same `n` examples.

    `mean_gain` is in -1 … 1 and `interval` is its 95 % interval. `p_value` is one-sided for after >
    before, `p_worse` for before > after. `wins` and `losses` are examples that went up and down;
    `mean_square` is the mean of the squared gains (the share of changed examples, for 0/1 scores);
    `smallest_p` is the least p this many examples could ever give.
    """

    n: int
    mean_gain: float
    interval: Interval
    p_value: float
    p_worse: float
    p_two_sided: float
    wins: int
    losses: int
    ties: int
    binary: bool
    mean_square: float
    smallest_p: float
    method: str


class _Tails(NamedTuple):
    better: float
    worse: float
    both: float


def mean_interval(scores: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """The interval of the mean of `scores`, each in 0 … 1. Raises ValueError for none, or one outside."""
    values = _checked(scores)
    if _binary(values):
        return _wilson(math.fsum(values), len(values), confidence)
    return _bootstrap(sorted(values), bounds=(0.0, 1.0), confidence=confidence, seed=seed)


def paired(before: Sequence[float], after: Sequence[float], *, seed: int = 0) -> Paired:
    """Compare two scorings of the same examples, in the same order, each score in 0 … 1.

    Raises ValueError when the lengths differ, for no examples, or for a score outside 0 … 1.
    """
    gains = _gains(before, after)
    wins, losses = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    n, binary = len(gains), _binary([*before, *after])
    if binary:
        tails, smallest, method = _sign_test(wins, losses), 0.5**n, "exact sign test (McNemar)"
    else:
        tails, method = _permutation_test([g for g in gains if g], seed=seed)
        smallest = 0.5**n if n <= EXACT_UP_TO else 0.5 / (FLIPS + 1)
    return Paired(
        n=n,
        mean_gain=math.fsum(gains) / n,
        interval=gain_interval(before, after, seed=seed),
        p_value=tails.better,
        p_worse=tails.worse,
        p_two_sided=tails.both,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        binary=binary,
        mean_square=math.fsum(g * g for g in gains) / n,
        smallest_p=smallest,
        method=method,
    )


def gain_interval(
    before: Sequence[float], after: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """The interval of the mean gain, in -1 … 1. Raises ValueError as `paired` does."""
    gains = _gains(before, after)
    if _binary([*before, *after]):
        return _tango(sum(g > 0 for g in gains), sum(g < 0 for g in gains), len(gains), confidence)
    # One orientation is computed and the other mirrored, so that a swap mirrors the interval exactly.
    forth, back = sorted(gains), sorted(-g for g in gains)
    found = _bootstrap(max(forth, back), bounds=(-1.0, 1.0), confidence=confidence, seed=seed)
    if forth == back:
        half = (found.high - found.low) / 2
        return Interval(-half, half, found.method)
    return found if forth > back else Interval(-found.high, -found.low, found.method)


def verdict(result: Paired, alpha: float) -> Verdict:
    """One word for a comparison. Each of the two claims is wrong in at most `alpha` of the cases where
    there is no difference, or one the other way.
    """
    if result.p_value < alpha:
        return "better"
    return "worse" if result.p_worse < alpha else "no evidence"


def examples_needed(result: Paired, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many examples would show a difference of the size seen, at the share of changed examples
    seen, with a one-sided test at `alpha` and this power. None when no difference was seen.

    Connor's formula for paired proportions (1987), which for graded gains is the one for a paired mean;
    for 0/1 scores with the correction for the exact test's discreteness, and never fewer than could
    reach `alpha` at all.
    """
    gain = abs(result.mean_gain)
    changed = (result.wins + result.losses) / result.n
    if gain < _ROUNDING or not changed:
        return None
    normal = NormalDist()
    spread = math.sqrt(max(result.mean_square - gain * gain, 0.0))
    reach = normal.inv_cdf(1 - alpha) * math.sqrt(result.mean_square) + normal.inv_cdf(power) * spread
    jump = 4 * gain if result.binary else 0.0
    root = (reach + math.sqrt(reach * reach + jump)) / (2 * gain)
    return math.ceil(max(root * root, least_examples(alpha) / changed) - _ROUNDING)


def least_examples(alpha: float) -> int:
    """The fewest examples with which an exact one-sided paired test can give a p below `alpha`."""
    n = max(math.ceil(-math.log2(alpha)), 1)
    return n if 0.5**n < alpha else n + 1


def _checked(scores: Sequence[float]) -> list[float]:
    values = [float(score) for score in scores]
    if not values:
        raise ValueError("no scores")
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"a score must lie in 0 … 1, got {value!r}")
    return values


def _gains(before: Sequence[float], after: Sequence[float]) -> list[float]:
    if len(before) != len(after):
        raise ValueError(f"paired scores need one length, got {len(before)} and {len(after)}")
    pairs = zip(_checked(before), _checked(after), strict=True)
    # Scores are sums of weights: a difference by rounding is no change. Adding 0 makes -0.0 a plain 0.
    return [round(b - a, 12) + 0.0 for a, b in pairs]


def _binary(scores: Sequence[float]) -> bool:
    return all(score in (0.0, 1.0) for score in scores)


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence must lie between 0 and 1, got {confidence!r}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _wilson(hits: float, n: int, confidence: float) -> Interval:
    z2, rate = _z(confidence) ** 2, hits / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if hits == 0 else max(centre - half, 0.0)
    return Interval(low, 1.0 if hits == n else min(centre + half, 1.0), "Wilson")


def _tango(wins: int, losses: int, n: int, confidence: float) -> Interval:
    z = _z(confidence)

    def score(gain: float) -> float:
        """How far, in standard errors, what was seen lies above a true gain of `gain`."""
        b = (2 * n - wins + losses) * gain - wins - losses
        share = (math.sqrt(max(b * b + 8 * n * losses * gain * (1 - gain), 0.0)) - b) / (4 * n)
        variance = n * (2 * share + gain * (1 - gain))
        distance = wins - losses - n * gain
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    seen = (wins - losses) / n
    low = -1.0 if losses == n else _crossing(score, z, low=-1.0, high=seen)
    high = 1.0 if wins == n else _crossing(score, -z, low=seen, high=1.0)
    return Interval(low, high, "Tango score")


def _crossing(score: Callable[[float], float], level: float, *, low: float, high: float) -> float:
    """Where the falling function `score` passes `level`, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        if score(middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _sign_test(wins: int, losses: int) -> _Tails:
    changed = wins + losses
    better, worse = _upper_tail(wins, changed), _upper_tail(losses, changed)
    return _Tails(better, worse, min(1.0, 2 * min(better, worse)))


def _upper_tail(hits: int, n: int) -> float:
    """P(X >= hits) for X ~ Binomial(n, 1/2), in whole numbers until the last division."""
    ways, term = 0, 1
    for k in range(n - hits + 1):
        ways += term
        term = term * (n - k) // (k + 1)
    return ways / (1 << n)


def _permutation_test(gains: Sequence[float], *, seed: int) -> tuple[_Tails, str]:
    import numpy as np

    sizes, seen = np.sort(np.abs(np.asarray(gains, dtype=np.float64))), math.fsum(gains)
    if len(sizes) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate((sums - size, sums + size))
        tails = [
            float(np.mean(side >= at - _ROUNDING))
            for side, at in ((sums, seen), (sums, -seen), (np.abs(sums), abs(seen)))
        ]
        return _Tails(*tails), "exact sign-flip permutation test"
    # Every drawn flip is counted with its mirror image, the seen one too: the test stays exact
    # at every number of flips, and is the same for both directions.
    above = below = outside = 0
    draws = np.random.PCG64(seed)
    for start in range(0, FLIPS, rows := max(_BLOCK // len(sizes), 1)):
        count = min(rows, FLIPS - start)
        raw = draws.random_raw(count * -(-len(sizes) // 64)).view(np.uint8)
        bits = np.unpackbits(raw.reshape(count, -1), axis=1, count=len(sizes), bitorder="little")
        sums = 2.0 * (bits @ sizes) - sizes.sum()
        for side in (sums, -sums):
            above += int(np.count_nonzero(side >= seen - _ROUNDING))
            below += int(np.count_nonzero(side >= -seen - _ROUNDING))
            outside += int(np.count_nonzero(np.abs(side) >= abs(seen) - _ROUNDING))
    total = 2 * (FLIPS + 1)
    own_above, own_below = 1 + (-seen >= seen - _ROUNDING), 1 + (seen >= -seen - _ROUNDING)
    tails = [(above + own_above) / total, (below + own_below) / total, (outside + 2) / total]
    return _Tails(*tails), f"sign-flip permutation test, {FLIPS:,} flips"


def _bootstrap(
    values: Sequence[float], *, bounds: tuple[float, float], confidence: float, seed: int
) -> Interval:
    """`values` must be in an order that only depends on what they are."""
    import numpy as np
    from scipy.special import ndtr, stdtrit

    n, tail = len(values), (1 - confidence) / 2
    _z(confidence)
    if values[-1] - values[0] < _ROUNDING:
        other = 1 - tail ** (1 / n)
        low, high = ((1 - other) * values[0] + other * bound for bound in bounds)
        return Interval(low, high, "no spread seen: exact bound")
    array, draws = np.asarray(values, dtype=np.float64), np.random.PCG64(seed)
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows := max(_BLOCK // n, 1)):
        count = min(rows, RESAMPLES - start)
        picks = (draws.random_raw(count * n) >> np.uint64(11)) * (n / 2**53)
        means[start : start + count] = array[picks.astype(np.intp).reshape(count, n)].mean(axis=1)
    expanded = float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, tail)))
    low, high = (float(end) for end in np.quantile(means, (expanded, 1 - expanded)))
    return Interval(max(low, bounds[0]), min(high, bounds[1]), f"bootstrap, {RESAMPLES:,} resamples")
