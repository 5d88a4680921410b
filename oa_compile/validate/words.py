"""Numbers as people read them in a verdict. Pure text; no thresholds and no judgement here."""

from __future__ import annotations

from oa_compile.evaluate.stats import Interval


def percent(score: float) -> str:
    """A score in 0 … 1: ``82.5 %``."""
    return f"{100 * score:.1f} %"


def points(gain: float) -> str:
    """A gain in points of 100, with its sign: ``+18.1``."""
    return f"{100 * gain:+.1f}"


def bounds(interval: Interval) -> str:
    """An interval in points of 100: ``[9.4, 26.8]``."""
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def probability(p: float) -> str:
    """``p = 0.36``, ``p = 0.000041``, ``p < 0.00001``: two digits that say something."""
    if p < 1e-5:
        return "p < 0.00001"
    return "p = " + (f"{p:.2g}" if p >= 1e-4 else f"{p:.6f}".rstrip("0"))


def examples(n: int) -> str:
    """``1 example``, ``1,200 examples``."""
    return f"{n:,} example" + ("" if n == 1 else "s")
