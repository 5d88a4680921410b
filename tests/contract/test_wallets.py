"""One suite for every wallet: pays once, proves it, and takes nothing for an end that is none."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from oa_compile.swarm.lightning.bolt11 import Invoice
from oa_compile.swarm.lightning.wallet import Payment, PaymentAlarm, WalletError
from tests.support.lightningd import Nodes, lightning_nodes
from tests.support.wallets import FUNDS, LedgerRig, Rig, cln_rig, lightningd_rig, nwc_rig

RIGS: dict[str, Callable[[Any], contextlib.AbstractAsyncContextManager[Rig]]] = {
    "cln": cln_rig,
    "nwc": nwc_rig,
    "lightningd": lightningd_rig,
}

Play = Callable[..., None]


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    with lightning_nodes() as nodes:
        yield nodes


# The nodes take half a minute to start: one worker has them, and all tests of them.
@pytest.fixture(
    params=["cln", "nwc", pytest.param("lightningd", marks=pytest.mark.xdist_group("lightningd"))]
)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a coroutine function with a rig; skips it where the rig cannot arrange what is `needed`."""

    place = request.getfixturevalue("nodes") if request.param == "lightningd" else tmp_path

    def run(body: Callable[[LedgerRig], Awaitable[None]], *needed: str) -> None:
        async def go() -> None:
            async with RIGS[request.param](place) as rig:
                if missing := set(needed) - rig.abilities:
                    pytest.skip(f"cannot be arranged with {request.param}: {', '.join(sorted(missing))}")
                await body(cast(LedgerRig, rig))

        asyncio.run(go())

    return run


async def pay(rig: Rig, invoice: Invoice, *, fee: int = 1000, seconds: float = 20) -> Payment:
    return await rig.wallet.pay(
        invoice.bolt11, payment_hash=invoice.payment_hash, max_fee_msat=fee, seconds=seconds
    )


def proves(payment: Payment) -> bool:
    return hashlib.sha256(bytes.fromhex(payment.preimage)).hexdigest() == payment.payment_hash


def test_a_payment_is_proven_and_arrives(play: Play) -> None:
    async def body(rig: Rig) -> None:
        invoice = await rig.invoice(12_345)
        payment = await pay(rig, invoice)
        assert payment.payment_hash == invoice.payment_hash
        assert (payment.status, payment.repeated) == ("complete", False)
        assert proves(payment)
        assert 12_345 <= payment.sent_msat <= 13_345
        assert await rig.received(invoice) == 12_345

    play(body)


