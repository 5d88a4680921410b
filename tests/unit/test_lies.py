"""The lies that customers are tested with: each is told, and one that can be seen in time is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from oa_compile.swarm.lightning.invoice import InvoiceRefused, check_invoice
from oa_compile.swarm.protocol.event import Event, Keys, verify
from oa_compile.swarm.protocol.nip90 import (
    RESULT_KIND,
    Job,
    ProtocolError,
    draft_job,
    read_feedback,
    read_result,
)
from tests.support.customers import chat
from tests.support.lies import LIES, NEVER_PAID
from tests.support.lightning import Lightning
from tests.support.memory_network import MemoryNetwork
from tests.support.providers import ScriptedProvider

BID = 10


@dataclass
class Careful:
    """A customer that pays for the first sound event of a job, and for no invoice twice."""

    provider: str
    lightning: Lightning
    request: Event | None = None
    heard: int = 0
    paid: set[str] = field(default_factory=set)

    def on_event(self, event: Event) -> None:
        request = self.request
        if request is None or event is request:
            return
        self.heard += 1
        bound = event.first("e") == ["e", request.id] and event.first("p") == ["p", request.pubkey]
        if not bound or event.pubkey != self.provider or not verify(event):
            return
        try:
            word = read_result(event) if event.kind == RESULT_KIND else read_feedback(event)
            if word.amount_msat is None or word.amount_msat > BID:
                return
            invoice = check_invoice(
                word.bolt11, expected_msat=word.amount_msat, network="regtest", now=time.time()
            )
        except (ProtocolError, InvoiceRefused):
            return
        if invoice.payment_hash not in self.paid:
            self.paid.add(invoice.payment_hash)
            self.lightning.pay(word.bolt11)
            self.request = None


async def quiet() -> None:
    """Until nothing happens any more; there is no thread and no socket here."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_is_told_and_a_careful_customer_sees_it(lie: str) -> None:
    async def main() -> None:
        lightning, network, keys, customer = Lightning(), MemoryNetwork(), Keys.generate(), Keys.generate()
        careful = Careful(keys.public, lightning)
        await network.subscribe([{}], careful.on_event)
        async with ScriptedProvider(keys, network, LIES[lie](), till=lightning.till()) as provider:
            for number in range(2):
                job = Job(chat(f"{number}"), provider=keys.public, bid_msat=BID)
                careful.request = customer.sign(draft_job(job))
                await network.publish(careful.request)
                await quiet()
                assert len(provider.asked) == number + 1
        assert (careful.heard == 0) == (lie == "silent")
        assert (careful.paid == set()) == (lie in NEVER_PAID)
        assert all(times == 1 for times in lightning.paid.values())

    asyncio.run(main())


def test_what_is_never_paid_is_a_lie() -> None:
    assert set(LIES) > NEVER_PAID
