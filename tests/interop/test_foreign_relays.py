"""Relays that are not ours carry our jobs, as they are: what they drop, ignore or refuse, we survive.

Seen in them, and asserted here where it matters: nostr-relay 1.14 answers what it refuses, forged or too
large, with an OK that names no event, and is seconds slower on that connection from then on.
@nostr-relay/core 0.0.40 brings live events to everybody, whatever tags their filters name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from oa_compile.swarm.customer.attempt import JobFault
from oa_compile.swarm.protocol.event import Event, Keys
from oa_compile.swarm.protocol.nip90 import JOB_KIND
from oa_compile.swarm.provider.terms import Terms
from oa_compile.swarm.relays.network import Filter, Network, Published, Subscription
from tests.interop.relays import node_relay, python_relay
from tests.interop.swarm import ForeignSwarm, ask_at_once
from tests.support.customers import chat
from tests.support.providers import tampered
from tests.support.relays import job, network, until
from tests.support.swarm import BID, Call, run

pytestmark = pytest.mark.interop

JOBS = 20
"""In flight at once."""

Opening = Callable[[], AbstractAsyncContextManager[str]]


@pytest.fixture(params=["nostr-relay", "@nostr-relay/core"])
def relay(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Starts the relay of that name."""
    if request.param == "nostr-relay":
        environment = request.getfixturevalue("nostr_relay")
        return lambda: python_relay(environment, tmp_path)
    environment = request.getfixturevalue("node")
    return lambda: node_relay(environment)


@contextlib.asynccontextmanager
async def swarm_on(relay: Opening) -> AsyncIterator[ForeignSwarm]:
    async with relay() as url, ForeignSwarm(relay=url) as swarm:
        yield swarm


@pytest.mark.parametrize("encrypt", [True, False], ids=["encrypted", "plain"])
@pytest.mark.parametrize("order", ["free", "result-first", "pay-first"])
def test_jobs_in_flight_together_are_answered_and_paid_once_each(
    relay: Opening, order: str, encrypt: bool
) -> None:
    terms = {
        "free": Terms(network="regtest"),
        "result-first": Terms(price_msat=BID, network="regtest"),
        "pay-first": Terms(price_msat=BID, order="pay-first", network="regtest"),
    }[order]

    async def test() -> None:
        async with swarm_on(relay) as swarm, swarm.serving(terms) as provider:
            customer = await swarm.customer(encrypt=encrypt, deadline=20.0, attempts=1)
            calls = await ask_at_once(customer, JOBS)
            assert all(call.outcomes == ["answered"] for call in calls)
            assert {receipt.order for call in calls for receipt in call.receipts} == {order}
            hashes = [receipt.payment_hash for call in calls for receipt in call.receipts]
            paid = [] if order == "free" else hashes
            assert swarm.lightning.paid == dict.fromkeys(paid, 1)
            assert len(swarm.lightning.paid) == (0 if order == "free" else JOBS)
            assert sum(call.paid_msat for call in calls) == len(swarm.lightning.paid) * BID
            await provider.close()  # it hears from the relay after the customer has its answer
            assert (provider.tally.jobs, provider.tally.answered) == (JOBS, JOBS)

    run(test)


def test_what_another_swarm_on_the_same_relay_says_is_nothing_to_us(relay: Opening) -> None:
    """The relay that ignores `#p` brings each of them everything."""

    terms = Terms(price_msat=BID, network="regtest")
    keys = [Keys.generate(), Keys.generate()]

    async def test() -> None:
        async with (
            swarm_on(relay) as swarm,
            swarm.serving(terms, keys=keys[0]) as one,
            swarm.serving(terms, keys=keys[1]) as other,
        ):
            customers = [
                await swarm.customer(providers=frozenset({own.public}), attempts=1, deadline=20.0)
                for own in keys
            ]
            await asyncio.gather(*(ask_at_once(customer, JOBS) for customer in customers))
            for provider in (one, other):
                await provider.close()
                assert (provider.tally.jobs, provider.tally.answered) == (JOBS, JOBS)
            assert list(swarm.lightning.paid.values()) == [1] * (2 * JOBS)

    run(test)


def test_a_relay_that_ignores_filters_is_filtered_here(node: Path) -> None:
    """If it one day keeps to `#p`, this waits in vain, and the words above about it are wrong."""

    async def test() -> None:
        async with node_relay(node) as url, ForeignSwarm(relay=url) as swarm, swarm.serving(Terms()):
            mine = await swarm.customer(attempts=1)
            others = await swarm.customer(attempts=1)
            await ask_at_once(mine, 3)
            await until(lambda: others.passed_over["job"] == 3)

    run(test)


@dataclass(eq=False, slots=True)
class Patient:
    """A network that publishes by way of another, which waits longer for a relay's word."""

    own: Network
    patient: Network

    async def publish(self, event: Event) -> Published:
        return await self.patient.publish(event)

    async def subscribe(self, filters: Sequence[Filter], on_event: Callable[[Event], None]) -> Subscription:
        return await self.own.subscribe(filters, on_event)

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        return await self.own.fetch(filters, seconds=seconds)

    async def close(self) -> None:
        await self.own.close()


def test_a_job_that_is_refused_without_a_name_fails_with_the_relays_reason(
    nostr_relay: Path, tmp_path: Path
) -> None:
    """nostr-relay takes 4,096 characters of content. It says no to more after two seconds, and every word of
    that connection waits as long from then on.
    """

    async def test() -> None:
        async with (
            python_relay(nostr_relay, tmp_path) as url,
            network(url, resend_seconds=5.0, sends=1) as patient,
            ForeignSwarm(relay=url) as swarm,
            swarm.serving(Terms()) as provider,
        ):
            customer = await swarm.customer(attempts=1, deadline=20.0, wrap=lambda own: Patient(own, patient))
            call = Call(customer)
            with pytest.raises(JobFault, match="280 characters") as refused:
                await call.ask(chat("x" * 5_000))
            assert refused.value.kind == "transport"
            assert call.outcomes == ["failed"]
            assert provider.tally.jobs == 0
            assert (await Call(customer).ask(chat("shorter"))).text == "you said: shorter"

    run(test)


def test_a_forged_event_is_not_kept(relay: Opening) -> None:
    async def test() -> None:
        async with relay() as url, network(url) as forger, network(url) as sender:
            keys = Keys.generate()
            published = await forger.publish(tampered(job(keys, "a question"), content="another"))
            assert published.accepted == ()
            honest = job(keys, "the question")
            assert (await sender.publish(honest)).accepted == (url,)
            assert await sender.fetch([{"kinds": [JOB_KIND], "authors": [keys.public]}]) == [honest]

    run(test)


def test_a_forgery_that_came_first_blocks_the_event_it_forges(node: Path) -> None:
    """@nostr-relay/core remembers for ten minutes what it said of an id. We are told so, and not fooled."""

    async def test() -> None:
        async with node_relay(node) as url, network(url) as sender:
            honest = job(Keys.generate(), "the question")
            await sender.publish(tampered(honest, content="another"))
            published = await sender.publish(honest)
            assert (published.accepted, set(published.refused)) == ((), {url})

    run(test)
