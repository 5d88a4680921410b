"""Money: exact, strict about what it takes, and rounded against ourselves."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile.money import (
    MAX_MSAT,
    MSAT_PER_BTC,
    MSAT_PER_SAT,
    Rate,
    check_msat,
    format_msat,
    format_usd,
    parse_amount,
)

LOOSE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy: how long an example takes says nothing."""
RATE = Rate(Decimal(100_000))
MSATS = st.integers(0, MAX_MSAT)
RATES = st.decimals("0.01", "10000000", places=2).map(Rate)


@pytest.mark.parametrize(
    ("text", "msat"),
    [
        (0, 0),
        (5000, 5000),
        ("500msat", 500),
        ("1 msats", 1),
        ("12sat", 12_000),
        ("12 sats", 12_000),
        ("  12 SAT ", 12_000),
        ("1.5sat", 1500),
        ("1.0msat", 1),
        ("0.00000000001btc", 1),
        ("21000000 BTC", MAX_MSAT),
        ("0.50usd", 500_000),
        ("$0.50", 500_000),
        ("$ 0.50", 500_000),
        ("0.50$", 500_000),
        ("0usd", 0),
    ],
)
def test_amounts_that_people_write(text: str | int, msat: int) -> None:
    assert parse_amount(text, RATE) == msat


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "msat",
        "-5msat",
        "+5msat",
        "1,000msat",
        "1e3msat",
        "1_000msat",
        "0x10msat",
        ".5sat",
        "5.sat",
        "5 eur",
        "5msat5sat",
        "5sat\n6",
        "$5sat",
        "$",
        "$$5",
        "nan usd",
        "inf usd",
        "NaNbtc",
        "٣msat",  # digits, but of no config
        "5ſat",
        "0.5msat",
        "0.0001sat",
        "1.00000000000000000000000000000000000000001sat",
        "21000000.00000000001btc",
        "99999999999999999999999999999999msat",
        "1" * 5000 + "msat",
        "1" * 5000 + "usd",
        -1,
        MAX_MSAT + 1,
        True,
        False,
        1.0,
        float("nan"),
        None,
        Decimal(5),
    ],
)
def test_what_is_no_amount_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_amount(text, RATE)


@pytest.mark.parametrize("amount", [True, 1.0, "1", None, Decimal(1), -1, MAX_MSAT + 1, float("nan")])
def test_msat_are_integers_within_reason(amount: object) -> None:
    with pytest.raises(ValueError, match="msat"):
        check_msat(amount)


@pytest.mark.parametrize(
    "usd",
    [
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "-0.01",
        "",
        "abc",
        "1e40",
        "1e999999",
        Decimal(10) ** 30,
        -1,
        float("nan"),
        float("inf"),
        True,
        None,
    ],
    ids=repr,
)
def test_what_is_no_number_of_dollars_is_refused(usd: Any) -> None:
    with pytest.raises(ValueError, match=r"dollars|msat out of range"):
        RATE.to_msat(usd)


@given(RATES, st.decimals(0, 10_000, allow_nan=False, places=40))
@LOOSE
def test_a_price_is_never_understated_nor_overstated_by_one_msat(rate: Rate, usd: Decimal) -> None:
    exact = Fraction(usd) / Fraction(rate.usd_per_btc) * MSAT_PER_BTC
    msat = rate.to_msat(usd)
    assert exact <= msat < exact + 1


@pytest.mark.parametrize(
    ("usd", "rate", "msat"),
    [
        ("0.000001", "100000", 1),
        ("0.00000100000000000000000000000000000000000001", "100000", 2),  # beyond 28 digits
        ("0.000001" + "0" * 70 + "1", "100000", 2),
        ("1e-30", "100000", 1),
        ("1e-999999", "100000", 1),
        ("0", "100000", 0),
        ("2.1", "7", 30_000_000_000),
        ("1", "3", 33_333_333_334),
        (0.1, "100000", 100_000),  # the float that is written 0.1
    ],
)
def test_rounding_is_up_and_only_where_something_is_left(usd: str | float, rate: str, msat: int) -> None:
    assert Rate(Decimal(rate)).to_msat(usd) == msat


@given(MSATS)
@LOOSE
def test_dollars_and_back(msat: int) -> None:
    assert RATE.to_msat(RATE.to_usd(msat)) == msat


@given(RATES, MSATS, MSATS)
@LOOSE
def test_more_msat_are_more_dollars(rate: Rate, one: int, other: int) -> None:
    assert rate.to_usd(one) + rate.to_usd(other) == rate.to_usd(one + other)


@given(MSATS, st.sampled_from([("msat", 1), ("sat", MSAT_PER_SAT), ("btc", MSAT_PER_BTC)]))
@LOOSE
def test_every_unit_says_the_same(msat: int, unit: tuple[str, int]) -> None:
    name, scale = unit
    assert parse_amount(f"{Decimal(msat) / scale:f}{name}", RATE) == msat
    assert parse_amount(f"{RATE.to_usd(msat):f} usd", RATE) == msat
    assert parse_amount(msat, RATE) == msat


@given(st.integers(0, 10**12))
@LOOSE
def test_what_is_shown_can_be_written(msat: int) -> None:
    """Below 100 sat exactly, above to a tenth of a sat."""
    shown = parse_amount(format_msat(msat).replace(",", ""), RATE)
    assert abs(shown - msat) <= (50 if msat >= 100_000 else 0)


@pytest.mark.parametrize(
    ("msat", "text"),
    [
        (0, "0 msat"),
        (1_250, "1,250 msat"),
        (99_999, "99,999 msat"),
        (100_000, "100 sat"),
        (1_250_000, "1,250 sat"),
        (1_250_300, "1,250.3 sat"),
        (-150_000, "-150 sat"),
    ],
)
def test_msat_for_people(msat: int, text: str) -> None:
    assert format_msat(msat) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("0", "$0.00"),
        ("0.000000001", "$1.00e-9"),
        ("0.0042", "$0.0042"),
        ("0.5", "$0.5000"),
        ("1", "$1.00"),
        ("12.3", "$12.30"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_dollars_for_people(usd: str, text: str) -> None:
    assert format_usd(Decimal(usd)) == text
