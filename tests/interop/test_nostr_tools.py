"""Our service provider serves a customer on npm's nostr-tools, and what we sign is verified there.

The customer knows nothing of us: it writes the tags that NIP-90 names and reads those of the answer. Its
Lightning wallet is the test's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oa_compile.swarm.protocol.event import Event, Keys, encode_event, verify
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND
from oa_compile.swarm.protocol.nip90 import FEEDBACK_KIND, JOB_KIND, RESULT_KIND
from oa_compile.swarm.provider.terms import Terms
from tests.interop.programs import HERE, Program, program
from tests.interop.swarm import ForeignSwarm
from tests.support.customers import chat
from tests.support.providers import tampered
from tests.support.relays import local_relay, network
from tests.support.swarm import BID, Call, run

pytestmark = pytest.mark.interop

TERMS = {
    "free": Terms(network="regtest"),
    "result-first": Terms(price_msat=BID, network="regtest"),
    "pay-first": Terms(price_msat=BID, order="pay-first", network="regtest"),
}

encrypted_and_plain = pytest.mark.parametrize("how", ["encrypted", "plain"])


@contextlib.asynccontextmanager
async def here() -> AsyncIterator[ForeignSwarm]:
    async with local_relay() as url, ForeignSwarm(relay=url) as swarm:
        yield swarm


async def told(there: Program) -> dict[str, Any]:
    """What a script prints next."""
    value: dict[str, Any] = json.loads((await there.line(r"^\{.*\}$"))[0])
    return value


@encrypted_and_plain
@pytest.mark.parametrize("order", TERMS)
def test_our_provider_serves_its_customer(order: str, how: str, node: Path) -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with here() as swarm, swarm.serving(TERMS[order], keys=keys):
            bid = str(BID) if order == "result-first" else "0"
            command = ["node", HERE / "customer.mjs", swarm.url, keys.public, how, bid]
            async with program(command, cwd=node) as customer:
                await customer.line("^ready$")
                await customer.tell("hello")
                if order == "pay-first":
                    quote = await told(customer)
                    assert quote["verified"]
                    assert (quote["kind"], quote["status"]) == (FEEDBACK_KIND, "payment-required")
                    assert quote["amount"] == str(BID)
                    swarm.lightning.pay(quote["bolt11"])
                result = await told(customer)
                assert result["verified"]
                assert (result["kind"], result["status"]) == (RESULT_KIND, "success")
                assert result["text"] == "you said: hello"
                assert result["encrypted"] == (how == "encrypted")
                assert json.loads(result["request"])["id"] == result["job"]
                assert result.get("amount") == (None if order == "free" else str(BID))
                if order == "result-first":
                    swarm.lightning.pay(result["bolt11"])

    run(test)


def test_many_jobs_of_its_customer_are_each_answered(node: Path) -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with here() as swarm, swarm.serving(TERMS["free"], keys=keys):
            command = ["node", HERE / "customer.mjs", swarm.url, keys.public, "encrypted", "0"]
            async with program(command, cwd=node) as customer:
                await customer.line("^ready$")
                for number in range(20):
                    await customer.tell(f"{number}")
                results = [await told(customer) for _ in range(20)]
                assert {result["text"] for result in results} == {f"you said: {n}" for n in range(20)}
                assert len({result["job"] for result in results}) == 20

    run(test)


@encrypted_and_plain
def test_what_our_customer_and_our_provider_sign_is_verified_there(how: str, node: Path) -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with here() as swarm, swarm.serving(TERMS["pay-first"], keys=keys):
            await Call(await swarm.customer(encrypt=how == "encrypted")).ask(
                chat("naïve “quotes” \\ 🦀\n\ttab")
            )
            async with network(swarm.url) as relays:
                events = await relays.fetch([{"kinds": [JOB_KIND, FEEDBACK_KIND, RESULT_KIND, HANDLER_KIND]}])
        (job,) = [event for event in events if event.kind == JOB_KIND]
        assert sorted(event.kind for event in events) == [JOB_KIND, RESULT_KIND, FEEDBACK_KIND, HANDLER_KIND]
        async with program(["node", HERE / "verifier.mjs", keys.secret_hex], cwd=node) as verifier:

            async def verdict(event: Event) -> dict[str, Any]:
                await verifier.tell(encode_event(event).decode())
                return await told(verifier)

            for event in events:
                assert (await verdict(event))["verified"] is verify(event) is True
            tags = json.loads((await verdict(job))["text"]) if how == "encrypted" else job.tags
            assert ["i", "naïve “quotes” \\ 🦀\n\ttab", "text"] in tags
            for forged in (
                tampered(job, content="x"),
                tampered(job, created_at=job.created_at + 1),
                tampered(job, pubkey=Keys.generate().public),
            ):
                assert (await verdict(forged))["verified"] is verify(forged) is False

    run(test)
