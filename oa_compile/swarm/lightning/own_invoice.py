"""An invoice of our own node, as the node tells it: whoever is to pay it checks it, we need not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnInvoice:
    """What a till gave out. `expires_at` is in Unix seconds, `payment_hash` 64 hex digits."""

    bolt11: str
    payment_hash: str
    amount_msat: int
    expires_at: int
