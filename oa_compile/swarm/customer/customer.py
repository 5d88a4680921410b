"""The customer: one standing subscription on the relays, any number of jobs under way.

Owns the connections, and which event belongs to which job. Whether it may be believed is `belief`'s
matter, who is asked next `errand`'s, what an answer costs `exchange`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import LaneError
from oa_compile.swarm.customer.attempt import Attempt, JobFault
from oa_compile.swarm.customer.background import Background
from oa_compile.swarm.customer.belief import CLOCK_SKEW, disbelief
from oa_compile.swarm.customer.errand import Asked, Errand
from oa_compile.swarm.customer.exchange import Ended, Exchange, Observe, unobserved, with_payment
from oa_compile.swarm.customer.intents import Intends, Offload
from oa_compile.swarm.customer.payment import Payments
from oa_compile.swarm.customer.settlement import Settlements
from oa_compile.swarm.customer.terms import Terms
from oa_compile.swarm.market.choice import JobOutcome, Offer, OutcomeKind
from oa_compile.swarm.market.market import Market
from oa_compile.swarm.protocol.event import Event, Keys, verify
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND, Handler, read_handler
from oa_compile.swarm.protocol.nip90 import (
    FEEDBACK_KIND,
    JOB_KIND,
    RESULT_KIND,
    Cipher,
    Job,
    ProtocolError,
    draft_job,
    job_of,
)
from oa_compile.swarm.receipt import Receipt, Why
from oa_compile.swarm.relays.network import Filter, Network, Subscription

SHORTEST = 1.0
"""Seconds a provider has at least, however little is left."""

THREADS = 32
"""Journal writes and other blocking work at once."""


class Customer:
    """Asks service providers on `network`, pays them with `payments`. Lives on one loop."""

    def __init__(
        self,
        *,
        keys: Keys,
        network: Network,
        market: Market,
        terms: Terms,
        payments: Payments | None = None,
        cipher: Cipher | None = None,
        settlements: Settlements | None = None,
        offload: Offload | None = None,
        observe: Observe = unobserved,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Without `payments` only answers that cost nothing are taken. `observe` is told what happens to
        jobs; `now` is Unix time in seconds.
        """
        self.keys = keys
        self.network = network
        self.market = market
        self.terms = terms
        self.settlements = settlements
        self.payments = payments
        self.cipher = cipher
        self.now = now
        self.observe = observe
        self.passed_over: Counter[str] = Counter()
        """Events that were not believed, by reason."""
        self._pool = None if offload is not None else ThreadPoolExecutor(THREADS, "oacompile-swarm-io")
        self._offload = offload
        self._exchanges: dict[str, Exchange] = {}
        self.background = Background()
        """What nobody waits for: payments that end late, settlements."""
        self._subscription: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    # -- opening and closing ---------------------------------------------------------------------

    async def open(self) -> None:
        """Subscribe, and wait for a provider's announcement. Raises LaneError when nobody announces."""
        me = self.keys.public
        answers: Filter = {
            "kinds": [RESULT_KIND, FEEDBACK_KIND],
            "#p": [me],
            "since": int(self.now()) - CLOCK_SKEW,
        }
        handlers: Filter = {"kinds": [HANDLER_KIND], "#k": [str(JOB_KIND)]}
        for provider in self.terms.providers:
            self.market.offer(Handler(provider))
        if self.terms.providers:
            handlers["authors"] = sorted(self.terms.providers)
        self._subscription = await self.network.subscribe([answers, handlers], self._on_event)
        self._keeper = asyncio.get_running_loop().create_task(self._look_again())
        until = self.loop_time() + self.terms.discover
        while self.market.is_empty and self.loop_time() < until:
            await self.change(until - self.loop_time())
        if self.market.is_empty:
            raise LaneError(
                "no service provider for text generation (kind 5050) has announced itself on these relays",
                hint="name other relays; `oacompile swarm providers` shows who is there",
            )

    async def close(self, *, seconds: float = 10.0) -> None:
        """Settle all tabs and let background work end, at most `seconds`, then let go of the relays. Safe to
        call twice. Raises what broke in the background, PaymentAlarm above all, when all is closed.
        """
        if self.settlements is not None:
            self.settlements.finish(self)
        await self.background.close(seconds=seconds)
        if self._keeper is not None:
            self._keeper.cancel()
        if self._subscription is not None:
            with contextlib.suppress(OSError):
                await self._subscription.close()
            self._subscription = None
        await self.network.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        broken = self.background.take_broken()
        if isinstance(broken, Exception):  # a StopRun is known to the run already
            raise broken

    @staticmethod
    def loop_time() -> float:
        """The loop's clock in seconds, virtual in a simulation."""
        return asyncio.get_running_loop().time()

    async def offload(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run blocking work off the loop."""
        if self._offload is not None:
            return await self._offload(work, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    # -- asking ----------------------------------------------------------------------------------

    async def ask(self, asked: Asked, attempt: Attempt) -> ChatAnswer:
        """One call's answer; `attempt` is its first, reserved already. Every attempt is ended, or left
        open while its payment is pending. Raises JobFault when nobody answered, and what broke in the
        background.
        """
        self.background.check()
        return await Errand(self, asked).run(attempt)

    async def choose(
        self,
        *,
        without: Sequence[str] = (),
        never: Collection[str] = (),
        operators: Sequence[str] = (),
        witness: bool = False,
        until: float = math.inf,
    ) -> Offer | None:
        """The provider to be asked next; waits while all who may be asked have their hands full. None if
        nobody is left. A provider in `without` is asked again only where there is no other, one in `never`
        not even there; a `witness` is drawn by lot. Waits no longer than `until`, on the loop's clock.
        """
        until = min(until, self.loop_time() + self.terms.deadline)
        while True:
            offer, again = self._choice(without, never, operators, witness=witness)
            now = self.loop_time()
            if offer is not None or again is None or now >= until:
                return offer
            await self.change(min(again, until) - now)

    def _choice(
        self, tried: Sequence[str], never: Collection[str], operators: Sequence[str], *, witness: bool
    ) -> tuple[Offer | None, float | None]:
        """Who is asked now, and when to look again if nobody is (None: waiting does not help)."""
        now, model = self.loop_time(), self.terms.model
        without: Collection[str] = [*tried, *never]
        offer = self.market.choose(
            now=now, model=model, without=without, other_operators_than=operators, witness=witness
        )
        if offer is None and tried and not operators:
            offer = self.market.choose(now=now, model=model, without=never)
            without = never
        if offer is not None:
            return offer, None
        outlook = self.market.outlook(now=now, model=model, without=without, other_operators_than=operators)
        return None, outlook.at if outlook.at is not None else now + 1.0 if outlook.waits else None

    async def change(self, seconds: float) -> None:
        """Wait until an exchange ends or somebody announces himself, at most `seconds`."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), 1.0)):
                await self._changed.wait()

    def begin(
        self, request: ChatRequest, offer: Offer, attempt: Attempt, why: Why, *, within: float = math.inf
    ) -> Exchange:
        """Send a job to one provider, which has the deadline, or what is left `within` the call's time."""
        price = min(offer.price_msat, self.terms.bid_msat)
        tabs = self.settlements.tabs if self.settlements is not None else None
        on_tab = tabs is not None and tabs.wanted(
            offer.provider, price_msat=price, offers_msat=offer.handler.tab_limit_msat
        )
        job = Job(
            chat=request,
            model=self.terms.model,
            bid_msat=price,
            provider=offer.provider,
            nonce=secrets.token_hex(8),
            tab=on_tab,
        )
        answers_first = offer.handler.order == "result-first"
        exchange = self.start(job, attempt, why, answers_first=answers_first, within=within)
        if on_tab and tabs is not None:
            tabs.expect(offer.provider, price)
            exchange.done.add_done_callback(lambda _done: tabs.expected(offer.provider, price))
        self.market.began(offer.provider, self.loop_time())
        exchange.done.add_done_callback(lambda _done: self._ended(exchange))
        return exchange

    def start(
        self,
        job: Job,
        attempt: Intends,
        why: Why,
        *,
        answers_first: bool = False,
        within: float = math.inf,
    ) -> Exchange:
        """Sign a job and wait for what becomes of it."""
        cipher = self.cipher if self.terms.encrypt else None
        event = self.keys.sign(draft_job(job, cipher=cipher), created_at=int(self.now()))
        exchange = Exchange(
            job=event,
            provider=job.provider,
            why=why,
            bid_msat=job.bid_msat,
            attempt=attempt,
            network=self.network,
            payments=self.payments,
            cipher=self.cipher,
            deadline=min(self.terms.deadline, max(within, SHORTEST)),
            on_tab=job.tab,
            settles=job.settles,
            answers_first=answers_first,
            observe=self.observe,
        )
        self.observe("sent", {"job": event.id, "provider": job.provider, "why": why, "msat": job.bid_msat})
        self._exchanges[event.id] = exchange
        exchange.done.add_done_callback(lambda _done: self._exchanges.pop(event.id, None))
        return exchange

    def _ended(self, exchange: Exchange) -> None:
        """Tell the market what an exchange came to."""
        self._changed.set()
        if exchange.done.cancelled() or exchange.done.exception() is not None:
            outcome = JobOutcome("failed")
        else:
            ended = exchange.done.result()
            receipt = ended.receipt
            kind: OutcomeKind = "answered"
            if receipt.lost:
                kind = "lost"
            elif ended.pending or receipt.superseded:
                kind = "cancelled"
            elif ended.fault is not None:
                kind = "failed"
            outcome = JobOutcome(kind, latency_seconds=ended.seconds, msat=receipt.charged_msat)
        self.market.ended(exchange.provider, outcome, self.loop_time())

    def answered(self, receipt: Receipt) -> None:
        """An answer is in the journal; if it is on a tab, it is owed from now on."""
        if receipt.order == "tab" and self.settlements is not None:
            self.settlements.owe(self, receipt)

    def watch(self, ended: Ended, attempt: Attempt) -> None:
        """Leave an attempt open until its pending payment has ended."""
        attempt.pending()
        self.background.run(self._watch(ended, attempt))

    async def _watch(self, ended: Ended, attempt: Attempt) -> None:
        if self.payments is None:
            return
        payment = await self.payments.ended(ended.pending)
        receipt = with_payment(ended.receipt, payment, wallet=self.payments.wallet.kind)
        fault = ended.fault or JobFault("timeout", "the payment had not ended")
        if payment.status != "complete":
            attempt.failed(fault, receipt)
        elif ended.answer is not None:
            attempt.unused(ended.answer, receipt)
        else:
            attempt.failed(fault, replace(receipt, lost=True))

    # -- what comes in ---------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if event.kind == HANDLER_KIND:
            self._take_handler(event)
            return
        exchange = self._exchanges.get(job_of(event) or "")
        reason = disbelief(event, exchange, me=self.keys.public)
        if exchange is None or reason:
            self.passed_over[reason] += 1
        else:
            exchange.take(event)

    async def _look_again(self) -> None:
        """Fetch what a relay has stored and not brought: one that loses an event may still have it."""
        patience = self.terms.look_again
        while True:
            await asyncio.sleep(patience)
            late = self.loop_time() - patience
            jobs = [job for job, exchange in self._exchanges.items() if exchange.began <= late]
            if jobs:
                wanted: Filter = {"kinds": [RESULT_KIND, FEEDBACK_KIND], "#e": jobs}
                for event in await self.network.fetch([wanted], seconds=patience):
                    self._on_event(event)

    def _take_handler(self, event: Event) -> None:
        allowed = self.terms.providers
        if (allowed and event.pubkey not in allowed) or not verify(event):
            self.passed_over["announcement"] += 1
            return
        try:
            handler = read_handler(event)
        except ProtocolError:
            self.passed_over["announcement"] += 1
            return
        self.market.offer(handler)
        self._changed.set()