def test_the_balance_falls_by_what_was_sent(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.ledger.fee_msat = 7
        before = await rig.wallet.balance_msat()
        payment = await pay(rig, await rig.invoice(1_000))
        after = await rig.wallet.balance_msat()
        assert before is not None
        assert after is not None
        assert before - after == payment.sent_msat == 1_007

    play(body, "fees")


def test_paying_twice_pays_once(play: Play) -> None:
    async def body(rig: Rig) -> None:
        invoice = await rig.invoice(1_000)
        first = await pay(rig, invoice)
        before = await rig.wallet.balance_msat()
        second = await pay(rig, invoice)
        assert (second.status, second.repeated) == ("complete", True)
        assert (second.preimage, second.sent_msat) == (first.preimage, first.sent_msat)
        assert await rig.wallet.balance_msat() == before

    play(body)


def test_paying_twice_at_once_pays_once(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        invoice = await rig.invoice(1_000)
        payments = await asyncio.gather(*(pay(rig, invoice) for _ in range(4)))
        assert {payment.status for payment in payments} == {"complete"}
        assert sorted(payment.repeated for payment in payments) == [False, True, True, True]
        assert rig.ledger.nodes["alice"].balance_msat == FUNDS - 1_000

    play(body, "faults")


def test_many_are_paid_at_once(play: Play) -> None:
    async def body(rig: Rig) -> None:
        invoices = [await rig.invoice(1_000 + n) for n in range(24)]
        payments = await asyncio.gather(*(pay(rig, invoice) for invoice in invoices))
        assert all(payment.status == "complete" and proves(payment) for payment in payments)
        assert [payment.payment_hash for payment in payments] == [one.payment_hash for one in invoices]
        assert [await rig.received(invoice) for invoice in invoices] == list(range(1_000, 1_024))

    play(body)


def test_a_complete_payment_is_found_again(play: Play) -> None:
    async def body(rig: Rig) -> None:
        invoice = await rig.invoice(1_000)
        paid = await pay(rig, invoice)
        found = await rig.wallet.look_up(invoice.payment_hash)
        assert (found.status, found.sent_msat, found.preimage) == ("complete", paid.sent_msat, paid.preimage)

    play(body)


def test_an_unknown_hash_is_unknown(play: Play) -> None:
    async def body(rig: Rig) -> None:
        invoice = await rig.invoice(1_000)
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "unknown"

    play(body)


def test_an_expired_invoice_is_not_paid(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        invoice = await rig.invoice(1_000, expiry=60, age=120)
        payment = await pay(rig, invoice)
        assert payment.status == "failed"
        assert "expired" in payment.reason.lower()
        assert await rig.wallet.balance_msat() == FUNDS

    play(body, "ages")


def test_what_failed_stays_failed(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        invoice = await rig.invoice(FUNDS + 1)
        payment = await pay(rig, invoice)
        assert payment.status == "failed"
        assert payment.reason
        assert (await rig.wallet.look_up(invoice.payment_hash)).status in {"failed", "unknown"}
        assert await rig.wallet.balance_msat() == FUNDS

    play(body, "poor")


def test_what_failed_can_be_paid_later(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        invoice = await rig.invoice(1_000)
        rig.ledger.fee_msat = FUNDS
        assert (await pay(rig, invoice, fee=0)).status == "failed"
        rig.ledger.fee_msat = 0
        payment = await pay(rig, invoice, fee=0)
        assert (payment.status, payment.sent_msat, payment.repeated) == ("complete", 1_000, False)
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "complete"

    play(body, "fees")


def test_fees_are_bounded_where_the_wallet_says_so_and_told_everywhere(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.ledger.fee_msat = 11
        payment = await pay(rig, await rig.invoice(1_000), fee=10)
        if rig.wallet.bounds_fees:
            assert payment.status == "failed"
            assert await rig.wallet.balance_msat() == FUNDS
        else:
            assert (payment.status, payment.sent_msat) == ("complete", 1_011)
        assert (await pay(rig, await rig.invoice(1_000), fee=11)).sent_msat == 1_011

    play(body, "fees")


def test_a_held_payment_is_pending_until_it_ends(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.ledger.frozen.add("bob")
        through, back = await rig.invoice(1_000), await rig.invoice(2_000)
        for invoice in (through, back):
            assert (await pay(rig, invoice, seconds=0.3)).status == "pending"
            assert (await rig.wallet.look_up(invoice.payment_hash)).status == "pending"
        rig.ledger.thaw("bob")
        assert (await rig.wallet.look_up(through.payment_hash)).status == "complete"
        assert await rig.wallet.balance_msat() == FUNDS - 3_000

    play(body, "frozen")


def test_a_held_payment_that_comes_back_has_failed(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.ledger.frozen.add("bob")
        invoice = await rig.invoice(1_000)
        paying = asyncio.create_task(pay(rig, invoice))
        while not rig.ledger.nodes["alice"].pays.get(invoice.payment_hash):
            await asyncio.sleep(0)
        rig.ledger.thaw("bob", settle=False)
        assert (await paying).status == "failed"
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "failed"
        assert await rig.wallet.balance_msat() == FUNDS

    play(body, "frozen")


def test_asking_again_for_a_held_payment_sends_nothing_more(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.ledger.frozen.add("bob")
        invoice = await rig.invoice(1_000)
        assert (await pay(rig, invoice, seconds=0.3)).status == "pending"
        again = asyncio.create_task(pay(rig, invoice))
        rig.ledger.thaw("bob")
        payment = await again
        assert (payment.status, payment.repeated) == ("complete", True)
        assert len(rig.ledger.nodes["alice"].pays[invoice.payment_hash]) == 1

    play(body, "frozen")


def test_a_payment_whose_answer_is_lost_is_found(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.mute()
        invoice = await rig.invoice(1_000)
        payment = await pay(rig, invoice, seconds=0.5)
        assert (payment.status, payment.sent_msat) == ("complete", 1_000)
        assert proves(payment)

    play(body, "faults")


def test_a_false_proof_is_an_alarm(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.lie()
        invoice = await rig.invoice(1_000)
        with pytest.raises(PaymentAlarm, match=invoice.payment_hash):
            await pay(rig, invoice)
        with pytest.raises(PaymentAlarm, match=invoice.payment_hash):
            await rig.wallet.look_up(invoice.payment_hash)

    play(body, "faults")


def test_a_wallet_that_is_gone_cannot_be_asked(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        invoice = await rig.invoice(1_000)
        await rig.break_off()
        with pytest.raises(WalletError) as caught:
            await rig.wallet.look_up(invoice.payment_hash, seconds=0.3)
        assert caught.value.hint
        assert await rig.received(invoice) == 0

    play(body, "faults")


def test_closing_twice_is_closing(play: Play) -> None:
    async def body(rig: Rig) -> None:
        await pay(rig, await rig.invoice(1_000))
        await rig.wallet.close()
        await rig.wallet.close()

    play(body)


def test_closing_waits_for_nothing_that_hangs(play: Play) -> None:
    async def body(rig: LedgerRig) -> None:
        rig.ledger.frozen.add("bob")
        assert (await pay(rig, await rig.invoice(1_000), seconds=0.3)).status == "pending"
        async with asyncio.timeout(10):
            await rig.wallet.close()

    play(body, "frozen")
