"""Whether an invoice is the one that was agreed on: every check that comes before any wallet is asked.

Owns the checks and their words. Whether the payment hash was seen before is the customer's memory's matter.
"""

from __future__ import annotations

from typing import Literal

from oa_compile.swarm.lightning import bolt11
from oa_compile.swarm.lightning.bolt11 import Invoice, InvoiceError

Reason = Literal["malformed", "network", "no-amount", "amount", "no-secret", "features", "expired", "future"]

LEAST_SECONDS = 10
MOST_AHEAD_SECONDS = 600
"""How far a payee's clock may run ahead of ours."""

_UNDERSTOOD = frozenset({8, 14, 16, 24, 48})
"""Features an invoice may insist on and wallets know: variable onions, payment secret, payments in parts,
blinded routes, metadata."""


class InvoiceRefused(ValueError):
    """An invoice that must not be paid. `reason` is a short code, the message is for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def check_invoice(
    text: str, *, expected_msat: int, network: str, now: float, least_seconds: int = LEAST_SECONDS
) -> Invoice:
    """The invoice in `text`, if it asks for exactly `expected_msat` on `network` and can still be paid for
    `least_seconds` at `now` (Unix seconds). Raises InvoiceRefused, nothing else, whatever the text is.
    """
    try:
        invoice = bolt11.decode(text)
    except InvoiceError as error:
        raise InvoiceRefused("malformed", str(error)) from error
    if invoice.network != network:
        raise InvoiceRefused(
            "network", f"the invoice is for {invoice.network}, this wallet pays on {network}"
        )
    if invoice.amount_msat is None:
        raise InvoiceRefused("no-amount", f"the invoice names no amount; agreed were {_msat(expected_msat)}")
    if invoice.amount_msat != expected_msat:
        raise InvoiceRefused(
            "amount", f"the invoice asks for {_msat(invoice.amount_msat)}; agreed were {_msat(expected_msat)}"
        )
    if not invoice.payment_secret:
        raise InvoiceRefused(
            "no-secret", "the invoice has no payment secret: whoever relays it could be paid"
        )
    if unknown := _unknown_features(invoice.features):
        raise InvoiceRefused("features", f"the invoice insists on features nobody here knows: {unknown}")
    if invoice.created_at > now + MOST_AHEAD_SECONDS:
        raise InvoiceRefused(
            "future", f"the invoice was made {invoice.created_at - now:,.0f} s in the future"
        )
    left = invoice.expires_at - now
    if left < least_seconds:
        told = f"expired {-left:,.0f} s ago" if left < 0 else f"expires in {left:,.0f} s"
        raise InvoiceRefused("expired", f"the invoice {told}; {least_seconds} s are wanted")
    return invoice


def _unknown_features(features: int) -> list[int]:
    """Features that are demanded (even bits) and not understood."""
    return [
        bit for bit in range(0, features.bit_length(), 2) if features >> bit & 1 and bit not in _UNDERSTOOD
    ]


def _msat(amount: int) -> str:
    """An amount to the last msat: rounded, two that differ would read alike."""
    return f"{amount:,} msat"
