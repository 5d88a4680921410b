"""Service providers that a test scripts: all that a provider can do about a job, honestly or not.

A *script* says what becomes of one job: an async function of an `Asked`, which holds the job and can do
all that a provider could do, honestly or not. ::

    async def greedy(asked: Asked) -> None:
        invoice = await asked.bill(2 * asked.bid)              # a real one, from the till
        await asked.result("yes", amount_msat=asked.bid, bolt11=invoice.bolt11)

    async with ScriptedProvider(keys, network, greedy, till=lightning.till()) as provider:
        …                                                      # the customer under test asks
        await provider.asked_for(2)                            # two jobs have come

A script that fails, fails the test when the block ends. Ready-made ones that lie are in tests.support.lies.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from oa_compile.chat import ChatAnswer, Usage
from oa_compile.swarm.lightning.bolt11 import Invoice, NodeKey, decode, encode
from oa_compile.swarm.protocol.event import Draft, Event, Keys, verify
from oa_compile.swarm.protocol.nip90 import (
    JOB_KIND,
    Cipher,
    Feedback,
    Job,
    Result,
    Status,
    draft_feedback,
    draft_result,
    read_job,
)
from oa_compile.swarm.provider.till import Till
from oa_compile.swarm.relays.network import Network
from tests.support.lightning import Lightning, MemoryTill

Script = Callable[["Asked"], Awaitable[None]]


def answer(text: str) -> ChatAnswer:
    """An answer as an honest provider gives it."""
    return ChatAnswer(text=text, usage=Usage(input_tokens=7, output_tokens=3), model="scripted")


def edited(event: Draft, *, kind: int | None = None, **tags: str | None) -> Draft:
    """A draft with another kind, or another first value of tags by name; None drops the tag."""
    changed = []
    for name, *rest in event.tags:
        if name not in tags:
            changed.append([name, *rest])
        elif (value := tags[name]) is not None:
            changed.append([name, value, *rest[1:]])
    return Draft(event.kind if kind is None else kind, changed, event.content)


def tampered(event: Event, **fields: Any) -> Event:
    """The event with other fields under the old id and signature."""
    return msgspec.structs.replace(event, **fields)


@dataclass(eq=False, slots=True)
class Asked:
    """One job, and what its provider can do about it."""

    event: Event
    job: Job
    provider: ScriptedProvider

    @property
    def bid(self) -> int:
        """The customer's bid: the honest price here."""
        return self.job.bid_msat

    @property
    def keys(self) -> Keys:
        """The provider's."""
        return self.provider.keys

    @property
    def network(self) -> Network:
        """The provider's."""
        return self.provider.network

    # Invoices

    async def bill(self, msat: int | None = None) -> Invoice:
        """A sound invoice of the till's, over the bid if nothing else is said."""
        made = await self.provider.own_till.invoice(
            self.bid if msat is None else msat,
            label=secrets.token_hex(16),
            description=f"NIP-90 job {self.event.id}",
            expiry_seconds=600,
        )
        return decode(made.bolt11)

    def forge(self, msat: int | None, **fields: Any) -> Invoice:
        """An invoice with any field of bolt11.encode's as one likes: `network`, `created_at`,
        `expiry_seconds`, `payment_hash`, `payment_secret` …; payable with a till of tests.support.lightning.
        """
        till = self.provider.till
        mint = till.lightning if isinstance(till, MemoryTill) else Lightning()
        honest: dict[str, Any] = {
            "payment_secret": secrets.token_hex(32),
            "network": mint.network,
            "created_at": int(time.time()),
            "description": f"NIP-90 job {self.event.id}",
        }
        if "payment_hash" not in fields:
            honest["payment_hash"] = mint.secret()
        return encode(self.provider.node, amount_msat=msat, **(honest | fields))

    async def paid(self, invoice: Invoice, *, seconds: float = 20.0) -> bool:
        """Whether the till sees it paid in time."""
        return await self.provider.own_till.wait_paid(invoice.payment_hash, seconds=seconds)

    # Words

    def draft_result(
        self, text: str = "yes", *, amount_msat: int | None = None, bolt11: str = "", tab: bool = False
    ) -> Draft:
        """A right result, encrypted if the job is; `edited` makes it a wrong one."""
        result = Result(self.event.id, answer(text), amount_msat, bolt11, tab)
        return draft_result(self.event, result, cipher=self.provider.cipher)

    def draft_feedback(
        self, status: Status, message: str = "", *, amount_msat: int | None = None, bolt11: str = ""
    ) -> Draft:
        """Right feedback."""
        return draft_feedback(self.event, Feedback(self.event.id, status, message, amount_msat, bolt11))

    def sign(self, draft: Draft, **options: Any) -> Event:
        """The draft as the provider's event."""
        return self.keys.sign(draft, **options)

    async def send(self, event: Event | Draft) -> Event:
        """Publish an event, or a draft as the provider's."""
        signed = self.sign(event) if isinstance(event, Draft) else event
        await self.network.publish(signed)
        return signed

    async def result(self, text: str = "yes", **what: Any) -> Event:
        """Publish a right result."""
        return await self.send(self.draft_result(text, **what))

    async def feedback(self, status: Status, message: str = "", **what: Any) -> Event:
        """Publish right feedback."""
        return await self.send(self.draft_feedback(status, message, **what))

    async def quote(self, invoice: Invoice, *, msat: int | None = None) -> Event:
        """Ask for payment of an invoice; the amount beside it is the bid if nothing else is said."""
        return await self.feedback(
            "payment-required", amount_msat=self.bid if msat is None else msat, bolt11=invoice.bolt11
        )


