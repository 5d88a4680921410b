"""The life of one job at a service provider: from a request that is for us to the last word on it.

Owns whether the terms fit, in which order work and payment come, and that no request is billed twice.
Requests come from `provider`, verified and each once; words on the wire are `nip90`'s, invoices the till's,
what is owed the tabs'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.digest import digest_bytes
from oa_compile.errors import StorageError
from oa_compile.swarm.lightning.own_invoice import OwnInvoice
from oa_compile.swarm.lightning.wallet import WalletError
from oa_compile.swarm.protocol.event import Event
from oa_compile.swarm.protocol.nip90 import (
    Cipher,
    Job,
    ProtocolError,
    Result,
    addressed_to,
    is_encrypted,
    read_job,
)
from oa_compile.swarm.provider.terms import AnswerFailed, Answering, AnswerRefused, Terms, presentable
from oa_compile.swarm.provider.till import Billed, NotOwed, Tabs, Till
from oa_compile.swarm.provider.voice import Voice

_encode = msgspec.json.Encoder().encode
_MOST_NAMED = 8
"""Jobs named in a message; a tab may hold hundreds."""


@dataclass(slots=True)
class Tally:
    """What a provider has done since it started."""

    jobs: int = 0
    answered: int = 0
    declined: int = 0
    repeated: int = 0
    ignored: int = 0
    """Not for us, too old, or not what its signature says."""
    asked_msat: int = 0
    """For all results; settling a tab asks for nothing new."""
    paid_msat: int = 0
    """What it saw arrive: payments before the work, and settled tabs."""


@dataclass(frozen=True, slots=True)
class Served:
    """How one job ended here. `order` is how it is paid (``free``, ``tab``, …); `payment_hash` is that of
    the invoice that asks for `msat`, and `paid` says whether that was seen to arrive before the end.
    `message` is what a customer was told that was declined; `tokens` are of the question and the answer.
    """

    job: str
    customer: str
    outcome: Literal["answered", "settled", "declined"]
    order: Literal["", "free", "tab", "pay-first", "result-first"] = ""
    msat: int = 0
    paid: bool = False
    payment_hash: str = ""
    model: str = ""
    tokens: int = 0
    seconds: float = 0.0
    message: str = ""


class _Declined(Exception):
    """No result for this request; the message is for the customer."""


class _NotPaid(_Declined):
    """What was asked for first will not come."""


@dataclass(eq=False, slots=True, kw_only=True)
class Serving:
    """Serves requests, each in a task of its own. `pool` answers, or the loop itself without one."""

    pubkey: str
    terms: Terms
    answering: Answering
    pool: Executor | None
    most_working: int
    says_processing: bool
    voice: Voice
    cipher: Cipher | None
    till: Till | None
    tabs: Tabs
    tally: Tally
    clock: Callable[[], float]
    on_served: Callable[[Served], None] = field(default=lambda _served: None)
    """Told of every job's end."""
    quotes: dict[str, OwnInvoice] = field(default_factory=dict)
    """Invoices that an earlier life of this provider has sent, by request."""
    _working: int = 0
    _unpaid: int = 0

    async def serve(self, request: Event) -> None:
        """To the last word. Raises what the answering function must not raise."""
        began = self.clock()
        try:
            job = self._read(request)
            served = await (self._settle(request, job) if job.settles else self._work(request, job))
            self.tally.answered += 1
        except _Declined as why:
            served = Served(request.id, request.pubkey, "declined", message=str(why))
            await self.decline(request, str(why))
        self.on_served(replace(served, seconds=self.clock() - began))

    async def decline(self, request: Event, why: str) -> None:
        """Say no, to a customer who asked this very provider."""
        self.tally.declined += 1
        if addressed_to(request, self.pubkey):
            await self.voice.feedback(request, "error", why)

    async def see_paid(self, bill: Billed) -> None:
        """Await the end of a bill that an earlier life of this provider sent out."""
        try:
            paid = await self._seen_paid(bill.payment_hash, bill.expires_at)
        except _Declined:
            return  # the till is away: the bill stays open for the next start
        self._end(bill.payment_hash, paid=paid)

    # The work

    def _read(self, request: Event) -> Job:
        if self.cipher is None and is_encrypted(request):
            raise _Declined("this provider reads no encrypted jobs")
        try:
            job = read_job(request, cipher=self.cipher)
        except ProtocolError as error:
            # The error may quote what only the two of us can read, and feedback is not encrypted.
            why = "" if is_encrypted(request) else f": {error}"
            raise _Declined(presentable(f"cannot read the job{why}")) from error
        models = self.terms.models
        if models and job.model and job.model not in models:
            raise _Declined(f"no such model here; there are: {', '.join(models)}")
        return job

    async def _work(self, request: Event, job: Job) -> Served:
        price = self.terms.price_msat
        if job.bid_msat and job.bid_msat < price:
            raise _Declined(f"the price is {price} msat, the bid is {job.bid_msat} msat")
        if not price:
            answer = await self._answer(request, job.chat)
            await self._deliver(request, Result(request.id, answer))
            served = _served(request, answer, order="free")
        elif job.tab and self.tabs.reserve(request.pubkey, price, limit=self.terms.tab_limit_msat):
            answer = await self._work_on_tab(request, job, price)
            served = _served(request, answer, order="tab", msat=price)
        elif self.terms.order == "pay-first" or not job.bid_msat:
            invoice = await self._quote(request, price, self.terms.quote_seconds)
            await self._paid(request, price, invoice)
            answer = await self._answer(request, job.chat, paid=True)
            await self._deliver(request, Result(request.id, answer, price))
            served = _served(request, answer, order="pay-first", msat=price, invoice=invoice, paid=True)
        else:
            answer = await self._answer(request, job.chat)
            invoice = await self._invoice(request, price, self.terms.invoice_seconds)
            await self._deliver(request, Result(request.id, answer, price, invoice.bolt11))
            served = _served(request, answer, order="result-first", msat=price, invoice=invoice)
        self.tally.asked_msat += price
        return served

    async def _work_on_tab(self, request: Event, job: Job, price: int) -> ChatAnswer:
        """The price is reserved. It is on the tab before the result goes out: the customer may settle it
        before the relay's word is back.
        """
        customer = request.pubkey
        try:
            answer = await self._answer(request, job.chat)
            self.tabs.add(customer, request.id, price)
        except StorageError as error:
            self.tabs.release(customer, price)
            raise _Declined("this provider cannot keep tabs now") from error
        except BaseException:
            self.tabs.release(customer, price)
            raise
        try:
            await self._deliver(request, Result(request.id, answer, price, tab=True))
        except _Declined:
            self.tabs.void(customer, request.id)
            raise
        return answer

    async def _answer(self, request: Event, chat: ChatRequest, *, paid: bool = False) -> ChatAnswer:
        """Raises _Declined. A job that is paid for is never turned away for want of a worker."""
        if not paid and self._working >= self.most_working:
            raise _Declined("overloaded: try again later")
        key = digest_bytes(_encode(chat))
        self._working += 1
        try:
            if self.says_processing:
                await self.voice.feedback(request, "processing")
            if self.pool is None:
                return self.answering(chat, key)
            return await asyncio.get_running_loop().run_in_executor(self.pool, self.answering, chat, key)
        except AnswerRefused as error:
            # A refusal may quote the prompt, and feedback is not encrypted.
            told = "refused" if is_encrypted(request) else f"refused: {presentable(str(error))}"
            raise _Declined(told) from error
        except AnswerFailed as error:
            raise _Declined(f"answering failed: {presentable(error.kind)}") from error
        finally:
            self._working -= 1

    async def _deliver(self, request: Event, result: Result) -> None:
        """Publish the result. Raises _Declined when no relay takes it."""
        try:
            refused = await self.voice.result(request, result)
        except ProtocolError as error:
            raise _Declined(presentable(f"the answer does not go into an event: {error}")) from error
        if refused:
            raise _Declined(refused)

    # Being paid

    async def _quote(self, request: Event, msat: int, seconds: int) -> OwnInvoice:
        """What to ask the customer to pay; the same again where an earlier life of ours has asked."""
        earlier = self.quotes.pop(request.id, None)
        if earlier is not None and earlier.amount_msat == msat:
            return earlier
        if self._unpaid >= self.terms.most_unpaid:
            raise _Declined("overloaded: too many quotes wait for their payment; try again later")
        return await self._invoice(request, msat, seconds)

    async def _paid(self, request: Event, msat: int, invoice: OwnInvoice) -> None:
        """Tell the customer to pay, and return when it has. Raises _Declined when it does not."""
        self._unpaid += 1
        try:
            told = await self.voice.feedback(
                request, "payment-required", amount_msat=msat, bolt11=invoice.bolt11
            )
            if told.refused and not told.accepted:
                raise _NotPaid("no relay took the quote")
            if not await self._seen_paid(invoice.payment_hash, invoice.expires_at):
                raise _NotPaid("not paid before the invoice expired")
        finally:
            self._unpaid -= 1
        self.tally.paid_msat += msat

    async def _settle(self, request: Event, job: Job) -> Served:
        """One invoice for jobs on the customer's tab; they come off it when it is paid."""
        customer = request.pubkey
        try:
            due = self.tabs.due(customer, job.settles)
        except NotOwed as error:
            named = ", ".join(error.jobs[:_MOST_NAMED]) + (" …" if len(error.jobs) > _MOST_NAMED else "")
            raise _Declined(f"not on your tab, or settled already: {named}") from error
        if job.bid_msat and job.bid_msat < due:
            raise _Declined(f"these jobs come to {due} msat, the bid is {job.bid_msat} msat")
        invoice = await self._quote(request, due, self.terms.invoice_seconds)
        try:
            self.tabs.bill(Billed(customer, list(job.settles), due, invoice.payment_hash, invoice.expires_at))
            await self._paid(request, due, invoice)
        except StorageError as error:
            raise _Declined("this provider cannot keep tabs now") from error
        except _NotPaid:
            self._end(invoice.payment_hash, paid=False)
            raise
        self._end(invoice.payment_hash, paid=True)
        await self.voice.feedback(request, "success", "settled", amount_msat=due)
        hash_ = invoice.payment_hash
        return Served(request.id, customer, "settled", "tab", due, paid=True, payment_hash=hash_)

    def _end(self, payment_hash: str, *, paid: bool) -> None:
        with suppress(StorageError):  # the bill stays in the file, and the next start asks the till again
            self.tabs.end(payment_hash, paid=paid)

    async def _seen_paid(self, payment_hash: str, expires_at: float) -> bool:
        """Whether it is paid by then. Once that is over, the till still gets a moment to say so."""
        try:
            return await self._open_till().wait_paid(
                payment_hash, seconds=max(expires_at - self.clock(), 1.0)
            )
        except WalletError as error:
            raise _Declined("this provider's till does not answer") from error

    async def _invoice(self, request: Event, msat: int, seconds: int) -> OwnInvoice:
        """The one invoice of this request: its label is the request's id, which a till takes only once."""
        try:
            return await self._open_till().invoice(
                msat, label=request.id, description=f"NIP-90 job {request.id}", expiry_seconds=seconds
            )
        except WalletError as error:
            raise _Declined("this provider's till does not answer") from error

    def _open_till(self) -> Till:
        if self.till is None:
            raise _Declined("this provider takes no payments now")
        return self.till


def _served(
    request: Event,
    answer: ChatAnswer,
    *,
    order: Literal["free", "tab", "pay-first", "result-first"],
    msat: int = 0,
    invoice: OwnInvoice | None = None,
    paid: bool = False,
) -> Served:
    """A job that was answered."""
    return Served(
        request.id,
        request.pubkey,
        "answered",
        order,
        msat,
        paid,
        "" if invoice is None else invoice.payment_hash,
        answer.model,
        answer.usage.total,
    )
