"""One call's way to an answer: who is asked first, who beside a straggler, who next, and whose answer counts.

Owns the order of attempts and their ends; each attempt with one provider is an `exchange`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import BudgetExhausted
from oa_compile.swarm.customer.attempt import Attempt, JobFault
from oa_compile.swarm.customer.exchange import Ended, Exchange
from oa_compile.swarm.market.choice import Offer
from oa_compile.swarm.receipt import Receipt, Why

if TYPE_CHECKING:
    from oa_compile.swarm.customer.customer import Customer


@dataclass(frozen=True, slots=True)
class Asked:
    """One call. `more` reserves a further attempt, `spare` does so only where there is room at once; both
    block, and raise BudgetExhausted. `restore` puts back into an answer what the policy had replaced;
    `most_tokens` is what an answer can have used, whatever it says; `lot` is a number in 0 … 1 drawn from
    the call's key, which decides about its audit. Providers in `avoid` are not asked, come what may.
    """

    request: ChatRequest
    more: Callable[[], Attempt]
    spare: Callable[[], Attempt]
    most_tokens: int
    restore: Callable[[str], str] = field(default=lambda text: text)
    lot: float = 1.0
    avoid: frozenset[str] = frozenset()


class _Open(NamedTuple):
    exchange: Exchange
    attempt: Attempt
    offer: Offer


class _Found(NamedTuple):
    """An answer, and the attempt it has to be told to."""

    answer: ChatAnswer
    receipt: Receipt
    attempt: Attempt
    offer: Offer


_FATAL = frozenset({"billing"})


class Errand:
    """One call under way."""

    def __init__(self, customer: Customer, asked: Asked) -> None:
        self._customer = customer
        self._asked = asked
        self._tried: list[str] = []
        self._until = customer.loop_time() + customer.terms.patience

    async def run(self, attempt: Attempt) -> ChatAnswer:
        """The answer. Raises JobFault when nobody gave one, BudgetExhausted when a cap is in the way."""
        found = await self._seek(attempt, "first")
        if self._is_audited(found):
            return await self._audited(found)
        return self._take(found)

    # -- one answer ------------------------------------------------------------------------------

    async def _seek(self, attempt: Attempt | None, why: Why, *, beside: tuple[str, ...] = ()) -> _Found:
        """An answer from somebody, whose attempt is still to be ended; all others are."""
        terms = self._customer.terms
        faults: list[JobFault] = []
        for number in range(terms.attempts):
            if faults and self._customer.loop_time() >= self._until:
                break
            if attempt is None:
                attempt = await self._customer.offload(self._asked.more)
            opened = await self._begin(attempt, why if number == 0 else "retry", beside=beside)
            if opened is None:
                fault = self._nobody(faults)
                attempt.failed(fault, Receipt("", "", why))
                raise fault
            found, more = await self._race(opened)
            if found is not None:
                return found
            faults += more
            if faults[-1].kind in _FATAL:
                raise faults[-1]
            attempt = None
        raise _exhausted(faults)

    async def _begin(self, attempt: Attempt, why: Why, *, beside: tuple[str, ...] = ()) -> _Open | None:
        offer = await self._customer.choose(
            without=self._tried,
            never=self._asked.avoid,
            operators=beside,
            witness=bool(beside),
            until=self._until,
        )
        return None if offer is None else self._send(offer, attempt, why)

    def _send(self, offer: Offer, attempt: Attempt, why: Why) -> _Open:
        self._tried.append(offer.provider)
        left = self._until - self._customer.loop_time()
        exchange = self._customer.begin(self._asked.request, offer, attempt, why, within=left)
        return _Open(exchange, attempt, offer)

    async def _race(self, first: _Open) -> tuple[_Found | None, list[JobFault]]:
        """The first answer of a provider and of the one asked beside it when it is slow."""
        racing = {first.exchange.done: first}
        faults: list[JobFault] = []
        hedge: float | None = min(
            self._customer.market.hedge_after(first.offer.provider), self._customer.terms.hedge_after
        )
        if not self._customer.terms.hedge_after:
            hedge = None
        try:
            while racing:
                done, _ = await asyncio.wait(racing, timeout=hedge, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    hedge = None  # one hedge a provider
                    second = await self._hedge()
                    if second is not None:
                        racing[second.exchange.done] = second
                    continue
                hedge = None
                for future in done:
                    opened = racing.pop(future)
                    ended = future.result()
                    if ended.fault is None and ended.answer is not None:
                        return _Found(ended.answer, ended.receipt, opened.attempt, opened.offer), faults
                    faults.append(ended.fault or JobFault("server", "no answer"))
                    self._fail(ended, opened.attempt)
            return None, faults
        finally:
            for opened in racing.values():
                self._leave(opened)

    async def _hedge(self) -> _Open | None:
        """A second provider beside a straggler, if there is another one and room in the budget."""
        market, terms = self._customer.market, self._customer.terms
        now = self._customer.loop_time()
        offer = market.choose(now=now, model=terms.model, without=[*self._tried, *self._asked.avoid])
        if offer is None:
            return None
        try:
            attempt = await self._customer.offload(self._asked.spare)
        except BudgetExhausted:
            return None
        return self._send(offer, attempt, "hedge")

    # -- how attempts end ------------------------------------------------------------------------

    def _take(self, found: _Found, *, compared: bool = False) -> ChatAnswer:
        """Make it the call's answer."""
        answer = self._own(found.answer, found.offer.provider)
        found.attempt.answered(answer, replace(found.receipt, compared=compared))
        self._customer.answered(found.receipt)
        return answer

    def _pass_over(self, found: _Found, *, compared: bool = False, disagreed: bool = False) -> None:
        receipt = replace(found.receipt, compared=compared, disagreed=disagreed)
        found.attempt.unused(self._own(found.answer, found.offer.provider), receipt)
        self._customer.answered(found.receipt)

    def _own(self, answer: ChatAnswer, provider: str) -> ChatAnswer:
        """The answer as the caller gets it: in the caller's words, a usage that can be, and who gave it."""
        usage = answer.usage if answer.usage.total <= self._asked.most_tokens else Usage()
        text = self._asked.restore(answer.text)
        return ChatAnswer(text, usage, answer.finish_reason, answer.model, by=provider)

    def _fail(self, ended: Ended, attempt: Attempt) -> None:
        if ended.pending:
            answer = None if ended.answer is None else self._own(ended.answer, ended.receipt.provider)
            self._customer.watch(replace(ended, answer=answer), attempt)
        else:
            attempt.failed(ended.fault or JobFault("server", "no answer"), ended.receipt)

    def _leave(self, opened: _Open) -> None:
        """Stop waiting for one that another was faster than; its attempt ends when it does."""

        def ended(future: asyncio.Future[Ended]) -> None:
            if future.cancelled() or future.exception() is not None:
                return  # the attempt stays open: nobody knows, and the wallet is asked on --resume
            end = future.result()
            if end.answer is not None and not end.pending:
                found = _Found(end.answer, end.receipt, opened.attempt, opened.offer)
                self._pass_over(found)
            else:
                self._fail(end, opened.attempt)

        opened.exchange.done.add_done_callback(ended)
        opened.exchange.supersede()

    def _nobody(self, faults: list[JobFault]) -> JobFault:
        if faults:
            return _exhausted(faults)
        customer = self._customer
        outlook = customer.market.outlook(now=customer.loop_time(), model=customer.terms.model)
        return JobFault(
            "unavailable",
            f"no service provider can be asked: {outlook.reason}",
            hint="`oacompile swarm providers` shows who is there, at what price, with what record",
        )

    # -- audits ----------------------------------------------------------------------------------

    def _is_audited(self, found: _Found) -> bool:
        """By lot; and always while nobody has borne out the provider, unless there are no audits at all."""
        share = self._customer.terms.audit
        if self._asked.lot < share:
            return True
        return share > 0 and not self._customer.market.vouched(found.offer.provider)

    async def _audited(self, first: _Found) -> ChatAnswer:
        """Two providers answer; a third decides where they disagree, and the odd one out is told so."""
        found = [first]
        try:
            for _ in range(2):
                second = await self._another(found)
                if second is None:
                    break
                found.append(second)
                if _majority(found) is not None:
                    break
        except BaseException:
            for one in found:
                self._pass_over(one)
            raise
        majority = _majority(found)
        taken = majority or first
        now = self._customer.loop_time()
        for one in found:
            odd = majority is not None and _said(one) != _said(majority)
            if majority is not None:
                self._customer.market.judged(one.offer.provider, now, agreed=not odd)
            if one is not taken:
                self._pass_over(one, compared=majority is not None, disagreed=odd)
        return self._take(taken, compared=majority is not None)

    async def _another(self, found: list[_Found]) -> _Found | None:
        """One more answer, by another operator; None where there is none to be had."""
        operators = tuple(one.offer.operator for one in found)
        self._tried += [one.offer.provider for one in found if one.offer.provider not in self._tried]
        try:
            attempt = await self._customer.offload(self._asked.spare)
        except BudgetExhausted:
            return None
        try:
            return await self._seek(attempt, "audit", beside=operators)
        except JobFault as fault:
            if fault.kind in _FATAL:
                raise
            return None


def _said(found: _Found) -> str:
    return " ".join(found.answer.text.split())


def _majority(found: list[_Found]) -> _Found | None:
    """The first answer that another one agrees with."""
    texts = [_said(one) for one in found]
    return next((one for one, text in zip(found, texts, strict=True) if texts.count(text) > 1), None)


def _exhausted(faults: list[JobFault]) -> JobFault:
    last = faults[-1]
    if len(faults) == 1:
        return last
    told = "; ".join(fault.message for fault in faults[-4:])
    return JobFault(last.kind, f"{len(faults)} attempts failed: {told}", hint=last.hint)
