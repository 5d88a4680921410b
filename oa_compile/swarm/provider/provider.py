"""A service provider: any answering function, as one that takes NIP-90 jobs and is paid for them.

Owns which requests are for it, that each is taken up once however often it comes, and beginning and end:
announcing itself, taking up what was left, letting go. A job's own life is `serving`'s.

What it said is on the relays: a provider that was killed reads there which of the stored requests it had
answered, and which quotes may have been paid meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from oa_compile.errors import UsageError
from oa_compile.money import format_msat
from oa_compile.swarm.lightning.bolt11 import InvoiceError, decode
from oa_compile.swarm.lightning.own_invoice import OwnInvoice
from oa_compile.swarm.protocol.event import Event, Keys, verify
from oa_compile.swarm.protocol.nip89 import draft_handler
from oa_compile.swarm.protocol.nip90 import (
    FEEDBACK_KIND,
    JOB_KIND,
    RESULT_KIND,
    Cipher,
    ProtocolError,
    addressed_to,
    job_of,
    read_feedback,
)
from oa_compile.swarm.provider.serving import Served, Serving, Tally
from oa_compile.swarm.provider.terms import Answering, Terms
from oa_compile.swarm.provider.till import Tabs, Till
from oa_compile.swarm.provider.voice import Memory, Voice
from oa_compile.swarm.relays.network import Network, Subscription

_MOST_TASKS = 20_000
"""Jobs and words under way together; beyond it even saying no would only make it worse."""
_BATCH = 100
"""Stored requests looked up at once: what was said to them fits into the 500 events relays return."""


class Provider:
    """A service provider on `network`. `start` and `close` it on the loop the network runs on.

    `answer` is called on up to `concurrency` threads of its own, or on the loop itself if `inline` (for
    answers that take no time). `tabs` is what customers owe; it, the network and the till stay open on
    `close`: they are their maker's. `serves_open` takes jobs that name no provider, too, and turns those
    it does not want down in silence. Requests older than `oldest_seconds` are ignored. `on_served` is told
    how each job ended. `clock` gives Unix seconds.

    Raises UsageError for terms that nothing here can fulfil.
    """

    def __init__(
        self,
        keys: Keys,
        network: Network,
        *,
        answer: Answering,
        terms: Terms,
        till: Till | None = None,
        tabs: Tabs | None = None,
        cipher: Cipher | None = None,
        concurrency: int = 4,
        inline: bool = False,
        serves_open: bool = False,
        says_processing: bool = False,
        announce_seconds: float = 600.0,
        oldest_seconds: float = 120.0,
        on_served: Callable[[Served], None] = lambda _served: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if terms.price_msat and till is None:
            raise UsageError(
                f"a price of {format_msat(terms.price_msat)} needs a till to receive it",
                hint="name a wallet that makes invoices, or set the price to 0",
            )
        self.terms = terms
        self.tally = Tally()
        self._pubkey = keys.public
        self._network = network
        self._encrypts = cipher is not None
        self._serves_open = serves_open
        self._announce_seconds = announce_seconds
        self._oldest_seconds = oldest_seconds
        self._clock = clock
        # A request dated in the future can come for as long again as one of the past.
        self._memory = Memory(seconds=2 * oldest_seconds)
        self._voice = Voice(keys, network, memory=self._memory, cipher=cipher, clock=clock)
        self._pool = None if inline else ThreadPoolExecutor(concurrency, thread_name_prefix="provider")
        self._serving = Serving(
            pubkey=keys.public,
            terms=terms,
            answering=answer,
            pool=self._pool,
            most_working=concurrency + terms.most_waiting,
            says_processing=says_processing,
            voice=self._voice,
            cipher=cipher,
            till=till,
            tabs=Tabs() if tabs is None else tabs,
            tally=self.tally,
            on_served=on_served,
            clock=clock,
        )
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._standing: set[asyncio.Task[Any]] = set()
        self._started = 0
        self._live = False
        self._stored: list[Event] = []
        self._taking_up = False

    async def start(self) -> None:
        """Take jobs from now on, those relays have kept for us too, and announce the terms (NIP-89)."""
        self._started = int(self._clock())
        for bill in self._serving.tabs.bills():
            self._stand(self._serving.see_paid(bill))
        wanted: dict[str, Any] = {"kinds": [JOB_KIND], "since": self._started - int(self._oldest_seconds)}
        if not self._serves_open:
            wanted["#p"] = [self._pubkey]
        self._subscription = await self._network.subscribe([wanted], self._on_event)
        self._live = True
        await self._announce()
        self._stand(self._announce_again())

    async def close(self, *, seconds: float = 5.0) -> None:
        """Take no more jobs, and give those under way at most `seconds` to end. Safe to call twice."""
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None
        for task in self._standing:
            task.cancel()
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while self._tasks and now() < until:  # one that ends may have begun another
            await asyncio.wait(self._tasks, timeout=until - now())
        left = [*self._tasks, *self._standing]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # Receiving

    def _on_event(self, event: Event) -> None:
        if event.kind != JOB_KIND or len(self._tasks) >= _MOST_TASKS:
            return
        if event.id in self._memory:
            self.tally.repeated += 1
            last = self._memory.last(event.id)
            if last is not None:
                self._spawn(self._network.publish(last))
            return
        now = self._clock()
        ours = addressed_to(event, self._pubkey) or (self._serves_open and event.first("p") is None)
        if not ours or not self._timely(event, now) or not verify(event):
            self.tally.ignored += 1
            return
        self._memory.take(event.id, now=now)
        self.tally.jobs += 1
        if self._live and event.created_at >= self._started:
            self._serve_soon(event)
        else:
            self._stored.append(event)
            if not self._taking_up:
                self._taking_up = True
                self._spawn(self._take_up())

    def _timely(self, event: Event, now: float) -> bool:
        if abs(now - event.created_at) > self._oldest_seconds:
            return False
        expires = event.value("expiration")
        return expires is None or not expires.isascii() or not expires.isdigit() or float(expires) > now

    async def _take_up(self) -> None:
        """Requests from before our time: serve those that an earlier life of ours has not answered."""
        try:
            while self._stored:
                batch, self._stored = self._stored[:_BATCH], self._stored[_BATCH:]
                answered = await self._said_before({request.id for request in batch})
                for request in batch:
                    last = answered.get(request.id)
                    if last is None:
                        self._serve_soon(request)
                    else:
                        self._memory.say(request.id, last)
        finally:
            self._taking_up = False

    async def _said_before(self, requests: set[str]) -> dict[str, Event]:
        """Our last words on these requests, as relays have them; our quotes among them are kept."""
        last: dict[str, Event] = {}
        wanted = {
            "kinds": [RESULT_KIND, FEEDBACK_KIND],
            "authors": [self._pubkey],
            "#e": sorted(requests),
        }
        for event in await self._network.fetch([wanted]):
            job = job_of(event)
            if job not in requests or event.pubkey != self._pubkey or not verify(event):
                continue
            if event.kind == RESULT_KIND:
                last[job] = event
            elif event.kind == FEEDBACK_KIND:
                try:
                    feedback = read_feedback(event)
                    if feedback.status == "payment-required":
                        self._serving.quotes[job] = _quoted(feedback.bolt11)
                    elif feedback.status in {"error", "success"}:
                        last.setdefault(job, event)
                except (ProtocolError, InvoiceError):
                    continue  # not a word this version would have said
        return last

    def _serve_soon(self, request: Event) -> None:
        self._spawn(self._serving.serve(request)).add_done_callback(partial(self._on_served, request))

    def _on_served(self, request: Event, task: asyncio.Task[None]) -> None:
        """A bug, ours or the answering function's, ends one job and not the provider; all hear of it."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        message = f"serving the job {request.id} failed"
        task.get_loop().call_exception_handler({"message": message, "exception": error, "task": task})
        self._spawn(self._serving.decline(request, "answering failed: internal"))

    # Its own time

    async def _announce(self) -> None:
        handler = self.terms.announcement(
            self._pubkey, encrypts=self._encrypts, created_at=int(self._clock())
        )
        await self._voice.announce(draft_handler(handler), seconds=2.5 * self._announce_seconds)

    async def _announce_again(self) -> None:
        while True:
            await asyncio.sleep(self._announce_seconds)
            await self._announce()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that `close` waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _stand(self, work: Coroutine[Any, Any, Any]) -> None:
        """A task that ends when `close` says so."""
        task = asyncio.create_task(work)
        self._standing.add(task)
        task.add_done_callback(self._standing.discard)


def _quoted(bolt11: str) -> OwnInvoice:
    """An invoice that an earlier life of ours gave out. Raises InvoiceError."""
    read = decode(bolt11)
    return OwnInvoice(bolt11, read.payment_hash, read.amount_msat or 0, read.expires_at)
