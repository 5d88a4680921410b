"""What a customer must survive: one test a row. Each speaks over a real relay on loopback with a provider,
a relay (through a proxy) or a wallet that misbehaves. Money is counted where it goes, not where it is told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from oa_compile.swarm.customer.attempt import JobFault
from oa_compile.swarm.lightning.wallet import Payment, PaymentAlarm, WalletError
from oa_compile.swarm.protocol.event import Draft, Keys
from oa_compile.swarm.protocol.nip90 import FEEDBACK_KIND, JOB_KIND, RESULT_KIND
from oa_compile.swarm.receipt import Receipt
from tests.support.customers import chat
from tests.support.lies import LIES, NEVER_PAID, copies
from tests.support.lightning import Lightning, MemoryWallet
from tests.support.providers import Asked, pay_first, result_first
from tests.support.relay_proxy import drop, duplicate, hold, ignore_filters, refuse, tamper
from tests.support.relays import plain, result, until
from tests.support.swarm import BID, Call, Swarm, run

CHEAP = 10
SOON = 0.15
"""Seconds after which a second provider is asked beside a silent one."""


async def settled(call: Call) -> None:
    """Wait until every attempt has ended."""
    for seat in call.seats:
        await seat.ended.wait()


def by(call: Call, pubkey: str) -> Receipt:
    """The receipt of the attempt with that provider."""
    return next(receipt for receipt in call.receipts if receipt.provider == pubkey)


def check_money(swarm: Swarm, call: Call) -> None:
    """No payment hash was paid twice, and receipts say what was paid."""
    paid = swarm.lightning.paid
    assert all(times == 1 for times in paid.values())
    assert {receipt.payment_hash for receipt in call.receipts if receipt.paid_msat} == set(paid)
    intents = [intent.payment_hash for seat in call.seats for intent in seat.intents]
    assert set(paid) <= set(intents)
    assert len(intents) == len(set(intents))


# ---- what a provider says: forged, foreign, wrong in price or invoice, or nothing at all ----------


@pytest.mark.parametrize("lie", sorted(NEVER_PAID))
def test_a_provider_that_lies_before_it_is_paid_is_never_paid_and_never_believed(lie: str) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            liar = await swarm.provider(LIES[lie](), price=CHEAP)
            honest = await swarm.provider(result_first)
            customer = await swarm.customer(hedge_after=SOON, deadline=20.0)
            call = Call(customer)
            await call.ask()
            await settled(call)
            assert [asked.job.provider for asked in liar.asked] == [liar.keys.public]
            assert by(call, liar.keys.public).paid_msat == 0
            assert by(call, honest.keys.public).paid_msat == BID
            assert call.outcomes == ["failed", "answered"]
            check_money(swarm, call)

    run(test)


@pytest.mark.parametrize("lie", ["reused invoice", "reused payment hash"])
def test_a_payment_hash_seen_before_is_refused_in_this_job_and_in_any_later_one(lie: str) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(LIES[lie](), price=CHEAP)
            customer = await swarm.customer(attempts=1)
            first, second = Call(customer), Call(customer)
            await first.ask()
            with pytest.raises(JobFault, match="seen before"):
                await second.ask()
            assert second.paid_msat == 0
            assert len(swarm.lightning.paid) == 1

    run(test)


def test_a_payment_hash_of_an_earlier_run_is_refused() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            script = LIES["reused invoice"]()
            await swarm.provider(script, price=CHEAP)
            before = Call(await swarm.customer(attempts=1))
            await before.ask()
            hashes = [intent.payment_hash for intent in before.seats[0].intents]
            call = Call(await swarm.customer(attempts=1, seen=hashes))
            with pytest.raises(JobFault, match="seen before"):
                await call.ask()
            assert call.seats[0].intents == []

    run(test)


class Remembers(MemoryWallet):
    """A wallet that was used by a run whose journal is gone."""

    async def pay(self, bolt11: str, **what: Any) -> Payment:
        paid = await super().pay(bolt11, **what)
        return Payment(paid.payment_hash, "complete", paid.sent_msat, paid.preimage, repeated=True)


def test_an_invoice_that_the_wallet_has_paid_before_buys_nothing() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(result_first)
            call = Call(await swarm.customer(attempts=1, wallet=Remembers(swarm.lightning, 10**9)))
            with pytest.raises(JobFault, match="paid it before"):
                await call.ask()
            assert call.outcomes == ["failed"]

    run(test)


@pytest.mark.parametrize("lie", ["two quotes", "two results", "billed again"])
def test_two_quotes_or_two_results_are_paid_for_once(lie: str) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            liar = await swarm.provider(LIES[lie](), price=CHEAP)
            call = Call(await swarm.customer(attempts=1))
            await call.ask()
            await liar.idle() if lie != "two quotes" else None
            assert sum(swarm.lightning.paid.values()) == 1
            assert call.paid_msat == CHEAP
            check_money(swarm, call)

    run(test)


def test_a_result_dearer_than_the_quote_that_was_paid_costs_no_more() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            liar = await swarm.provider(LIES["dearer than quoted"](), price=CHEAP)
            await swarm.provider(result_first)
            call = Call(await swarm.customer())
            await call.ask()
            await settled(call)
            assert by(call, liar.keys.public).paid_msat <= CHEAP
            check_money(swarm, call)

    run(test)


@pytest.mark.parametrize("lie", ["paid and silent", "paid and error"])
def test_paid_and_no_result_is_a_loss_in_the_receipt_and_is_not_paid_again(lie: str) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            thief = await swarm.provider(LIES[lie](), price=CHEAP)
            await swarm.provider(result_first)
            customer = await swarm.customer(deadline=1.0, attempts=8)
            call = Call(customer)
            await call.ask()
            lost = by(call, thief.keys.public)
            assert (lost.lost, lost.paid_msat) == (True, CHEAP)
            assert customer.market.choose(now=customer.loop_time()).provider != thief.keys.public  # type: ignore[union-attr]
            check_money(swarm, call)

    run(test)


@pytest.mark.parametrize("kind", ["old result replayed", "old quote replayed"])
def test_an_old_result_or_quote_is_nothing_to_a_new_job(kind: str) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            liar = await swarm.provider(LIES[kind](), price=CHEAP)
            honest = await swarm.provider(result_first)
            customer = await swarm.customer(hedge_after=SOON, deadline=20.0)
            await Call(customer).ask()  # honest to the first
            paid = dict(swarm.lightning.paid)
            call = Call(customer)
            await call.ask(chat("something else"))
            await settled(call)
            assert by(call, liar.keys.public).paid_msat == 0
            assert by(call, honest.keys.public).paid_msat == BID
            assert len(swarm.lightning.paid) == len(paid) + 1

    run(test)


def test_a_silent_provider_is_left_at_the_deadline_and_the_next_is_asked() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            silent = await swarm.provider(LIES["silent"](), price=CHEAP)
            await swarm.provider(result_first)
            call = Call(await swarm.customer(deadline=1.0, attempts=8))
            await call.ask()
            assert by(call, silent.keys.public).why == "first"
            assert call.outcomes[-1] == "answered"
            assert call.seats[-1].receipt.why == "retry"  # type: ignore[union-attr]
            fault = call.seats[0].fault
            assert fault is not None
            assert fault.kind == "timeout"

    run(test)


def test_a_call_ends_within_its_patience_however_many_attempts_are_left() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(LIES["silent"]())
            call = Call(await swarm.customer(deadline=20.0, attempts=20, patience=0.2))
            with pytest.raises(JobFault, match="did not answer within 1 s"):
                await call.ask()
            assert call.outcomes == ["failed"]

    run(test)


@pytest.mark.parametrize(("encrypt", "says"), [(True, "a guess"), (False, "yes")])
def test_an_answer_cannot_be_copied_from_another_provider_when_jobs_are_encrypted(
    encrypt: bool, says: str
) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            honest = await swarm.provider(result_first)
            thief = await swarm.provider(copies(honest.keys.public), price=CHEAP)
            for provider, answer in ((honest, "yes"), (thief, says)):
                only = frozenset({provider.keys.public})
                customer = await swarm.customer(providers=only, encrypt=encrypt)
                assert (await Call(customer).ask()).text == answer

    run(test)


def test_copies_that_are_compared_come_from_operators_that_say_to_be_different() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            one = [await swarm.provider(result_first, price=CHEAP, operator="one") for _ in range(3)]
            other = await swarm.provider(result_first)
            call = Call(await swarm.customer(audit=1.0))
            await call.ask(lot=0.0)
            asked = {receipt.provider for receipt in call.receipts}
            assert sorted(call.outcomes) == ["answered", "unused"]
            assert other.keys.public in asked
            assert len(asked & {provider.keys.public for provider in one}) == 1

    run(test)


def test_the_odd_answer_out_of_three_is_not_taken_and_its_provider_is_told_apart() -> None:
    async def wrong(asked: Asked) -> None:
        invoice = await asked.bill()
        await asked.result("no", amount_msat=asked.bid, bolt11=invoice.bolt11)

    async def test() -> None:
        async with Swarm() as swarm:
            liar = await swarm.provider(wrong, price=CHEAP)
            for _ in range(2):
                await swarm.provider(result_first)
            customer = await swarm.customer(audit=1.0)
            call = Call(customer)
            assert (await call.ask(lot=0.0)).text == "yes"
            assert by(call, liar.keys.public).disagreed
            assert call.outcomes.count("answered") == 1
            assert call.outcomes.count("unused") == 2
            check_money(swarm, call)

    run(test)


# ---- what the wallet does --------------------------------------------------------------------------


class Stuck(MemoryWallet):
    """Its pay call comes back without an end; the money goes when the test says so, or never."""

    @classmethod
    def of(cls, lightning: Lightning) -> Stuck:
        wallet = cls(lightning, 10**9)
        wallet.__dict__.update(said="pending", invoices=[])
        return wallet

    async def pay(self, bolt11: str, *, payment_hash: str, **what: Any) -> Payment:
        self.__dict__["invoices"].append((bolt11, payment_hash, what))
        return Payment(payment_hash, "pending")

    async def look_up(self, payment_hash: str, *, seconds: float = 10.0) -> Payment:
        if self.__dict__["said"] == "complete":
            bolt11, _, what = self.__dict__["invoices"][0]
            return await super().pay(bolt11, payment_hash=payment_hash, **what)
        return Payment(payment_hash, self.__dict__["said"])


@pytest.mark.parametrize(("said", "outcome", "paid"), [("complete", "unused", BID), ("failed", "failed", 0)])
def test_a_payment_that_does_not_end_counts_as_spent_until_the_wallet_says_otherwise(
    said: str, outcome: str, paid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oa_compile.swarm.customer.payment.WATCH_EVERY", 0.01)

    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(result_first)
            wallet = Stuck.of(swarm.lightning)
            call = Call(await swarm.customer(attempts=1, wallet=wallet))
            with pytest.raises(JobFault, match="not ended"):
                await call.ask()
            assert call.outcomes == ["open"]  # its reservation stands
            wallet.__dict__["said"] = said
            await settled(call)
            assert call.outcomes == [outcome]
            assert call.paid_msat == paid
            assert len(wallet.__dict__["invoices"]) == 1

    run(test)


class Gone(MemoryWallet):
    """A wallet that is not there."""

    async def pay(self, bolt11: str, **what: Any) -> Payment:
        raise WalletError("nobody listens at lightning-rpc", hint="start lightningd")


def test_a_wallet_that_is_not_there_stops_the_call_with_the_next_step() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(result_first)
            await swarm.provider(result_first)
            call = Call(await swarm.customer(wallet=Gone(swarm.lightning, 10**9)))
            with pytest.raises(JobFault) as fault:
                await call.ask()
            assert fault.value.kind == "billing"
            assert fault.value.hint == "start lightningd"
            assert call.outcomes == ["failed"]  # nobody else is asked in vain

    run(test)


class Forger(MemoryWallet):
    """A wallet whose proof does not prove."""

    async def pay(self, bolt11: str, **what: Any) -> Payment:
        raise PaymentAlarm("the preimage is not the invoice's")


class Greedy(MemoryWallet):
    """A wallet that takes more than it was allowed."""

    async def pay(self, bolt11: str, **what: Any) -> Payment:
        paid = await super().pay(bolt11, **what)
        return Payment(paid.payment_hash, "complete", paid.sent_msat + 1_000, paid.preimage)


@pytest.mark.parametrize("wallet", [Forger, Greedy])
def test_a_wallet_that_must_not_be_believed_stops_everything(wallet: type[MemoryWallet]) -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(result_first)
            call = Call(await swarm.customer(wallet=wallet(swarm.lightning, 10**9)))
            with pytest.raises(PaymentAlarm):
                await call.ask()
            assert call.outcomes == ["open"]  # whatever went stays reserved

    run(test)


def test_a_fee_limit_goes_with_every_payment() -> None:
    limits: list[int] = []

    class Asks(MemoryWallet):
        async def pay(self, bolt11: str, *, max_fee_msat: int, **what: Any) -> Payment:
            limits.append(max_fee_msat)
            return await super().pay(bolt11, max_fee_msat=max_fee_msat, **what)

    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(pay_first)
            await Call(await swarm.customer(wallet=Asks(swarm.lightning, 10**9))).ask()

    run(test)
    assert limits == [5]


def test_a_result_before_the_payment_has_returned_waits_for_both() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            provider = await swarm.provider(LIES["result before paid"]())
            go_on = asyncio.Event()

            class Slow(MemoryWallet):
                async def pay(self, bolt11: str, **what: Any) -> Payment:
                    await go_on.wait()
                    return await super().pay(bolt11, **what)

            customer = await swarm.customer(wallet=Slow(swarm.lightning, 10**9))
            call = Call(customer)
            asking = asyncio.create_task(call.ask())
            await provider.asked_for(1)
            await until(lambda: any(one._result is not None for one in customer._exchanges.values()))
            assert not asking.done()
            go_on.set()
            await asking
            assert call.paid_msat == BID

    run(test)


def test_the_intent_is_on_record_before_the_wallet_is_asked() -> None:
    seen: list[int] = []

    async def test() -> None:
        async with Swarm() as swarm:
            await swarm.provider(result_first)

            class Looks(MemoryWallet):
                async def pay(self, bolt11: str, *, payment_hash: str, **what: Any) -> Payment:
                    intents = [intent.payment_hash for seat in call.seats for intent in seat.intents]
                    seen.append(intents.count(payment_hash))
                    return await super().pay(bolt11, payment_hash=payment_hash, **what)

            call = Call(await swarm.customer(wallet=Looks(swarm.lightning, 10**9)))
            await call.ask()

    run(test)
    assert seen == [1]


# ---- what a relay does ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trick:
    """What the relay does between us and everybody else."""

    name: str
    rules: tuple[Any, ...]


LOST = [
    Trick("it says nothing about the first job", (drop("OK", times=1),)),
    Trick("it never says whether it took a job", (drop("OK"),)),
    Trick("it brings everything twice", (duplicate("EVENT"),)),
    Trick("it loses the first result", (drop("EVENT", kind=RESULT_KIND, times=1),)),
    Trick("it loses the first quote", (drop("EVENT", kind=FEEDBACK_KIND, times=1),)),
    Trick("it ends every subscription's beginning without a word", (drop("EOSE"),)),
]


@pytest.mark.parametrize("order", [result_first, pay_first])
@pytest.mark.parametrize("trick", LOST, ids=lambda trick: trick.name)
def test_a_relay_that_loses_or_repeats_things_costs_time_and_nothing_else(trick: Trick, order: Any) -> None:
    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            await swarm.provider(order)
            customer = await swarm.customer(attempts=1, deadline=20.0, look_again=0.2)
            for rule in trick.rules:
                swarm.proxy.on_relay(rule)
            call = Call(customer)
            await call.ask()
            assert call.outcomes == ["answered"]
            check_money(swarm, call)

    run(test)


def test_a_job_that_the_relay_lost_is_sent_again_as_the_same_event() -> None:
    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            provider = await swarm.provider(result_first)
            customer = await swarm.customer(attempts=1, deadline=20.0)
            swarm.proxy.on_client(drop("EVENT", kind=JOB_KIND, times=1))
            call = Call(customer)
            await call.ask()
            assert len(provider.asked) == 1
            assert swarm.proxy.from_client["EVENT"] >= 2
            check_money(swarm, call)

    run(test)


def test_results_in_another_order_go_to_their_own_jobs() -> None:
    async def echo(asked: Asked) -> None:
        invoice = await asked.bill()
        text = asked.job.chat.messages[-1].content
        await asked.result(text, amount_msat=asked.bid, bolt11=invoice.bolt11)

    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            provider = await swarm.provider(echo)
            customer = await swarm.customer(attempts=1, deadline=20.0, look_again=20.0)
            swarm.proxy.on_relay(hold("EVENT", kind=RESULT_KIND))
            texts = [f"question {number}" for number in range(8)]
            calls = [asyncio.create_task(Call(customer).ask(chat(text))) for text in texts]
            await provider.asked_for(8)
            await provider.idle()
            await swarm.proxy.relayed("EVENT", 8)
            await until(lambda: swarm.proxy.release(backwards=True) or all(call.done() for call in calls))
            while not all(call.done() for call in calls):
                swarm.proxy.release(backwards=True)
                await asyncio.sleep(0)
            assert [call.result().text for call in calls] == texts

    run(test)


def test_a_relay_that_restarts_in_between_loses_nothing() -> None:
    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            gate = asyncio.Event()

            async def late(asked: Asked) -> None:
                await gate.wait()
                await result_first(asked)

            provider = await swarm.provider(late)
            customer = await swarm.customer(attempts=1, deadline=20.0, look_again=0.2)
            call = Call(customer)
            asking = asyncio.create_task(call.ask())
            await provider.asked_for(1)
            await swarm.proxy.restart(refuse=1)
            gate.set()
            await provider.idle()
            await asking
            check_money(swarm, call)

    run(test)


def test_a_relay_that_ignores_filters_and_tampers_is_not_believed() -> None:
    stranger = Keys.generate()

    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            await swarm.provider(result_first)
            customer = await swarm.customer(attempts=1, deadline=20.0, look_again=0.2)
            foreign = result(stranger, customer.keys.sign(Draft(JOB_KIND, [], "")), "nonsense")
            swarm.proxy.on_relay(ignore_filters(plain(foreign)))
            remove = swarm.proxy.on_relay(
                tamper(RESULT_KIND, lambda event: event | {"content": event["content"][:-2] + "AA"})
            )
            call = Call(customer)
            asking = asyncio.create_task(call.ask())
            await until(lambda: customer.passed_over["signature"] > 0 or asking.done())
            remove()
            await asking
            assert customer.passed_over["signature"] > 0
            check_money(swarm, call)

    run(test)


def test_a_job_that_no_relay_takes_is_a_fault_with_the_relays_reason() -> None:
    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            await swarm.provider(result_first)
            customer = await swarm.customer(attempts=1, deadline=20.0)
            swarm.proxy.on_client(refuse("invalid: event too large", kind=JOB_KIND))
            call = Call(customer)
            with pytest.raises(JobFault, match="too large") as fault:
                await call.ask()
            assert fault.value.kind == "transport"
            assert call.paid_msat == 0

    run(test)


def test_an_ok_without_an_id_for_a_job_too_large_is_a_refusal_too() -> None:
    async def test() -> None:
        async with Swarm(proxied=True) as swarm:
            await swarm.provider(result_first)
            customer = await swarm.customer(attempts=1, deadline=20.0)
            swarm.proxy.on_client(refuse("invalid: too large", kind=JOB_KIND, name=False))
            with pytest.raises(JobFault, match="too large"):
                await Call(customer).ask()

    run(test)


def test_a_relay_that_wants_to_know_who_we_are_is_told() -> None:
    async def test() -> None:
        async with Swarm(nip42=True) as swarm:
            await swarm.provider(result_first)
            call = Call(await swarm.customer())
            await call.ask()
            check_money(swarm, call)

    run(test)


# ---- hedges, budgets -----------------------------------------------------------------------------


def test_a_hedge_that_comes_second_after_it_was_paid_is_told_as_unused() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            gate = asyncio.Event()

            async def slow(asked: Asked) -> None:
                invoice = await asked.bill()
                await asked.quote(invoice)
                await asked.paid(invoice)
                await gate.wait()
                await asked.result(amount_msat=asked.bid)

            straggler = await swarm.provider(slow, price=CHEAP)
            fast = await swarm.provider(result_first)
            call = Call(await swarm.customer(hedge_after=SOON, deadline=20.0))
            await call.ask()
            gate.set()
            await settled(call)
            assert call.outcomes == ["unused", "answered"]
            assert by(call, straggler.keys.public).paid_msat == CHEAP
            assert by(call, straggler.keys.public).superseded
            assert by(call, fast.keys.public).why == "hedge"
            check_money(swarm, call)

    run(test)


def test_a_hedge_for_which_there_is_no_room_is_left_out() -> None:
    async def test() -> None:
        async with Swarm() as swarm:
            gate = asyncio.Event()

            async def slow(asked: Asked) -> None:
                await gate.wait()
                await result_first(asked)

            await swarm.provider(slow, price=CHEAP)
            other = await swarm.provider(result_first)
            call = Call(await swarm.customer(hedge_after=SOON, deadline=20.0), room=1)
            asking = asyncio.create_task(call.ask())
            await asyncio.wait({asking}, timeout=3 * SOON)
            gate.set()
            await asking
            assert call.outcomes == ["answered"]
            assert other.asked == []

    run(test)
