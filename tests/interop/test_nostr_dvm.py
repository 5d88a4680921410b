"""A service provider of the nostr-dvm package serves our customer, who treats it as any other.

Seen in 1.1.8, and asserted here where it matters: on an encrypted job its feedback is encrypted whole, status
and invoice too; it never sees the bid of one. It asks for payment first, in whole sats, and cannot read an
invoice of regtest (it dies of the first that is paid). A bid below its price it passes over in silence. On a
plain job it repeats prompt and request in its result, so that a long prompt makes one that relays refuse.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oa_compile.swarm.customer.attempt import JobFault
from oa_compile.swarm.customer.customer import Customer
from oa_compile.swarm.customer.payment import Payments
from oa_compile.swarm.protocol.event import verify
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND, read_handler
from tests.interop.lnbits import lnbits
from tests.interop.programs import HERE, program
from tests.interop.swarm import ForeignSwarm
from tests.support.customers import chat
from tests.support.lightning import Lightning
from tests.support.relays import local_relay, network
from tests.support.swarm import Call, run

pytestmark = pytest.mark.interop

SAT = 1_000
NETWORK = "testnet"
"""Of the invoices: nostr-dvm reads none of regtest."""

encrypted_and_plain = pytest.mark.parametrize("encrypt", [True, False], ids=["encrypted", "plain"])


@contextlib.asynccontextmanager
async def serving(environment: Path, folder: Path, *, sats: int = 0) -> AsyncIterator[ForeignSwarm]:
    """A relay, and a nostr-dvm provider there that takes jobs at that price."""
    lightning = Lightning(network=NETWORK)
    async with (
        local_relay() as url,
        ForeignSwarm(lightning=lightning, relay=url) as swarm,
        lnbits(lightning.till()) as wallet,
    ):
        command = [environment / "bin" / "python", "-u", HERE / "dvm_provider.py"]
        async with program([*command, url, str(sats), wallet], cwd=folder) as provider:
            await provider.line("^listens$")
            yield swarm


async def asking(
    swarm: ForeignSwarm, *, encrypt: bool, bid_msat: int = 2 * SAT, deadline: float = 15.0
) -> Customer:
    customer = await swarm.customer(encrypt=encrypt, bid_msat=bid_msat, deadline=deadline, attempts=1)
    customer.payments = Payments(
        swarm.lightning.wallet(), network=NETWORK, max_fee_msat=5, seconds=5.0, offload=customer.offload
    )
    return customer


@encrypted_and_plain
def test_it_answers_our_jobs(encrypt: bool, dvm: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(dvm, tmp_path) as swarm:
            customer = await asking(swarm, encrypt=encrypt)
            calls = [Call(customer) for _ in range(5)]
            asked = [call.ask(chat(f"be loud\nhello {n}")) for n, call in enumerate(calls)]
            texts = [answer.text for answer in await asyncio.gather(*asked)]
            assert texts == [f"HELLO {n}!" for n in range(5)]
            assert {receipt.order for call in calls for receipt in call.receipts} == {"free"}
            assert customer.passed_over == {}

    run(test)


@encrypted_and_plain
def test_it_is_paid_before_it_works(encrypt: bool, dvm: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(dvm, tmp_path, sats=1) as swarm:
            call = Call(await asking(swarm, encrypt=encrypt))
            assert (await call.ask(chat("hello"))).text == "HELLO!"
            (receipt,) = call.receipts
            assert (receipt.order, receipt.price_msat, receipt.paid_msat) == ("pay-first", SAT, SAT)
            assert swarm.lightning.paid == {receipt.payment_hash: 1}

    run(test)


def test_the_market_reads_its_announcement(dvm: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(dvm, tmp_path) as swarm:
            customer = await asking(swarm, encrypt=True)
            (row,) = customer.market.explain()
            assert (row.name, row.price_msat, row.why_not) == ("Shouting", None, "")
            async with network(swarm.url) as relays:
                (event,) = await relays.fetch([{"kinds": [HANDLER_KIND]}])
            assert verify(event)
            handler = read_handler(event)
            assert (handler.about, handler.models, handler.encrypts) == ("Says it louder", ("loud",), True)

    run(test)


@encrypted_and_plain
def test_its_failure_ends_the_attempt_at_once(encrypt: bool, dvm: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(dvm, tmp_path) as swarm:
            call = Call(await asking(swarm, encrypt=encrypt))
            with pytest.raises(JobFault) as failed:
                await call.ask(chat("fail"))
            assert failed.value.kind == "server"
            assert call.outcomes == ["failed"]

    run(test)


def test_a_price_above_the_bid_is_not_paid(dvm: Path, tmp_path: Path) -> None:
    """Plain, it says nothing; encrypted, it knows no bid and quotes what is refused here."""

    async def test() -> None:
        async with serving(dvm, tmp_path, sats=3) as swarm:
            silent = Call(await asking(swarm, encrypt=False, deadline=1.0))
            with pytest.raises(JobFault, match="did not answer"):
                await silent.ask()
            dear = Call(await asking(swarm, encrypt=True))
            with pytest.raises(JobFault, match="asks 3000 msat, the bid is 2000"):
                await dear.ask()
            assert swarm.lightning.paid == {}

    run(test)


def test_a_result_too_large_for_the_relay_ends_at_the_deadline(dvm: Path, tmp_path: Path) -> None:
    """Encrypted, the same prompt is answered: nothing of it is repeated."""
    long = chat("x" * 40_000 + "\nhello")

    async def test() -> None:
        async with serving(dvm, tmp_path) as swarm:
            lost = Call(await asking(swarm, encrypt=False, deadline=2.0))
            with pytest.raises(JobFault, match="did not answer"):
                await lost.ask(long)
            call = Call(await asking(swarm, encrypt=True))
            assert (await call.ask(long)).text == "HELLO!"

    run(test)
