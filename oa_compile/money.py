"""Money as integer millisatoshi (msat), parsed strictly and rounded against ourselves.

Owns the units and the conversion to dollars; knows nothing of who is paid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from fractions import Fraction

MSAT_PER_SAT = 1_000
MSAT_PER_BTC = 100_000_000_000
MAX_MSAT = 21_000_000 * MSAT_PER_BTC
"""All bitcoin there will ever be: an amount above it is a mistake, not a price."""

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(msats?|sats?|btc|usd|\$)", re.IGNORECASE | re.ASCII)
_UP = Context(prec=50, rounding=ROUND_CEILING)
"""Every step rounds up: rounding to the nearest on the way would understate by the last digit."""
_MOST_DIGITS = 30
"""Larger powers of ten are refused unseen: as integers they would take megabytes."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Dollars per bitcoin, as set in the config (it is a setting, never looked up)."""

    usd_per_btc: Decimal

    def to_msat(self, usd: Decimal | float | str) -> int:
        """Dollars as msat, rounded up, so that a price is never understated. Raises ValueError for what
        is no amount: NaN, a negative, more than all bitcoin.
        """
        try:
            amount = Decimal(str(usd))
        except InvalidOperation as error:
            raise ValueError(f"not an amount of dollars: {usd!r}") from error
        if not amount.is_finite() or amount < 0:
            raise ValueError(f"not an amount of dollars: {usd!r}")
        if amount.adjusted() > _MOST_DIGITS:
            raise ValueError(f"more dollars than there are: {usd!r}")
        btc = _UP.divide(amount, self.usd_per_btc)
        return check_msat(int(_UP.multiply(btc, MSAT_PER_BTC).to_integral_value(ROUND_CEILING)))

    def to_usd(self, msat: int) -> Decimal:
        """Dollars of `msat`, to 50 digits."""
        return _UP.divide(_UP.multiply(Decimal(msat), self.usd_per_btc), MSAT_PER_BTC)


def check_msat(amount: object) -> int:
    """`amount` if it is a sane number of msat (an int in 0 … all bitcoin), else ValueError."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueError(f"msat must be an integer, got {amount!r}")
    if not 0 <= amount <= MAX_MSAT:
        raise ValueError(f"msat out of range: {amount}")
    return amount


def parse_amount(text: str | int, rate: Rate) -> int:
    """msat of ``"500msat"``, ``"12 sat"``, ``"0.5usd"``, ``"$0.50"``; a bare int is msat.

    Amounts below one msat are refused rather than rounded to nothing.
    """
    if not isinstance(text, str):
        return check_msat(text)
    stripped = text.strip()
    if stripped.startswith("$"):
        stripped = stripped[1:].lstrip() + "usd"
    match = _AMOUNT.fullmatch(stripped)
    if match is None or len(match[1]) > 2 * _MOST_DIGITS:
        raise ValueError(f"not an amount: {text!r} (write 500msat, 12sat or 0.50usd)")
    unit = match[2].lower().rstrip("s")
    if unit in {"usd", "$"}:
        return rate.to_msat(match[1])
    scale = {"msat": 1, "sat": MSAT_PER_SAT, "btc": MSAT_PER_BTC}[unit]
    msat = Fraction(match[1]) * scale  # exact, where decimals would round to 28 digits
    if msat.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of msat")
    return check_msat(msat.numerator)


def format_msat(msat: int) -> str:
    """``1,250 msat``, or sats from 100,000 msat on: ``1,250 sat``."""
    if abs(msat) >= 100 * MSAT_PER_SAT:
        sats = Decimal(msat) / MSAT_PER_SAT
        return f"{sats:,.0f} sat" if sats == sats.to_integral_value() else f"{sats:,.1f} sat"
    return f"{msat:,} msat"


def format_usd(usd: Decimal) -> str:
    """``$0.00``, ``$0.0042``, ``$12.30``: as many digits as say something."""
    if usd == 0:
        return "$0.00"
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}" if usd >= Decimal("0.0001") else f"${usd:.2e}"
