"""Every reason not to pay an invoice, before any wallet is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.swarm.lightning.bolt11 import DEFAULT_FEATURES, NodeKey, encode
from oa_compile.swarm.lightning.invoice import (
    LEAST_SECONDS,
    MOST_AHEAD_SECONDS,
    InvoiceRefused,
    check_invoice,
)

NOW = 1_800_000_000
KEY = NodeKey(b"\x07" * 32)


def invoice(**other: Any) -> str:
    right: dict[str, Any] = {
        "payment_hash": "ab" * 32,
        "payment_secret": "cd" * 32,
        "amount_msat": 10,
        "network": "regtest",
        "created_at": NOW,
        "expiry_seconds": 600,
        "description": "one job",
    }
    return encode(KEY, **(right | other)).bolt11


def check(text: str, *, now: float = NOW, **other: Any) -> str:
    """The reason it is refused for, or ``ok``."""
    try:
        found = check_invoice(text, expected_msat=10, network="regtest", now=now, **other)
    except InvoiceRefused as error:
        return error.reason
    assert (found.amount_msat, found.payee, found.payment_hash) == (10, KEY.id, "ab" * 32)
    return "ok"


def changed(text: str, at: int) -> str:
    return text[:at] + ("q" if text[at] != "q" else "p") + text[at + 1 :]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (invoice(), "ok"),
        (invoice().upper(), "ok"),
        (invoice(amount_msat=11), "amount"),
        (invoice(amount_msat=9), "amount"),
        (invoice(amount_msat=10_000), "amount"),
        (invoice(amount_msat=None), "no-amount"),
        (invoice(network="bitcoin"), "network"),
        (invoice(network="testnet"), "network"),
        (changed(invoice(), 30), "malformed"),
        (changed(invoice(), -1), "malformed"),
        (invoice()[:-6], "malformed"),
        ("", "malformed"),
        ("lightning:" + invoice(), "malformed"),
        (invoice(payment_secret=""), "no-secret"),
        (invoice(features=DEFAULT_FEATURES | 1 << 100), "features"),
        (invoice(features=DEFAULT_FEATURES | 1 << 101), "ok"),
        (invoice(created_at=NOW - 601), "expired"),
        (invoice(created_at=NOW + MOST_AHEAD_SECONDS + 1), "future"),
        (invoice(created_at=NOW + MOST_AHEAD_SECONDS), "ok"),
    ],
)
def test_an_invoice_is_what_was_agreed_or_it_is_refused(text: str, reason: str) -> None:
    assert check(text) == reason


def test_ten_seconds_must_be_left() -> None:
    text = invoice()
    assert check(text, now=NOW + 600 - LEAST_SECONDS) == "ok"
    assert check(text, now=NOW + 600 - LEAST_SECONDS + 0.5) == "expired"
    assert check(text, now=NOW + 600 - LEAST_SECONDS + 0.5, least_seconds=0) == "ok"
    assert check(text, now=NOW + 601, least_seconds=0) == "expired"


def test_the_amounts_are_told_to_the_msat() -> None:
    with pytest.raises(InvoiceRefused, match=r"10,000 msat; agreed were 10 msat"):
        check_invoice(invoice(amount_msat=10_000), expected_msat=10, network="regtest", now=NOW)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=400))
def test_no_text_is_more_than_refused(text: str) -> None:
    assert check(text) == "malformed"
