"""A service provider on a real relay: every order of payment, tabs, ciphers, open jobs, what a relay
refuses, and a life after it was killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nostr_sdk
import pytest

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.swarm.lightning.bolt11 import decode
from oa_compile.swarm.lightning.cln import ClnWallet
from oa_compile.swarm.lightning.cln_till import ClnTill
from oa_compile.swarm.lightning.ledger_rpc import serve
from oa_compile.swarm.protocol.event import Draft, Keys, verify
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND, read_handler
from oa_compile.swarm.protocol.nip90 import JOB_KIND, is_encrypted, read_result
from oa_compile.swarm.protocol.seal import SealCipher
from oa_compile.swarm.provider.provider import Provider
from oa_compile.swarm.provider.terms import Terms
from oa_compile.swarm.provider.till import Tabs, Till
from tests.support.customers import PlainCustomer, chat
from tests.support.lies import copies
from tests.support.lightning import Lightning, MemoryTill
from tests.support.providers import Script, ScriptedProvider, free, pay_first, result_first
from tests.support.relays import local_relay, network

USAGE = Usage(input_tokens=9, output_tokens=4)


def echo(request: ChatRequest, _key: str) -> ChatAnswer:
    return ChatAnswer(f"you said: {request.messages[-1].content}", USAGE, model="echo")


@dataclass(eq=False)
class World:
    """A relay, a provider there, and a customer with connections of its own."""

    url: str
    keys: Keys
    provider: Provider
    customer: PlainCustomer
    till: MemoryTill


@asynccontextmanager
async def serving(url: str, keys: Keys, till: Till, **settings: Any) -> AsyncIterator[Provider]:
    settings = {"terms": Terms(price_msat=10), "answer": echo, "cipher": SealCipher(keys)} | settings
    async with network(url) as relays:
        provider = Provider(keys, relays, till=till, **settings)
        await provider.start()
        try:
            yield provider
        finally:
            await provider.close(seconds=0)


@asynccontextmanager
async def asking(url: str, provider: Keys, *, encrypted: bool = False) -> AsyncIterator[PlainCustomer]:
    keys = Keys.generate()
    cipher = SealCipher(keys) if encrypted else None
    async with (
        network(url) as relays,
        PlainCustomer(relays, provider.public, cipher=cipher, keys=keys) as customer,
    ):
        yield customer


@asynccontextmanager
async def world(*, encrypted: bool = False, **settings: Any) -> AsyncIterator[World]:
    keys, till = Keys.generate(), Lightning().till()
    async with (
        local_relay() as url,
        serving(url, keys, till, **settings) as provider,
        asking(url, keys, encrypted=encrypted) as customer,
    ):
        yield World(url, keys, provider, customer, till)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("order", ["free", "result-first", "pay-first", "tab"])
def test_a_job_in_every_order_of_payment(order: str, encrypted: bool) -> None:
    terms = {
        "free": Terms(),
        "result-first": Terms(price_msat=10),
        "pay-first": Terms(price_msat=10, order="pay-first"),
        "tab": Terms(price_msat=10, tab_limit_msat=10),
    }[order]

    async def main() -> None:
        async with world(encrypted=encrypted, terms=terms) as w:
            request = await w.customer.ask("hello", bid_msat=10, tab=order == "tab")
            assert is_encrypted(request) == encrypted
            number = 1
            if order == "pay-first":
                quote = await w.customer.feedback(request)
                w.till.lightning.pay(quote.bolt11)
                number = 2
            result = await w.customer.result(request, number)
            assert result.answer == ChatAnswer("you said: hello", USAGE, model="echo")
            assert is_encrypted(await w.customer.word(request, number)) == encrypted
            assert result.amount_msat == (None if order == "free" else 10)
            assert (bool(result.bolt11), result.tab) == (order == "result-first", order == "tab")

    run(main())


def test_a_tab_is_settled_by_one_invoice() -> None:
    async def main() -> None:
        async with world(encrypted=True, terms=Terms(price_msat=10, tab_limit_msat=50)) as w:
            requests = [await w.customer.ask(f"{n}", bid_msat=10, tab=True) for n in range(5)]
            assert all([(await w.customer.result(request)).tab for request in requests])
            settles = tuple(request.id for request in requests)
            settlement = await w.customer.ask(settles=settles, bid_msat=50)
            quote = await w.customer.feedback(settlement)
            assert (quote.amount_msat, decode(quote.bolt11).amount_msat) == (50, 50)
            w.till.lightning.pay(quote.bolt11)
            assert (await w.customer.feedback(settlement, 2)).status == "success"
            once_more = await w.customer.ask("again", bid_msat=10, tab=True)
            assert (await w.customer.result(once_more)).tab

    run(main())


def test_a_customer_that_knows_only_nip04_is_read() -> None:
    async def main() -> None:
        async with world() as w:
            secret = nostr_sdk.SecretKey.parse(w.customer.keys.secret_hex)
            peer = nostr_sdk.PublicKey.parse(w.keys.public)
            sealed = nostr_sdk.nip04_encrypt(secret, peer, '[["i","old friend","text"]]')
            tags = [["encrypted"], ["p", w.keys.public], ["bid", "10"]]
            request = await w.customer.send(Draft(JOB_KIND, tags, sealed))
            event = await w.customer.word(request)
            assert is_encrypted(event)
            result = read_result(event, cipher=SealCipher(w.customer.keys))
            assert result.answer.text == "you said: old friend"

    run(main())


def test_an_encrypted_job_that_cannot_be_read_is_declined_without_its_words() -> None:
    async def main() -> None:
        async with world() as w:
            tags = [["encrypted"], ["p", w.keys.public], ["bid", "10"]]
            secret = SealCipher(w.customer.keys).encrypt(w.keys.public, "my secret, and no list of tags")
            for content in ("AgpnYXJiYWdl", secret):
                request = await w.customer.send(Draft(JOB_KIND, tags, content))
                assert await w.customer.error(request) == "cannot read the job"

    run(main())


def test_a_result_the_relay_finds_too_large_ends_in_an_error() -> None:
    async def main() -> None:
        async with world(answer=lambda _request, _key: ChatAnswer("x" * 70_000), terms=Terms()) as w:
            assert "too large" in await w.customer.error(await w.customer.ask())

    run(main())


def test_open_jobs_reach_who_serves_them() -> None:
    async def main() -> None:
        async with world(serves_open=True) as w:
            result = await w.customer.result(await w.customer.ask("anybody?", provider="", bid_msat=10))
            assert result.answer.text == "you said: anybody?"

    run(main())


def test_many_jobs_at_once_are_each_answered_once() -> None:
    async def main() -> None:
        async with world(concurrency=4) as w:
            requests = [w.customer.request(f"{n}", bid_msat=10) for n in range(60)]
            await asyncio.gather(*map(w.customer.send, requests))
            texts = [(await w.customer.result(request)).answer.text for request in requests]
            assert texts == [f"you said: {n}" for n in range(60)]
            assert len(w.till.invoices) == 60
            assert all(len(w.customer.events[request.id]) == 1 for request in requests)

    run(main())


def test_the_announcement_is_on_the_relay() -> None:
    async def main() -> None:
        async with world() as w:
            (event,) = await w.customer.network.fetch([{"kinds": [HANDLER_KIND], "#k": [str(JOB_KIND)]}])
            assert verify(event)
            handler = read_handler(event)
            assert (handler.provider, handler.price_msat, handler.encrypts) == (w.keys.public, 10, True)

    run(main())


def test_a_restarted_provider_answers_what_it_has_missed_and_nothing_twice(tmp_path: Path) -> None:
    async def main() -> None:
        keys, till, ran = Keys.generate(), Lightning().till(), []

        def counted(request: ChatRequest, key: str) -> ChatAnswer:
            ran.append(request)
            return echo(request, key)

        terms = Terms(price_msat=10, tab_limit_msat=100)
        settings: dict[str, Any] = {"terms": terms, "answer": counted}
        async with local_relay() as url, asking(url, keys) as customer:
            tabs = Tabs(tmp_path / "tabs.jsonl")
            async with serving(url, keys, till, tabs=tabs, **settings):
                done = await customer.ask("done", bid_msat=10, tab=True)
                await customer.result(done)
                settlement = await customer.ask(settles=(done.id,), bid_msat=10)
                quote = await customer.feedback(settlement)
            tabs.close()
            missed = await customer.ask("missed", bid_msat=10, tab=True)
            till.lightning.pay(quote.bolt11)
            tabs = Tabs(tmp_path / "tabs.jsonl")
            async with serving(url, keys, till, tabs=tabs, **settings):
                assert (await customer.result(missed)).tab
                while tabs.bills():
                    await asyncio.sleep(0)
                assert tabs.total() == 10
            tabs.close()
            assert ran == [chat("done"), chat("missed")]
            assert len(customer.events[done.id]) == len(till.invoices) == 1

    run(main())


@pytest.mark.parametrize("order", ["result-first", "pay-first", "tab"])
def test_a_node_is_the_till(order: str, tmp_path: Path) -> None:
    """The embedded ledger behind both: the price arrives on the provider's node, once."""
    pay_first = order == "pay-first"
    terms = Terms(
        price_msat=10,
        order="pay-first" if pay_first else "result-first",
        tab_limit_msat=20 if order == "tab" else 0,
    )

    async def main() -> None:
        keys = Keys.generate()
        ledger = await serve(tmp_path, {"customer": 1_000, "provider": 0})
        till, wallet = ClnTill(ledger.rpc_path("provider")), ClnWallet(ledger.rpc_path("customer"))
        await till.open()
        try:
            async with (
                local_relay() as url,
                serving(url, keys, till, terms=terms),
                asking(url, keys, encrypted=True) as customer,
            ):
                request = await customer.ask("hello", bid_msat=10, tab=order == "tab")
                if pay_first:
                    await pay(wallet, (await customer.feedback(request)).bolt11)
                result = await customer.result(request, 2 if pay_first else 1)
                assert result.answer.text == "you said: hello"
                if order == "tab":
                    settlement = await customer.ask(settles=(request.id,), bid_msat=10)
                    await pay(wallet, (await customer.feedback(settlement)).bolt11)
                    assert (await customer.feedback(settlement, 2)).status == "success"
                elif not pay_first:
                    await pay(wallet, result.bolt11)
            assert await wallet.balance_msat() == 990
            assert ledger.ledger.nodes["provider"].balance_msat == 10
        finally:
            await till.close()
            await wallet.close()
            await ledger.close()

    async def pay(wallet: ClnWallet, bolt11: str) -> None:
        hash_ = decode(bolt11).payment_hash
        payment = await wallet.pay(bolt11, payment_hash=hash_, max_fee_msat=0, seconds=10.0)
        assert payment.status == "complete"

    run(main())


