"""Paying one invoice: checked, intended on the disk, paid once, proven.

Owns the rules every payment keeps, whatever it is for; what a payment buys is the exchange's matter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from oa_compile.swarm.customer.attempt import Intent, JobFault
from oa_compile.swarm.customer.intents import Intends, Intents, Offload
from oa_compile.swarm.lightning.invoice import InvoiceRefused, check_invoice
from oa_compile.swarm.lightning.wallet import Payment, PaymentAlarm, Wallet, WalletError

WATCH_EVERY = 2.0
"""Seconds between two looks at a payment that nobody knows the end of."""
LATE_SECONDS = 5.0
"""Seconds after its time was up in which a node may still do something about a request to pay."""


def may_come(written: float, *, seconds: float, now: float) -> float:
    """For how many seconds more a payment may still be begun for a process that died: the request may have
    been on its way, and a node tries again for as long as it was told to. Until then ``unknown`` and
    ``failed`` are no ends. `written` is when the intent was, `seconds` the time it was given.
    """
    most = max(seconds, 1.0) + LATE_SECONDS
    return min(max(written + most - now, 0.0), most)


class Payments:
    """Pays with one wallet; refuses an invoice it has seen before."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        network: str,
        max_fee_msat: int,
        seconds: float,
        seen: set[str] | None = None,
        offload: Offload = asyncio.to_thread,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`network` is the Lightning network invoices must be for; `seconds` is what one payment may take
        before it counts as pending; `seen` are payment hashes of earlier payments.
        """
        self.wallet = wallet
        self.max_fee_msat = max_fee_msat
        self._network = network
        self._seconds = seconds
        self._seen = set() if seen is None else seen
        self._intents = Intents(offload)
        self._now = now

    async def pay(
        self,
        attempt: Intends,
        bolt11: str,
        *,
        msat: int,
        provider: str,
        job: str,
        settles: tuple[str, ...] = (),
    ) -> Payment:
        """Pay an invoice of exactly `msat`, or find that it must not be paid.

        Raises JobFault: ``malformed`` for an invoice that is not what was agreed (nothing was sent),
        ``unavailable`` when the payment failed, ``billing`` when the wallet cannot pay at all. Returns a
        payment that is complete or pending. Raises PaymentAlarm when the wallet did what it must not.
        """
        try:
            invoice = check_invoice(bolt11, expected_msat=msat, network=self._network, now=self._now())
        except InvoiceRefused as error:
            raise JobFault("malformed", f"the invoice is refused: {error}") from error
        hash_ = invoice.payment_hash
        if hash_ in self._seen:
            raise JobFault("malformed", "the invoice is refused: its payment hash was seen before")
        self._seen.add(hash_)
        intent = Intent(
            hash_, bolt11, msat, self.max_fee_msat, self.wallet.kind, provider, job, settles=settles
        )
        await self._intents.write(attempt, intent)
        try:
            payment = await self.wallet.pay(
                bolt11, payment_hash=hash_, max_fee_msat=self.max_fee_msat, seconds=self._seconds
            )
        except WalletError as error:
            raise JobFault("billing", error.message, hint=error.hint) from error
        return await self._judged(payment, msat)

    async def _judged(self, payment: Payment, msat: int) -> Payment:
        if payment.status == "pending":
            return payment
        if payment.status == "complete":
            if payment.repeated:
                raise JobFault("malformed", "the invoice is refused: the wallet paid it before this run")
            if not msat <= payment.sent_msat <= msat + self.max_fee_msat:
                raise PaymentAlarm(
                    f"the wallet sent {payment.sent_msat} msat for an invoice of {msat} msat with at most "
                    f"{self.max_fee_msat} msat of fees",
                    hint="stop using this wallet until it is understood; the payment is in the journal",
                )
            return payment
        if await self._is_short_of(msat):
            raise JobFault(
                "billing",
                f"the wallet has less than the {msat} msat to be paid: {payment.reason}",
                hint="put funds into the wallet and go on with --resume",
            )
        raise JobFault("unavailable", f"the payment failed: {payment.reason or payment.status}")

    async def _is_short_of(self, msat: int) -> bool:
        try:
            balance = await self.wallet.balance_msat()
        except WalletError:
            return False
        return balance is not None and balance < msat

    async def ended(self, payment_hash: str, *, may_come: float = 0.0) -> Payment:
        """A pending payment's end, whenever it is known; goes on asking a wallet that is away. For `may_come`
        seconds it may yet be made.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + may_come
        while True:
            await asyncio.sleep(WATCH_EVERY)
            over = clock() >= until
            try:
                payment = await self.wallet.look_up(payment_hash)
            except WalletError:
                continue
            if payment.status == "complete" or (over and payment.status != "pending"):
                return payment
