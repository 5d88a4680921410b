"""What a process that died had begun to pay: what became of it, as soon as that can be known.

Owns the receipt of a payment nobody waited for, and the waiting. Which payments these are is in the journal,
what a wallet knows `wallet`'s matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oa_compile.swarm.customer.attempt import Intent, LeftAttempt
from oa_compile.swarm.customer.payment import Payments
from oa_compile.swarm.lightning.wallet import Payment
from oa_compile.swarm.receipt import Receipt

if TYPE_CHECKING:
    from oa_compile.swarm.customer.customer import Customer


def receipt_of(intent: Intent, payment: Payment) -> Receipt:
    """The receipt of a payment whose job's answer nobody waited for."""
    paid = payment.sent_msat if payment.status == "complete" else 0
    return Receipt(
        intent.provider,
        intent.job,
        "settlement" if intent.settles else "first",
        price_msat=intent.msat,
        paid_msat=paid,
        fee_msat=paid - intent.msat if paid else 0,
        payment_hash=intent.payment_hash,
        preimage=payment.preimage,
        wallet=intent.wallet,
        settles=intent.settles,
        lost=bool(paid) and not intent.settles,
    )


async def see_end(customer: Customer, payments: Payments, left: LeftAttempt, *, may_come: float) -> None:
    """End an attempt that was left when its payment has ended; for `may_come` seconds it may yet be made.
    Jobs on a tab that it was for are paid then, or owed again.
    """
    intent = left.intent
    payment = await payments.ended(intent.payment_hash, may_come=may_come)
    left.lost(receipt_of(intent, payment))
    if intent.settles and customer.settlements is not None:
        customer.settlements.ended(customer, intent.provider, paid=payment.status == "complete")