# Scripted providers


@pytest.mark.parametrize("script", [free, result_first, pay_first])
def test_an_honest_script_serves_as_the_provider_does(script: Script) -> None:
    async def main() -> None:
        keys, till = Keys.generate(), Lightning().till()
        async with (
            local_relay() as url,
            network(url) as relays,
            ScriptedProvider(keys, relays, script, till=till) as provider,
            asking(url, keys) as customer,
        ):
            request = await customer.ask(bid_msat=10)
            (asked,) = await provider.asked_for(1)
            assert asked.bid == 10
            if script is pay_first:
                till.lightning.pay((await customer.feedback(request)).bolt11)
            result = await customer.result(request, 2 if script is pay_first else 1)
            assert result.answer.text == "yes"
            assert bool(result.bolt11) == (script is result_first)
            await provider.idle()

    run(main())


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_copy_has_only_what_is_public(encrypted: bool) -> None:
    async def main() -> None:
        victim, copycat, till = Keys.generate(), Keys.generate(), Lightning().till()
        async with (
            local_relay() as url,
            network(url) as relays,
            serving(url, victim, till),
            ScriptedProvider(copycat, relays, copies(victim.public), till=till, cipher=SealCipher(copycat)),
            asking(url, victim, encrypted=encrypted) as of_victim,
            asking(url, copycat, encrypted=encrypted) as of_copycat,
        ):
            copied = await of_copycat.ask("6 times 7?", bid_msat=10)
            await of_victim.result(await of_victim.ask("6 times 7?", bid_msat=10))
            text = (await of_copycat.result(copied)).answer.text
            assert text == ("a guess" if encrypted else "you said: 6 times 7?")

    run(main())