@dataclass(eq=False, slots=True)
class ScriptedProvider:
    """Runs `script` for each distinct request addressed to `keys`, while the block runs."""

    keys: Keys
    network: Network
    script: Script
    till: Till | None = None
    cipher: Cipher | None = None
    node: NodeKey = field(default_factory=lambda: NodeKey(secrets.token_bytes(32)))
    """What forged invoices are signed with."""
    asked: list[Asked] = field(default_factory=list)
    """The jobs that came, in order."""
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _subscription: Any = None

    @property
    def own_till(self) -> Till:
        """The till, which the script has need of."""
        assert self.till is not None, "this script makes invoices: give the provider a till"
        return self.till

    async def asked_for(self, jobs: int) -> list[Asked]:
        """Wait until so many jobs have come."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.asked) >= jobs)
        return self.asked[:jobs]

    async def idle(self) -> None:
        """Wait until the scripts of all jobs that came have ended. Raises what one of them raised."""
        await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Self:
        wanted = {"kinds": [JOB_KIND], "#p": [self.keys.public]}
        self._subscription = await self.network.subscribe([wanted], self._on_event)
        return self

    async def __aexit__(self, kind: Any, *_rest: object) -> None:
        await self._subscription.close()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        failures = [e for e in ended if isinstance(e, Exception)]
        if failures and kind is None:
            raise failures[0]

    def _on_event(self, event: Event) -> None:
        if verify(event) and all(event.id != one.event.id for one in self.asked):
            self._tasks.append(asyncio.create_task(self._play(event)))

    async def _play(self, event: Event) -> None:
        asked = Asked(event, read_job(event, cipher=self.cipher), self)
        self.asked.append(asked)
        async with self._came:
            self._came.notify_all()
        await self.script(asked)


# Honest scripts


async def free(asked: Asked) -> None:
    """Asks for nothing."""
    await asked.result()


async def result_first(asked: Asked) -> None:
    """The answer, and its invoice."""
    invoice = await asked.bill()
    await asked.result(amount_msat=asked.bid, bolt11=invoice.bolt11)


async def pay_first(asked: Asked) -> None:
    """The invoice, and the answer when it is paid."""
    invoice = await asked.bill()
    await asked.quote(invoice)
    if await asked.paid(invoice):
        await asked.result(amount_msat=asked.bid)
