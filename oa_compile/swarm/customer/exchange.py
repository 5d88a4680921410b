"""One job with one service provider, from the request's event to an answer or a fault.

Owns what may happen in which order, in both orders of payment, and that it is paid for at most once. It is
told of events that are already known to be for this job, from this provider, and truly signed; it does not
choose providers and keeps no books. Lives on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oa_compile.chat import ChatAnswer
from oa_compile.swarm.customer.attempt import JobFault
from oa_compile.swarm.customer.intents import Intends
from oa_compile.swarm.customer.payment import Payments
from oa_compile.swarm.lightning.wallet import Payment
from oa_compile.swarm.protocol.event import Event
from oa_compile.swarm.protocol.nip90 import (
    FEEDBACK_KIND,
    Cipher,
    Feedback,
    ProtocolError,
    Result,
    read_feedback,
    read_result,
)
from oa_compile.swarm.receipt import Order, Receipt, Why
from oa_compile.swarm.relays.network import Network

Observe = Callable[[str, Mapping[str, Any]], None]
"""Told what happens to a job, and its particulars: plain JSON, for whoever looks on."""


def unobserved(what: str, particulars: Mapping[str, Any]) -> None:
    """Nobody looks on."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an exchange ended: with an answer, or with a fault; a paid settlement with neither.

    `pending` is the hash of a payment whose end nobody knows yet: the receipt is not final then, and an
    answer beside the fault is one that must not be used before it is.
    """

    receipt: Receipt
    answer: ChatAnswer | None = None
    fault: JobFault | None = None
    pending: str = ""
    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class Exchange:
    """One job under way. `done` comes to an `Ended`, or to PaymentAlarm."""

    job: Event
    provider: str
    why: Why
    bid_msat: int
    attempt: Intends
    network: Network
    payments: Payments | None
    cipher: Cipher | None
    deadline: float
    """Seconds until it is given up, and half of that again after paying."""
    on_tab: bool = False
    settles: tuple[str, ...] = ()
    answers_first: bool = False
    """The provider announced that it is paid after its answer, and is held to that."""
    observe: Observe = unobserved
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    done: asyncio.Future[Ended] = field(init=False)
    began: float = field(init=False)
    _timer: asyncio.TimerHandle = field(init=False)
    _publishing: asyncio.Task[None] = field(init=False)
    _paying: asyncio.Task[None] | None = None
    _quote: int | None = None
    _result: Result | None = None
    _payment: Payment | None = None
    _order: Order = ""
    _late: bool = False
    _superseded: bool = False

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()
        self.began = self.loop.time()
        self._timer = self.loop.call_later(self.deadline, self._expire)
        self._publishing = self.loop.create_task(self._publish())

    # -- what comes in ---------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """An event of this job by this provider, verified."""
        if self.done.done():
            return
        try:
            if event.kind == FEEDBACK_KIND:
                feedback = read_feedback(event, cipher=self.cipher)
                self._saw(
                    "feedback", status=feedback.status, message=feedback.message, msat=feedback.amount_msat
                )
                self._take_feedback(feedback)
            elif self._result is None and not self.settles:
                result = read_result(event, cipher=self.cipher)
                self._saw("result", msat=result.amount_msat, tab=result.tab, tokens=result.answer.usage.total)
                self._take_result(result)
        except ProtocolError as error:
            self._fail(JobFault("malformed", f"the provider's event is refused: {error}"))

    def _take_feedback(self, feedback: Feedback) -> None:
        if feedback.status == "error":
            # Whoever was asked to pay may still be paid: the wallet's word is waited for.
            fault = JobFault("server", f"the provider answered with an error: {feedback.message}"[:300])
            self._fail(fault)
            return
        if not self._agreed(feedback.amount_msat) or feedback.status != "payment-required":
            return
        if self.answers_first and not self.settles:
            self._fail(JobFault("malformed", "the provider announced to answer first, and asks for money"))
            return
        # A second demand for money, or one after the result, is passed over: one job, one payment.
        if self._paying is None and self._result is None:
            self._order = "pay-first"
            self._pay(feedback.amount_msat, feedback.bolt11)

    def _take_result(self, result: Result) -> None:
        if not self._agreed(result.amount_msat):
            return
        self._result = result
        if self._paying is not None:
            self._conclude()
        elif result.amount_msat is None or (result.amount_msat == 0 and not result.bolt11):
            self._order = "free"
            self._conclude()
        elif result.tab and self.on_tab and not result.bolt11:
            self._order = "tab"
            self._conclude()
        else:
            self._order = "result-first"
            self._pay(result.amount_msat, result.bolt11)

    def _agreed(self, msat: int | None) -> bool:
        """Whether that price is what was bid and said before; the exchange fails if not."""
        if msat is None:
            return True
        if msat > self.bid_msat:
            self._fail(JobFault("malformed", f"the provider asks {msat} msat, the bid is {self.bid_msat}"))
            return False
        if self._quote is not None and msat != self._quote:
            self._fail(JobFault("malformed", f"the provider quoted {self._quote} msat, then {msat} msat"))
            return False
        self._quote = msat
        return True

    # -- paying ----------------------------------------------------------------------------------

    def _pay(self, msat: int | None, bolt11: str) -> None:
        if msat is None or not bolt11:
            self._fail(JobFault("malformed", "the provider asks for money without an amount and an invoice"))
        elif self.payments is None:
            self._fail(JobFault("billing", "the provider asks for money, and there is no wallet"))
        elif self.settles and msat != self.bid_msat:
            self._fail(JobFault("malformed", f"the tab is {self.bid_msat} msat, the invoice {msat} msat"))
        else:
            self._paying = self.loop.create_task(self._paid(self.payments, msat, bolt11))

    async def _paid(self, payments: Payments, msat: int, bolt11: str) -> None:
        try:
            self._saw("quote", msat=msat, bolt11=bolt11)
            payment = await payments.pay(
                self.attempt,
                bolt11,
                msat=msat,
                provider=self.provider,
                job=self.job.id,
                settles=self.settles,
            )
        except JobFault as error:
            self._end(fault=error)
        except BaseException as error:  # noqa: BLE001 - an alarm, or a full disk: whoever waits decides
            self._close()
            if not self.done.done():
                self.done.set_exception(error)
        else:
            if payment.status == "pending":
                answer = None if self._result is None else self._result.answer
                unknown = JobFault("timeout", "the payment has not ended")
                self._end(answer=answer, fault=unknown, pending=payment)
                return
            self._payment = payment
            self._saw("paid", msat=payment.sent_msat, preimage=payment.preimage)
            if self._late:
                self._timer = self.loop.call_later(self.deadline / 2, self._expire)
            self._conclude()

    def _conclude(self) -> None:
        """End if nothing is waited for any more: the result, and the payment that was begun."""
        if self._paying is not None and self._payment is None:
            return
        if self.settles and self._payment is not None:
            self._end()
        elif self._result is not None:
            self._end(answer=self._result.answer)
        # What is paid for is waited for, also when another was faster: to leave would make an honest
        # provider a thief.

    # -- the end ---------------------------------------------------------------------------------

    def supersede(self) -> None:
        """Another provider's answer was taken. Ends at once unless money is on its way."""
        self._superseded = True
        if self._paying is None:
            self._end(fault=_superseded())

    def _expire(self) -> None:
        if self._paying is not None and self._payment is None:
            self._late = True  # the payment has its own time; what comes of it decides
            return
        waited = f"{self.loop.time() - self.began:.0f} s"
        if self._payment is not None:
            self._end(fault=JobFault("timeout", f"the provider was paid and did not answer within {waited}"))
        else:
            self._end(fault=JobFault("timeout", f"the provider did not answer within {waited}"))

    def _fail(self, fault: JobFault) -> None:
        """End with a fault, once it is known whether money went."""
        if self._paying is not None and self._payment is None:
            self._paying.add_done_callback(lambda _task: self._end(fault=fault))
        else:
            self._end(fault=fault)

    def _end(
        self,
        *,
        answer: ChatAnswer | None = None,
        fault: JobFault | None = None,
        pending: Payment | None = None,
    ) -> None:
        if self.done.done():
            return
        self._close()
        receipt = self._receipt(self._payment or pending)
        if fault is not None and self._payment is not None and not self.settles:
            receipt = replace(receipt, lost=True)
        seconds = self.loop.time() - self.began
        hash_ = pending.payment_hash if pending else ""
        self._saw("ended", fault=fault.message if fault else "", pending=hash_)
        self.done.set_result(Ended(receipt, answer, fault, hash_, seconds))

    def _receipt(self, payment: Payment | None) -> Receipt:
        price = self._quote or 0
        receipt = Receipt(
            self.provider,
            self.job.id,
            self.why,
            order=self._order,
            price_msat=price,
            settles=self.settles,
            superseded=self._superseded,
        )
        if payment is None or self.payments is None:
            return receipt
        return with_payment(receipt, payment, wallet=self.payments.wallet.kind)

    def _close(self) -> None:
        self._timer.cancel()
        self._publishing.cancel()

    def _saw(self, what: str, **particulars: Any) -> None:
        self.observe(what, {"job": self.job.id, "provider": self.provider, **particulars})

    async def _publish(self) -> None:
        published = await self.network.publish(self.job)
        self._saw("published", accepted=list(published.accepted), refused=published.refused)
        if published.refused and not published.accepted:
            reasons = "; ".join(f"{url}: {reason}" for url, reason in published.refused.items())
            self._fail(JobFault("transport", f"no relay took the job: {reasons}"[:400]))


def with_payment(receipt: Receipt, payment: Payment, *, wallet: str) -> Receipt:
    """The receipt with what the wallet says of its payment."""
    complete = payment.status == "complete"
    return replace(
        receipt,
        paid_msat=payment.sent_msat if complete else 0,
        fee_msat=payment.sent_msat - receipt.price_msat if complete else 0,
        payment_hash=payment.payment_hash,
        preimage=payment.preimage if complete else "",
        wallet=wallet,
    )


def _superseded() -> JobFault:
    return JobFault("timeout", "another provider answered first")
