"""A service provider over a network in memory: terms, repeats, refusals, bounds, tabs and words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import StorageError, UsageError
from oa_compile.swarm.protocol.event import Draft, Event, Keys
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND, read_handler
from oa_compile.swarm.protocol.nip90 import FEEDBACK_KIND, JOB_KIND, RESULT_KIND, Job, draft_job
from oa_compile.swarm.provider.provider import Provider
from oa_compile.swarm.provider.terms import AnswerFailed, AnswerRefused, Terms, presentable
from oa_compile.swarm.provider.till import Billed, Tabs
from oa_compile.swarm.provider.voice import Memory
from oa_compile.swarm.relays.network import Published
from tests.support.customers import PlainCustomer, chat
from tests.support.lightning import Lightning, MemoryTill
from tests.support.memory_network import MemoryNetwork

ANSWER = ChatAnswer(text="Run the tests.", usage=Usage(input_tokens=9, output_tokens=4), model="tiny")


@dataclass(eq=False)
class World:
    """A provider, a customer and a relay."""

    network: MemoryNetwork
    provider: Provider
    customer: PlainCustomer
    till: MemoryTill
    keys: Keys
    calls: list[tuple[ChatRequest, str]]

    def said(self, kind: int) -> list[Event]:
        """What the provider published of a kind."""
        return [e for e in self.network.published if e.kind == kind and e.pubkey == self.keys.public]


@asynccontextmanager
async def world(
    answer: Callable[[ChatRequest, str], ChatAnswer] = lambda _request, _key: ANSWER,
    *,
    network: MemoryNetwork | None = None,
    keys: Keys | None = None,
    till: MemoryTill | None = None,
    patience: float = 5.0,
    **settings: Any,
) -> AsyncIterator[World]:
    network = network or MemoryNetwork()
    keys = keys or Keys.generate()
    till = till or Lightning().till()
    calls: list[tuple[ChatRequest, str]] = []

    def counted(request: ChatRequest, key: str) -> ChatAnswer:
        calls.append((request, key))
        return answer(request, key)

    settings = {"terms": Terms(price_msat=10), "inline": True} | settings
    provider = Provider(keys, network, answer=counted, till=till, **settings)
    await provider.start()
    try:
        async with PlainCustomer(network, keys.public) as customer:
            yield World(network, provider, customer, till, keys, calls)
    finally:
        await provider.close(seconds=patience)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


# Orders and prices


def test_a_result_comes_with_its_invoice() -> None:
    async def main() -> None:
        async with world() as w:
            request = await w.customer.ask(bid_msat=12)
            result = await w.customer.result(request)
            (invoice,) = w.till.invoices.values()
            assert (result.answer, result.amount_msat, result.tab) == (ANSWER, 10, False)
            assert (result.bolt11, invoice.amount_msat) == (invoice.bolt11, 10)
        assert w.provider.tally.asked_msat == 10

    run(main())


def test_free_terms_ask_for_nothing_and_need_no_till() -> None:
    async def main() -> None:
        async with world(terms=Terms()) as w:
            result = await w.customer.result(await w.customer.ask())
            assert (result.answer, result.amount_msat, result.bolt11) == (ANSWER, None, "")
            assert not w.till.invoices

    run(main())
    Provider(Keys.generate(), MemoryNetwork(), answer=lambda _r, _k: ANSWER, terms=Terms(), inline=True)


def test_a_price_needs_a_till() -> None:
    with pytest.raises(UsageError, match="needs a till"):
        Provider(Keys.generate(), MemoryNetwork(), answer=lambda _r, _k: ANSWER, terms=Terms(price_msat=1))


@pytest.mark.parametrize("amount", [-1, True, 1.5, 10**30])
def test_terms_refuse_amounts_that_are_none(amount: Any) -> None:
    with pytest.raises(UsageError, match="tab_limit_msat"):
        Terms(tab_limit_msat=amount)


def test_paid_first_nothing_runs_before_the_money_is_there() -> None:
    async def main() -> None:
        async with world(terms=Terms(price_msat=10, order="pay-first")) as w:
            request = await w.customer.ask(bid_msat=10)
            quote = await w.customer.feedback(request)
            await w.till.waiting.acquire()
            assert (quote.status, quote.amount_msat) == ("payment-required", 10)
            assert w.calls == []
            w.till.lightning.pay(quote.bolt11)
            result = await w.customer.result(request, 2)
            assert (result.answer, result.amount_msat, result.bolt11) == (ANSWER, 10, "")
            assert w.provider.tally.paid_msat == 10

    run(main())


def test_who_bids_nothing_pays_first_whatever_the_order() -> None:
    async def main() -> None:
        async with world(patience=0) as w:
            quote = await w.customer.feedback(await w.customer.ask())
            assert (quote.status, quote.amount_msat, w.calls) == ("payment-required", 10, [])

    run(main())


def test_a_quote_nobody_pays_ends_with_an_error() -> None:
    async def main() -> None:
        terms = Terms(price_msat=10, order="pay-first", quote_seconds=70)
        async with world(terms=terms, clock=lambda: time.time() - 10) as w:
            w.till.wait_paid = never_paid  # type: ignore[method-assign]
            request = await w.customer.ask(bid_msat=10)
            assert await w.customer.error(request, 2) == "not paid before the invoice expired"
            assert w.calls == []

    async def never_paid(payment_hash: str, *, seconds: float) -> bool:
        assert 60 < seconds <= 82  # until the invoice expires, on the provider's clock
        return False

    run(main())


def test_a_bid_below_the_price_is_told_the_price() -> None:
    async def main() -> None:
        async with world() as w:
            assert "the price is 10 msat" in await w.customer.error(await w.customer.ask(bid_msat=9))
            assert (w.calls, w.till.invoices) == ([], {})

    run(main())


def test_a_till_that_is_away_is_told_and_the_answer_kept() -> None:
    async def main() -> None:
        async with world() as w:
            await w.till.close()
            assert "till does not answer" in await w.customer.error(await w.customer.ask(bid_msat=10))
            assert w.said(RESULT_KIND) == []

    run(main())


# What reaches the answering function


def test_equal_requests_have_equal_keys_and_different_ones_do_not() -> None:
    async def main() -> None:
        async with world(terms=Terms()) as w:
            for text, nonce in (("a", "1"), ("a", "2"), ("b", "3")):
                await w.customer.result(await w.customer.ask(text, nonce=nonce))
            (first, same, other) = w.calls
            assert first == same
            assert first[0] == chat("a")
            assert first[1] != other[1]

    run(main())


def test_answers_are_made_on_threads_unless_inline() -> None:
    async def main(inline: bool) -> str:
        names: list[str] = []

        def answer(_request: ChatRequest, _key: str) -> ChatAnswer:
            names.append(threading.current_thread().name)
            return ANSWER

        async with world(answer, terms=Terms(), inline=inline) as w:
            await w.customer.result(await w.customer.ask())
        return names[0]

    assert asyncio.run(main(True)) == threading.current_thread().name
    assert asyncio.run(main(False)).startswith("provider")


# Whose request it is


def test_only_requests_for_us_that_are_signed_and_timely_are_served() -> None:
    async def main() -> None:
        now = [1_700_000_000.0]
        async with world(terms=Terms(), clock=lambda: now[0], oldest_seconds=60) as w:
            at = int(now[0])
            draft = draft_job(Job(chat(), provider=w.keys.public, nonce="x"))
            keys = w.customer.keys
            sound = keys.sign(draft, created_at=at)
            others = draft_job(Job(chat(), provider=Keys.generate().public))
            expired = Draft(draft.kind, [*draft.tags, ["expiration", str(at)]], "")
            lasting = Draft(draft.kind, [*draft.tags, ["expiration", str(at + 5)]], "")
            for event in (
                Event(
                    sound.id, sound.pubkey, sound.created_at, sound.kind, sound.tags, "tampered", sound.sig
                ),
                keys.sign(others, created_at=at),
                keys.sign(draft_job(Job(chat())), created_at=at),  # for anybody
                keys.sign(draft, created_at=at - 61),
                keys.sign(draft, created_at=at + 61),
                keys.sign(expired, created_at=at),
            ):
                w.provider._on_event(event)
            assert (w.provider.tally.jobs, w.provider.tally.ignored) == (0, 6)
            # The forged copy has not made the real one look seen.
            for event in (sound, keys.sign(lasting, created_at=at)):
                await w.customer.send(event)
                await w.customer.result(event)
            assert len(w.calls) == 2

    run(main())


def test_open_jobs_are_taken_when_that_is_wished_and_declined_in_silence() -> None:
    async def main() -> None:
        async with world(serves_open=True, terms=Terms(price_msat=10, models=("tiny",))) as w:
            dear = await w.customer.ask(provider="", bid_msat=1)
            other = await w.customer.ask(provider="", model="huge", bid_msat=10)
            fits = await w.customer.ask(provider="", bid_msat=10)
            assert (await w.customer.result(fits)).answer == ANSWER
            assert w.provider.tally.declined == 2
            assert not w.customer.events[dear.id] + w.customer.events[other.id]

    run(main())


def test_a_model_that_is_not_here_is_declined_by_name() -> None:
    async def main() -> None:
        async with world(terms=Terms(models=("tiny", "small"))) as w:
            assert "tiny, small" in await w.customer.error(await w.customer.ask(model="huge"))
            assert (await w.customer.result(await w.customer.ask(model="small"))).answer == ANSWER
            assert (await w.customer.result(await w.customer.ask())).answer == ANSWER

    run(main())


@pytest.mark.parametrize(
    ("tags", "said"),
    [([["i", "https://example.com", "url"]], "cannot read the job"), ([["encrypted"]], "reads no encrypted")],
)
def test_a_request_that_cannot_be_read_is_declined(tags: list[list[str]], said: str) -> None:
    async def main() -> None:
        async with world() as w:
            request = await w.customer.send(Draft(JOB_KIND, [*tags, ["p", w.keys.public]], ""))
            assert said in await w.customer.error(request)

    run(main())


# The same request again


def test_a_repeat_is_told_the_same_and_neither_run_nor_billed_again() -> None:
    async def main() -> None:
        async with world() as w:
            request = await w.customer.ask(bid_msat=10)
            first = await w.customer.word(request)
            for number in (2, 3):
                w.network.deliver(request)
                assert await w.customer.word(request, number) == first
            assert (len(w.calls), len(w.till.invoices), w.provider.tally.repeated) == (1, 1, 2)

    run(main())


def test_a_repeat_while_payment_is_awaited_is_told_the_same_quote() -> None:
    async def main() -> None:
        async with world(terms=Terms(price_msat=10, order="pay-first")) as w:
            request = await w.customer.ask(bid_msat=10)
            quote = await w.customer.word(request)
            w.network.deliver(request)
            assert await w.customer.word(request, 2) == quote
            w.till.lightning.pay((await w.customer.feedback(request)).bolt11)
            await w.customer.result(request, 3)
            assert (len(w.calls), len(w.till.invoices)) == (1, 1)

    run(main())


def test_a_repeat_while_it_is_worked_on_starts_nothing() -> None:
    async def main() -> None:
        go = threading.Event()

        def slow(_request: ChatRequest, _key: str) -> ChatAnswer:
            assert go.wait(20)
            return ANSWER

        async with world(slow, inline=False, terms=Terms(), says_processing=True) as w:
            request = await w.customer.ask()
            await w.customer.word(request)
            w.network.deliver(request)
            w.network.deliver(request)
            go.set()
            await w.customer.result(request, 2)
            assert len(w.calls) == len(w.said(RESULT_KIND)) == len(w.said(FEEDBACK_KIND)) == 1

    run(main())


def test_a_new_life_reads_on_the_relay_what_it_has_answered() -> None:
    async def main() -> None:
        network, keys, lightning = MemoryNetwork(), Keys.generate(), Lightning()
        till = lightning.till()
        async with world(network=network, keys=keys, till=till) as w:
            answered = await w.customer.ask(bid_msat=10)
            declined = await w.customer.ask(bid_msat=1)
            await w.customer.result(answered)
            await w.customer.error(declined)
        waiting = w.customer.request("meanwhile", bid_msat=10)
        network.stored.append(waiting)  # while nobody listened
        async with world(network=network, keys=keys, till=till) as again:
            while not any(e.first("e") == ["e", waiting.id] for e in again.said(RESULT_KIND)):
                await asyncio.sleep(0)
            assert [request for request, _ in again.calls] == [chat("meanwhile")]
            assert len(till.invoices) == 2
            before = again.said(RESULT_KIND)[0]
            network.deliver(answered)
            await asyncio.sleep(0)
            assert again.network.published[-1] == before

    run(main())


def test_a_new_life_goes_on_waiting_for_what_it_has_quoted() -> None:
    async def main() -> None:
        network, keys, till = MemoryNetwork(), Keys.generate(), Lightning().till()
        terms = Terms(price_msat=10, order="pay-first")
        first = Provider(keys, network, answer=lambda _r, _k: ANSWER, terms=terms, till=till, inline=True)
        await first.start()
        async with PlainCustomer(network, keys.public) as customer:
            request = await customer.ask(bid_msat=10)
            quote = await customer.feedback(request)
            await first.close(seconds=0)
            till.lightning.pay(quote.bolt11)
            async with world(network=network, keys=keys, till=till, terms=terms):
                number = 2
                while (await customer.word(request, number)).kind == FEEDBACK_KIND:
                    assert (await customer.feedback(request, number)).bolt11 == quote.bolt11
                    number += 1
                assert (await customer.result(request, number)).answer == ANSWER
            assert len(till.invoices) == 1

    run(main())


@given(steps=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=60))
def test_what_can_come_again_is_remembered(steps: list[tuple[int, int]]) -> None:
    """A request is known for `seconds` after it came, and what is kept of the words stays in bounds."""
    memory, now, came, said = Memory(seconds=10, most_bytes=1000), 0, {}, {}
    event = Keys.generate().sign(Draft(7000, [], "x" * 100), created_at=1)
    for number, (step, words) in enumerate(steps):
        now += step
        memory.take(str(number), now=now)
        came[str(number)] = now
        for _ in range(words):
            memory.say(str(number), event)
            said[str(number)] = event
        assert all(id_ in memory for id_, at in came.items() if at >= now - 10)
        assert len(memory) <= sum(at >= now - 10 for at in came.values())
        assert sum(memory.last(id_) is not None for id_ in came) * 100 <= 1000
        if words:
            assert memory.last(str(number)) == event


# Failing


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_refusal_is_told_in_its_words_unless_the_job_is_encrypted(encrypted: bool) -> None:
    class Mirror:
        """A cipher anybody reads: encrypted is what says so."""

        def encrypt(self, peer: str, text: str) -> str:
            return text[::-1]

        decrypt = encrypt

    def refuse(_request: ChatRequest, _key: str) -> ChatAnswer:
        raise AnswerRefused("the prompt 'red build' in /home/me/model.gguf is too long")

    async def main() -> None:
        async with world(refuse, cipher=Mirror()) as w:
            w.customer.cipher = Mirror() if encrypted else None
            message = await w.customer.error(await w.customer.ask(bid_msat=10))
            told = "refused: the prompt 'red build' in … is too long"
            assert message == ("refused" if encrypted else told)
            assert w.till.invoices == {}

    run(main())


def test_a_failure_is_told_by_its_kind() -> None:
    def fail(_request: ChatRequest, _key: str) -> ChatAnswer:
        raise AnswerFailed("timeout")

    async def main() -> None:
        async with world(fail, inline=False) as w:
            assert await w.customer.error(await w.customer.ask(bid_msat=10)) == "answering failed: timeout"
            assert (w.till.invoices, w.provider.tally.declined) == ({}, 1)

    run(main())


@pytest.mark.parametrize("inline", [False, True])
def test_a_bug_in_answering_ends_the_job_and_not_the_provider(inline: bool) -> None:
    def answer(request: ChatRequest, _key: str) -> ChatAnswer:
        if request == chat("bad"):
            raise KeyError("/home/me/secret")
        return ANSWER

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        terms = Terms(price_msat=10, tab_limit_msat=10)
        async with world(answer, inline=inline, terms=terms) as w:
            bad = await w.customer.ask("bad", bid_msat=10, tab=True)
            assert await w.customer.error(bad) == "answering failed: internal"
            good = await w.customer.ask("good", bid_msat=10, tab=True)
            assert (await w.customer.result(good)).tab  # what the other had reserved is free again
        (context,) = told
        assert isinstance(context["exception"], KeyError)

    run(main())


def test_too_many_jobs_are_turned_away_and_paid_ones_are_not() -> None:
    async def main() -> None:
        go = threading.Event()

        def slow(_request: ChatRequest, _key: str) -> ChatAnswer:
            assert go.wait(20)
            return ANSWER

        terms = Terms(price_msat=10, most_waiting=1)
        async with world(slow, terms=terms, inline=False, concurrency=1) as w:
            paying = await w.customer.ask("paid")  # no bid: it is asked to pay
            quote = await w.customer.feedback(paying)
            taken = [await w.customer.ask(f"{n}", bid_msat=10) for n in range(2)]
            over = await w.customer.ask("over", bid_msat=10)
            assert "overloaded" in await w.customer.error(over)
            w.till.lightning.pay(quote.bolt11)
            while w.provider.tally.paid_msat == 0:
                await asyncio.sleep(0)
            go.set()
            for request in taken:
                await w.customer.result(request)
            assert (await w.customer.result(paying, 2)).answer == ANSWER
            later = await w.customer.ask("later", bid_msat=10)
            assert (await w.customer.result(later)).answer == ANSWER

    run(main())


def test_too_many_unpaid_quotes_are_turned_away() -> None:
    async def main() -> None:
        terms = Terms(price_msat=10, order="pay-first", most_unpaid=2)
        async with world(terms=terms, patience=0) as w:
            first = [await w.customer.ask(f"{n}", bid_msat=10) for n in range(2)]
            quotes = [await w.customer.feedback(request) for request in first]
            assert "overloaded" in await w.customer.error(await w.customer.ask("over", bid_msat=10))
            w.till.lightning.pay(quotes[0].bolt11)
            await w.customer.result(first[0], 2)
            assert (await w.customer.feedback(await w.customer.ask("next", bid_msat=10))).bolt11

    run(main())


@pytest.mark.parametrize(
    ("text", "refused", "said"),
    [
        ("x" * 40_000, Published(refused={"memory": "invalid: too large"}), "too large"),
        ("x" * 40_000, Published(), "too large"),
        ("short", Published(refused={"memory": "blocked"}), "no relay took"),
        ("short", Published(), None),
    ],
)
def test_a_result_no_relay_takes_ends_in_an_error_and_owes_nothing(
    text: str, refused: Published, said: str | None
) -> None:
    async def main() -> None:
        network = MemoryNetwork(lambda event: refused if event.kind == RESULT_KIND else None)
        tabs = Tabs()
        terms = Terms(price_msat=10, tab_limit_msat=100)
        async with world(lambda _r, _k: ChatAnswer(text), network=network, terms=terms, tabs=tabs) as w:
            request = await w.customer.ask(bid_msat=10, tab=True)
            if said is None:  # nobody has said that it did not arrive
                assert tabs.owed(w.customer.keys.public) == 10
                assert w.said(FEEDBACK_KIND) == []
            else:
                assert said in await w.customer.error(request)
                assert tabs.owed(w.customer.keys.public) == 0

    run(main())


@given(st.text())
def test_what_is_told_is_one_short_line(message: str) -> None:
    told = presentable(message)
    assert len(told) <= 300
    assert told.isprintable()


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("cannot open /home/me/models/a.gguf: gone", "cannot open …: gone"),
        ("see ~/models/a and C:\\models\\a", "see … and …"),
        ("key sk-abcdefghijklmnopqrstuvwxyz0123 is bad", "key … is bad"),
        ("http://127.0.0.1:8080/v1 said no", "http:…:8080/v1 said no"),
        ("and/or\nnew\x1b[31m line", "and/or new [31m line"),
        ("top_k 40 is above 20", "top_k 40 is above 20"),
    ],
)
def test_paths_and_keys_are_not_told(message: str, told: str) -> None:
    assert presentable(message) == told


# Announcing


def test_the_terms_are_announced_again_and_again_and_expire() -> None:
    async def main() -> None:
        terms = Terms(
            price_msat=10, tab_limit_msat=500, models=("tiny",), name="n", operator="me", network="regtest"
        )
        async with world(terms=terms, announce_seconds=0.001) as w:
            while len(w.said(HANDLER_KIND)) < 3:
                await asyncio.sleep(0)
            event = w.said(HANDLER_KIND)[-1]
            handler = read_handler(event)
            assert (handler.provider, handler.price_msat, handler.order) == (w.keys.public, 10, "tab")
            assert (handler.models, handler.operator, handler.network) == (("tiny",), "me", "regtest")
            assert (handler.tab_limit_msat, handler.encrypts) == (500, False)
            assert int(event.value("expiration") or "") > event.created_at
        said = len(w.said(HANDLER_KIND))
        await asyncio.sleep(0.005)
        assert len(w.said(HANDLER_KIND)) == said

    run(main())


def test_processing_is_said_only_when_asked_for() -> None:
    async def main(says: bool) -> list[int]:
        async with world(terms=Terms(), says_processing=says) as w:
            request = await w.customer.ask()
            await w.customer.word(request, 1 + says)
            return [event.kind for event in w.customer.events[request.id]]

    assert asyncio.run(main(False)) == [RESULT_KIND]
    assert asyncio.run(main(True)) == [FEEDBACK_KIND, RESULT_KIND]


def test_closing_lets_jobs_end_and_takes_no_more() -> None:
    async def main() -> None:
        go = threading.Event()

        def slow(_request: ChatRequest, _key: str) -> ChatAnswer:
            assert go.wait(20)
            return ANSWER

        async with world(slow, terms=Terms(), inline=False) as w:
            request = await w.customer.ask()
            closing = asyncio.create_task(w.provider.close(seconds=20))
            await asyncio.sleep(0)
            await w.customer.ask("too late")
            go.set()
            await closing
            await w.customer.result(request)
            assert w.provider.tally.jobs == 1

    run(main())


# Tabs


def test_jobs_go_on_the_tab_up_to_the_limit_however_many_come_at_once() -> None:
    async def main() -> None:
        tabs = Tabs()
        terms = Terms(price_msat=10, tab_limit_msat=35)
        async with world(terms=terms, tabs=tabs, inline=False) as w:
            requests = [w.customer.request(f"{n}", bid_msat=10, tab=True) for n in range(8)]
            await asyncio.gather(*map(w.customer.send, requests))
            results = [await w.customer.result(request) for request in requests]
            assert sorted(bool(result.bolt11) for result in results) == [False] * 3 + [True] * 5
            assert all(result.tab != bool(result.bolt11) and result.amount_msat == 10 for result in results)
            assert tabs.owed(w.customer.keys.public) == tabs.total() == 30

    run(main())


def test_a_tab_that_is_not_offered_is_not_given() -> None:
    async def main() -> None:
        async with world() as w:
            result = await w.customer.result(await w.customer.ask(bid_msat=10, tab=True))
            assert (result.tab, bool(result.bolt11)) == (False, True)

    run(main())


def test_one_invoice_settles_the_jobs_it_names() -> None:
    async def main() -> None:
        tabs = Tabs()
        async with world(terms=Terms(price_msat=10, tab_limit_msat=100), tabs=tabs) as w:
            jobs = []
            for n in range(3):
                request = await w.customer.ask(f"{n}", bid_msat=10, tab=True)
                assert (await w.customer.result(request)).tab
                jobs.append(request.id)
            request = await w.customer.ask(settles=tuple(jobs[:2]), bid_msat=20)
            quote = await w.customer.feedback(request)
            assert (quote.status, quote.amount_msat) == ("payment-required", 20)
            assert tabs.total() == 30
            w.till.lightning.pay(quote.bolt11)
            assert (await w.customer.feedback(request, 2)).status == "success"
            assert (tabs.total(), tabs.bills()) == (10, [])
            again = await w.customer.ask(settles=tuple(jobs), bid_msat=30)
            message = await w.customer.error(again)
            assert jobs[0] in message
            assert jobs[1] in message
            assert jobs[2] not in message
            assert len(w.calls) == 3

    run(main())


def test_nobody_settles_what_is_another_customers_or_for_less() -> None:
    async def main() -> None:
        async with world(terms=Terms(price_msat=10, tab_limit_msat=100)) as w:
            request = await w.customer.ask(bid_msat=10, tab=True)
            await w.customer.result(request)
            async with PlainCustomer(w.network, w.keys.public) as other:
                assert request.id in await other.error(await other.ask(settles=(request.id,), bid_msat=10))
            cheap = await w.customer.ask(settles=(request.id,), bid_msat=9)
            assert "10 msat" in await w.customer.error(cheap)
            assert w.till.invoices == {}

    run(main())


def test_an_unpaid_settlement_leaves_the_jobs_on_the_tab() -> None:
    async def never_paid(payment_hash: str, *, seconds: float) -> bool:
        return False

    async def main() -> None:
        tabs = Tabs()
        async with world(terms=Terms(price_msat=10, tab_limit_msat=100), tabs=tabs) as w:
            job = await w.customer.ask(bid_msat=10, tab=True)
            await w.customer.result(job)
            w.till.wait_paid = never_paid  # type: ignore[method-assign]
            request = await w.customer.ask(settles=(job.id,), bid_msat=10)
            assert "not paid" in await w.customer.error(request, 2)
            assert (tabs.total(), tabs.bills()) == (10, [])

    run(main())


def test_a_killed_provider_knows_what_it_is_owed_and_sees_a_bill_paid_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        network, keys, till = MemoryNetwork(), Keys.generate(), Lightning().till()
        terms = Terms(price_msat=10, tab_limit_msat=100)
        path = tmp_path / "tabs.jsonl"
        tabs = Tabs(path)
        async with world(network=network, keys=keys, till=till, terms=terms, tabs=tabs) as w:
            jobs = [await w.customer.ask(f"{n}", bid_msat=10, tab=True) for n in range(2)]
            for job in jobs:
                await w.customer.result(job)
            request = await w.customer.ask(settles=(jobs[0].id,), bid_msat=10)
            quote = await w.customer.feedback(request)
            await w.provider.close(seconds=0)
        tabs.close()
        with path.open("ab") as file:
            file.write(b'{"type":"owed","customer":"torn')
        network.stored.clear()  # and relays that keep nothing
        till.lightning.pay(quote.bolt11)
        tabs = Tabs(path)
        assert tabs.total() == 20
        async with world(network=network, keys=keys, till=till, terms=terms, tabs=tabs):
            while tabs.bills():
                await asyncio.sleep(0)
        assert tabs.due(w.customer.keys.public, [jobs[1].id]) == tabs.total() == 10
        tabs.close()
        assert Tabs(path).total() == 10

    run(main())


def test_a_bill_stays_open_while_the_till_is_away() -> None:
    async def main() -> None:
        tabs, till = Tabs(), Lightning().till()
        tabs.bill(Billed("c", ["j"], 10, "ab", 0))
        await till.close()
        async with world(tabs=tabs, till=till, terms=Terms()):
            await asyncio.sleep(0)
        assert len(tabs.bills()) == 1

    run(main())


def test_a_disk_that_takes_nothing_gives_no_tab(tmp_path: Path) -> None:
    async def main() -> None:
        tabs = Tabs(tmp_path / "tabs.jsonl")
        tabs._write = full  # type: ignore[method-assign]
        async with world(terms=Terms(price_msat=10, tab_limit_msat=100), tabs=tabs) as w:
            request = await w.customer.ask(bid_msat=10, tab=True)
            assert "cannot keep tabs" in await w.customer.error(request)
            assert tabs.owed(w.customer.keys.public) == 0

    def full(_entry: object) -> None:
        raise StorageError("full")

    run(main())
