"""The contract of a wallet that pays: quote → intent → pay → proof → settle, and what may go wrong.

Amounts are integer msat. A wallet knows no budget and no journal: whoever calls `pay` has written the
intent before, and settles what comes of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

from oa_compile.errors import LaneError
from oa_compile.money import check_msat


class WalletError(LaneError):
    """The wallet cannot be used (not there, wrong key, will not answer). Nothing is known of payments."""


class PaymentAlarm(LaneError):
    """What must never be: a proof that does not prove, more taken than allowed. The run must stop."""


PaymentStatus = Literal["complete", "failed", "pending", "unknown"]
"""``complete``: the money is gone, and the preimage proves it. ``failed``: it never went and never will.
``pending``: it may be gone, only the wallet can tell later. ``unknown``: the wallet has never heard of it.
"""


@dataclass(frozen=True, slots=True)
class Payment:
    """What a wallet says of one payment hash.

    `sent_msat` is what left the wallet, fees included (0 unless complete); `preimage` is 64 hex digits,
    checked against the hash, when complete; `reason` is the wallet's words for a failure. `repeated` says
    that `pay` found it paid before it was asked: nothing was sent now.
    """

    payment_hash: str
    status: PaymentStatus
    sent_msat: int = 0
    preimage: str = ""
    reason: str = ""
    repeated: bool = False


def proven(payment_hash: str, preimage: object, sent_msat: object, *, repeated: bool = False) -> Payment:
    """A payment that a wallet calls complete. Raises PaymentAlarm unless `preimage` is hex whose SHA-256 is
    the payment hash, and `sent_msat` an amount.
    """
    secret = str(preimage).lower()
    try:
        hashed = hashlib.sha256(bytes.fromhex(secret)).hexdigest()
    except ValueError:
        hashed = ""
    if hashed != payment_hash:
        raise PaymentAlarm(
            f"payment {payment_hash}: the wallet calls it complete, and its preimage does not prove it",
            hint="stop using this wallet until it is understood",
        )
    try:
        sent = check_msat(sent_msat)
    except ValueError as error:
        raise PaymentAlarm(
            f"payment {payment_hash}: the wallet calls it complete, and does not say what it took: {error}",
            hint="stop using this wallet until it is understood; a lightningd must be 23.08 or later",
        ) from error
    return Payment(payment_hash, "complete", sent_msat=sent, preimage=secret, repeated=repeated)


class Wallet(Protocol):
    """Pays BOLT11 invoices. All methods run on the asyncio loop and block nothing."""

    kind: str
    bounds_fees: bool
    """Whether the wallet itself refuses to pay more than `max_fee_msat` in fees."""

    async def pay(self, bolt11: str, *, payment_hash: str, max_fee_msat: int, seconds: float) -> Payment:
        """Pay one invoice, once. Returns within about `seconds`, with ``pending`` when the wallet has not
        said how it ended; an invoice that was paid before comes back ``complete`` with its preimage and
        pays nothing again. Raises WalletError when the wallet cannot be asked and the payment was surely
        not begun; PaymentAlarm when the preimage does not match.
        """

    async def look_up(self, payment_hash: str, *, seconds: float = 10.0) -> Payment:
        """What became of a payment: the truth after a crash. Raises WalletError when it cannot be asked."""

    async def balance_msat(self) -> int | None:
        """What can be spent, None if the wallet does not tell. Raises WalletError."""

    async def close(self) -> None:
        """Let go of connections. Safe to call twice."""
