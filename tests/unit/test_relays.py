"""Relays as a network: LocalRelay itself, and through a proxy that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from oa_compile.errors import LaneError, UsageError
from oa_compile.swarm import relay as relay_module
from oa_compile.swarm import relays as relays_module
from oa_compile.swarm.event import Draft, Event, Keys, verify
from oa_compile.swarm.local_relay import MAX_EVENT_BYTES, run_local_relay
from oa_compile.swarm.network import Network
from oa_compile.swarm.relays import FETCH_VALUES, Relays, Seen, Standing, halve_filter, split_filter
from oa_compile.swarm.wire import decode_message
from tests.support.relay_proxy import (
    AuthGate,
    Back,
    HangUp,
    RelayProxy,
    Rule,
    drop,
    duplicate,
    each,
    hold,
    ignore_filters,
    refuse,
    tamper,
)
from tests.support.relays import dead_url, job, local_relay, network, plain, proxied, result, until

ALL = [{"kinds": [5050, 6050]}]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one test's coroutine; a test that hangs ends here and not in the whole suite's limit."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


class Inbox:
    """Events as a subscription hands them on, to wait for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._moved = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._moved.set()

    async def holds(self, count: int) -> list[Event]:
        """Wait until so many have come."""
        while len(self.events) < count:
            self._moved.clear()
            await self._moved.wait()
        return self.events


async def settled(relays: Relays, inbox: Inbox, keys: Keys) -> list[Event]:
    """Everything that came before an event sent now: a relay and a loop both keep their order."""
    mark = job(keys, f"mark {os.urandom(8).hex()}")
    await relays.publish(mark)
    while mark not in inbox.events:
        await inbox.holds(len(inbox.events) + 1)
    return [event for event in inbox.events if event != mark]


# ---------------------------------------------------------------------------- an honest relay


def test_an_event_goes_out_and_comes_in() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with local_relay() as url, network(url) as relays:
            standing: Network = relays
            await standing.subscribe([{"kinds": [5050], "#p": ["ab"]}], inbox)
            sent = job(keys, "wörter ✓\n", p="ab")
            published = await standing.publish(sent)
            assert published.accepted == (url,)
            assert published.refused == {}
            assert await inbox.holds(1) == [sent]
            assert verify(inbox.events[0])

    run(test)


def test_a_subscription_brings_what_is_stored_and_goes_on_until_it_is_closed() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with local_relay() as url, network(url) as relays:
            first, second = job(keys, "1"), job(keys, "2")
            await relays.publish(first)
            subscription = await relays.subscribe(ALL, inbox)
            await inbox.holds(1)
            await relays.publish(second)
            assert await inbox.holds(2) == [first, second]
            await subscription.close()
            await subscription.close()
            other = Inbox()
            await relays.subscribe(ALL, other)
            await settled(relays, other, keys)
            assert inbox.events == [first, second]

    run(test)


def test_what_was_under_way_to_a_closed_subscription_is_not_handed_on() -> None:
    inbox = Inbox()
    subscription = Standing("s1", [], inbox)
    event = job(Keys.generate())
    subscription.receive(event)
    asyncio.run(subscription.close())
    subscription.receive(event)
    assert inbox.events == [event]


def test_two_subscriptions_both_get_what_both_want() -> None:
    async def test() -> None:
        keys, one, two = Keys.generate(), Inbox(), Inbox()
        async with local_relay() as url, network(url) as relays:
            await relays.subscribe(ALL, one)
            await relays.subscribe([{"kinds": [5050]}], two)
            sent = job(keys)
            await relays.publish(sent)
            assert await one.holds(1) == await two.holds(1) == [sent]

    run(test)


def test_two_relays_bring_an_event_once() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with local_relay() as a, local_relay() as b, network(a, b) as relays:
            await until(lambda: set(relays.states().values()) == {"open"})
            await relays.subscribe(ALL, inbox)
            sent = [job(keys, str(number)) for number in range(20)]
            for event in sent:
                await relays.publish(event)
            # the second relay may still be at it: only when it has sent all does once mean once
            await until(lambda: {counts.events for counts in relays.counts().values()} == {20})
            assert await settled(relays, inbox, keys) == sent
            found = await relays.fetch([{"ids": [event.id for event in sent]}])
            assert sorted(event.id for event in found) == sorted(event.id for event in sent)

    run(test)


def test_a_twin_is_as_good_as_accepted() -> None:
    async def test() -> None:
        event = job(Keys.generate())
        async with local_relay() as url, network(url) as relays:
            first = await relays.publish(event)
            again, and_again = await asyncio.gather(relays.publish(event), relays.publish(event))
            assert first.accepted == again.accepted == and_again.accepted == (url,)

    run(test)


def test_an_event_over_the_relays_size_is_refused_with_its_words() -> None:
    async def test() -> None:
        event = job(Keys.generate(), "x" * MAX_EVENT_BYTES)
        async with local_relay() as url, network(url) as relays:
            published = await relays.publish(event)
            assert published.accepted == ()
            assert "size" in published.refused[url]

    run(test)


def test_one_relay_takes_what_another_refuses() -> None:
    async def test() -> None:
        event = job(Keys.generate())
        async with proxied() as proxy, local_relay() as url:
            proxy.on_client(refuse("blocked: not you"))
            proxy.on_relay(drop("OK"))
            async with network(proxy.url, url) as relays:
                published = await relays.publish(event)
                assert published.accepted == (url,)
                assert published.refused in ({}, {proxy.url: "blocked: not you"})

    run(test)


def test_events_persist_in_a_folder(tmp_path: Path) -> None:
    async def test() -> None:
        event = job(Keys.generate())
        async with local_relay(folder=tmp_path / "relay") as url, network(url) as relays:
            await relays.publish(event)
        async with local_relay(folder=tmp_path / "relay") as url, network(url) as relays:
            assert await relays.fetch([{"ids": [event.id]}]) == [event]

    run(test)


def test_a_relay_that_cannot_run_says_what_to_do(tmp_path: Path) -> None:
    async def test() -> None:
        relay = await run_local_relay()
        port = int(relay.url.rsplit(":", 1)[1])
        with pytest.raises(LaneError, match=str(port)):
            await run_local_relay(port=port)
        await relay.close()
        await relay.close()
        again = await run_local_relay(port=port)  # closed means that the port is free
        assert again.url == relay.url
        await again.close()
        (tmp_path / "file").write_text("")
        with pytest.raises(LaneError, match="cannot keep its events"):
            await run_local_relay(folder=tmp_path / "file")

    run(test)


# ---------------------------------------------------------------------------- fetching what is stored


def test_fetch_gets_past_the_500_a_relay_returns() -> None:
    async def test() -> None:
        customer, provider = Keys.generate(), Keys.generate()
        now = int(time.time())
        jobs = [job(customer, str(number), created_at=now) for number in range(600)]
        results = [result(provider, one, created_at=now) for one in jobs]
        async with local_relay() as url, network(url) as relays:
            await asyncio.gather(*(relays.publish(event) for event in [*jobs, *results]))
            ids = [one.id for one in jobs]
            assert {event.id for event in await relays.fetch([{"ids": ids}])} == set(ids)
            found = await relays.fetch([{"kinds": [6050], "#e": ids}])
            assert {event.id for event in found} == {event.id for event in results}

    run(test)


def test_a_full_answer_is_asked_for_in_halves() -> None:
    async def test() -> None:
        customer, provider = Keys.generate(), Keys.generate()
        jobs = [job(customer, str(number)) for number in range(8)]
        results = [result(provider, one, str(number)) for one in jobs for number in range(50)]
        async with local_relay(stored_events=120) as url, network(url) as relays:
            await asyncio.gather(*(relays.publish(event) for event in results))
            found = await relays.fetch([{"#e": [one.id for one in jobs]}])
            assert {event.id for event in found} == {event.id for event in results}

    run(test)


def test_fetch_ends_in_time_and_keeps_what_had_come() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy, network(proxy.url) as relays:
            event = job(keys)
            await relays.publish(event)
            proxy.on_relay(drop("EOSE"))
            assert await relays.fetch(ALL, seconds=0.3) == [event]
            async with asyncio.timeout(5):
                await proxy.seen("CLOSE")

    run(test)


def test_fetch_takes_a_closed_request_for_an_end() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_client(each("REQ", lambda message: [Back(["CLOSED", message[1], "error: no"])]))
            assert await relays.fetch(ALL, seconds=60) == []
            assert relays.troubles() == {proxy.url: "error: no"}

    run(test)


def test_fetch_asks_relays_that_are_there_and_waits_for_none_that_is_not() -> None:
    async def test() -> None:
        event = job(Keys.generate())
        with dead_url() as dead:
            async with local_relay() as url, network(dead, url) as relays:
                assert (await relays.publish(event)).accepted == (url,)
                assert await relays.fetch(ALL, seconds=60) == [event]
                assert relays.states() == {dead: "connecting", url: "open"}
                assert relays.troubles() == {dead: "connection refused"}

    run(test)


def test_a_relay_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays_module, "FETCH_MOST", 30)

    async def test() -> None:
        event = plain(job(Keys.generate()))
        endless = [event | {"content": str(number)} for number in range(50)]
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_relay(each("EOSE", lambda one: [["EVENT", one[1], event] for event in endless]))
            assert len(await relays.fetch(ALL, seconds=60)) == 30

    run(test)


VALUES = st.lists(st.integers(0, 10**6).map(str), unique=True, max_size=3 * FETCH_VALUES)


@given(ids=VALUES, e=VALUES)
def test_pieces_of_a_filter_match_what_it_matches(ids: list[str], e: list[str]) -> None:
    pieces = split_filter({"kinds": [1], "ids": ids, "#e": e})
    assert all(len(piece["ids"]) <= FETCH_VALUES and len(piece["#e"]) <= FETCH_VALUES for piece in pieces)
    pairs = [(one, other) for piece in pieces for one in piece["ids"] for other in piece["#e"]]
    assert len(pairs) == len(set(pairs)) == len(ids) * len(e)
    assert all(piece["kinds"] == [1] for piece in pieces)


@given(e=VALUES)
def test_halves_of_a_filter_match_what_it_matches(e: list[str]) -> None:
    halves = halve_filter({"kinds": [1], "#e": e, "since": 5})
    if len(e) < 2:
        assert halves == []
    else:
        assert halves[0]["#e"] + halves[1]["#e"] == e
        assert all(half["since"] == 5 for half in halves)


def test_a_filter_with_a_limit_stays_whole() -> None:
    wanted = {"ids": [str(number) for number in range(90)], "limit": 10}
    assert split_filter(wanted) == [wanted]
    assert halve_filter(wanted) == []


# ---------------------------------------------------------------------------- forged and foreign events


def test_a_forged_copy_does_not_hide_the_real_event() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_relay(tamper(5050, lambda event: event | {"content": "forged"}, first=True))
            proxy.on_relay(tamper(5050, lambda event: event | {"sig": "00" * 64}, first=True))
            await relays.subscribe(ALL, inbox)
            sent = job(keys)
            await relays.publish(sent)
            await inbox.holds(4)
            assert [event for event in inbox.events if verify(event)] == [sent]

    run(test)


def test_a_duplicate_arrives_once() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_relay(duplicate("EVENT", copies=3))
            await relays.subscribe(ALL, inbox)
            sent = [job(keys, str(number)) for number in range(5)]
            for event in sent:
                await relays.publish(event)
            assert await settled(relays, inbox, keys) == sent

    run(test)


def test_what_was_not_asked_for_is_counted_and_passed_over() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url) as relays:
            await relays.subscribe(ALL, inbox)
            await proxy.inject(["EVENT", "nobody", plain(job(keys))])
            await proxy.inject(["EOSE", "nobody"])
            await proxy.inject(["CLOSED", "nobody", "error: x"])
            await proxy.inject(["OK", "00" * 32, True, ""])
            await proxy.inject(["OK", "", False, "invalid: too large"])
            assert await settled(relays, inbox, keys) == []
            assert relays.counts()[proxy.url].foreign == 5

    run(test)


def test_a_relay_that_ignores_the_filter_is_left_to_the_receiver() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        foreign = keys.sign(Draft(1, [], "a note"))
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_relay(ignore_filters(plain(foreign)))
            await relays.subscribe(ALL, inbox)
            assert await inbox.holds(1) == [foreign]

    run(test)


@given(st.lists(st.integers(0, 30), max_size=200))
def test_what_is_remembered_is_bounded_and_at_least_what_was_promised(numbers: list[int]) -> None:
    seen = Seen(remembered=5)
    events = {number: Event(str(number), "", 0, 1, [], "", "") for number in range(31)}
    order: list[int] = []  # distinct ones, by when they were last taken for new
    for number in numbers:
        recent = number in order[-5:]
        fresh = seen.add(events[number])
        assert not (recent and fresh)
        if fresh:
            order.append(number)
        assert len(seen._young) + len(seen._old) <= 10


# ---------------------------------------------------------------------------- lost and late answers


def test_an_event_is_sent_again_when_the_relay_says_nothing() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.05) as relays:
            proxy.on_client(drop("EVENT", times=1))
            proxy.on_relay(drop("OK", times=1))
            published = await relays.publish(job(Keys.generate()))
            assert published.accepted == (proxy.url,)
            assert proxy.from_client["EVENT"] == 3

    run(test)


def test_silence_is_neither_accepted_nor_refused() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.05, sends=2) as relays:
            proxy.on_relay(drop("OK"))
            published = await relays.publish(job(Keys.generate()))
            assert published.accepted == ()
            assert published.refused == {}
            assert proxy.from_client["EVENT"] == 2

    run(test)


def test_an_answer_that_comes_late_is_passed_over() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.05, sends=1) as relays:
            proxy.on_relay(hold("OK", times=1))
            assert (await relays.publish(job(keys))).accepted == ()
            await proxy.hung()
            assert proxy.release() == 1
            await relays.subscribe(ALL, inbox)
            await settled(relays, inbox, keys)
            assert relays.counts()[proxy.url].foreign == 1

    run(test)


def test_a_refusal_without_an_id_counts_for_the_only_event_under_way() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            proxy.on_client(refuse("invalid: too large", name=False))
            published = await relays.publish(job(Keys.generate()))
            assert published.refused == {proxy.url: "invalid: too large"}

    run(test)


def test_a_refusal_without_an_id_counts_for_none_of_two() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.1, sends=2) as relays:
            proxy.on_client(refuse("invalid: too large", name=False))
            both = await asyncio.gather(relays.publish(job(keys, "1")), relays.publish(job(keys, "2")))
            assert [published.refused for published in both] == [{}, {}]

    run(test)


def test_an_acceptance_without_an_id_counts_for_nothing() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.05, sends=2) as relays:
            proxy.on_relay(each("OK", lambda _: [["OK", "", True, ""]]))
            assert (await relays.publish(job(Keys.generate()))).accepted == ()

    run(test)


def test_a_duplicate_refusal_counts_as_accepted() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_client(refuse("duplicate: have it"))
            published = await relays.publish(job(Keys.generate()))
            assert published.accepted == (proxy.url,)

    run(test)


def test_an_ok_from_a_relay_that_was_not_asked_counts_for_nothing() -> None:
    async def test() -> None:
        keys = Keys.generate()
        event = job(keys)
        async with proxied() as one, proxied() as two:
            one.on_client(drop("EVENT"))
            two.on_client(drop("EVENT"))
            async with network(one.url) as relays, network(two.url, resend_seconds=60) as other:
                waiting = asyncio.create_task(relays.publish(event))
                await one.seen("EVENT")
                await two.inject(["OK", event.id, True, ""])
                await other.fetch(ALL)
                assert (await waiting).accepted == ()
                assert other.counts()[two.url].foreign == 1

    run(test)


def test_a_lost_request_is_made_again() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.05) as relays:
            proxy.on_client(drop("REQ", times=1))
            await relays.subscribe(ALL, inbox)
            assert proxy.from_client["REQ"] == 2
            assert await settled(relays, inbox, keys) == []

    run(test)


def test_subscribing_ends_though_no_relay_answers() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=0.05) as relays:
            proxy.on_client(drop("REQ"))
            await relays.subscribe(ALL, Inbox())
            assert proxy.from_client["REQ"] >= 2

    run(test)


def test_reordered_events_all_arrive() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url) as relays:
            await relays.subscribe(ALL, inbox)
            remove = proxy.on_relay(hold("EVENT"))
            sent = [job(keys, str(number)) for number in range(5)]
            for event in sent:
                await relays.publish(event)
            await proxy.hung(5)
            remove()
            proxy.release(backwards=True)
            assert await inbox.holds(5) == sent[::-1]

    run(test)


# ---------------------------------------------------------------------------- garbage

GARBAGE: list[str | bytes | list[Any]] = [
    "",
    "nonsense",
    "{}",
    "[]",
    "null",
    "7",
    '["EVENT"]',
    '["EVENT","s1"]',
    '["EVENT","s1",{}]',
    '["EVENT","s1",null]',
    '["EVENT",1,{}]',
    '["OK"]',
    '["OK","x"]',
    '["OK",null,true,""]',
    '["OK","x","yes",""]',
    '["EOSE"]',
    '["CLOSED",{}]',
    '["AUTH"]',
    '["AUTH",["x"]]',
    '["WHAT","s1"]',
    '["\\ud800"]',
    '["NOTICE","\\ud800x"]',
    "[" * 100_000,
    b"\x00\x01\x02",
    b"\xff\xfe",
    ["AUTH", "x" * 5000],
    ["EVENT", "s1", {"id": 1}],
    '["EVENT","s1",{"id":"","pubkey":"","created_at":1e99,"kind":1,"tags":[],"content":"","sig":""}]',
    '["EVENT","s1",{"id":"","pubkey":"","created_at":1,"kind":1,"tags":[1],"content":"","sig":""}]',
]


def test_garbage_is_counted_and_passed_over() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url, keys=keys) as relays:
            await relays.subscribe(ALL, inbox)
            proxy.on_client(
                each("EVENT", lambda message: [*(Back(one) for one in GARBAGE), message], times=1)
            )
            proxy.on_client(each("EVENT", lambda message: [Back(["NOTICE", "hello"]), message], times=1))
            assert await settled(relays, inbox, keys) == []
            counts = relays.counts()[proxy.url]
            assert counts.garbage == len(GARBAGE)
            assert counts.notices == 1
            assert counts.connections == 1

    run(test)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_bytes_break_the_decoder(raw: bytes | str) -> None:
    with contextlib.suppress(ValueError):
        decode_message(raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass"))


def test_a_gigantic_message_costs_a_connection_and_nothing_else() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url) as relays:
            await relays.subscribe(ALL, inbox)
            await proxy.inject(json.dumps(["NOTICE", "x" * 2**21]))
            await proxy.connected(2)
            sent = job(keys)
            await relays.publish(sent)
            assert await inbox.holds(1) == [sent]
            assert relays.counts()[proxy.url].oversize == 1

    run(test)


def test_a_receiver_that_raises_hurts_nobody_else() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

        def broken(event: Event) -> None:
            raise RuntimeError("a bug of ours")

        async with local_relay() as url, network(url) as relays:
            await relays.subscribe(ALL, broken)
            await relays.subscribe(ALL, inbox)
            await settled(relays, inbox, keys)
            await settled(relays, inbox, keys)
            assert [str(context["exception"]) for context in told] == ["a bug of ours"] * 2

    run(test)


def test_a_flood_at_a_slow_receiver_loses_nothing() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        event = plain(job(keys))
        flood = [["EVENT", "s1", event | {"content": str(number)}] for number in range(6000)]

        def slow(got: Event) -> None:
            if len(inbox.events) % 1000 == 0:
                time.sleep(0.02)  # the loop stands still, as it does when somebody computes
            inbox(got)

        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            proxy.on_relay(each("EOSE", lambda message: [*flood, message]))
            await relays.subscribe(ALL, slow)
            assert [got.content for got in await inbox.holds(6000)] == [str(number) for number in range(6000)]

    run(test)


# ---------------------------------------------------------------------------- the socket


def socket_of(relays: Relays, url: str) -> Any:
    """The websocket connection underneath."""
    return relays._relays[url]._connection


def test_what_is_written_in_one_turn_leaves_in_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with local_relay() as url, network(url, resend_seconds=60) as relays:
            transport = socket_of(relays, url).transport
            pieces: list[int] = []
            write = transport.write
            monkeypatch.setattr(transport, "write", lambda data: (pieces.append(len(data)), write(data)))
            events = [job(keys, str(number)) for number in range(50)]
            published = await asyncio.gather(*(relays.publish(event) for event in events))
            assert {one.accepted for one in published} == {(url,)}
            assert len(pieces) == 2

    run(test)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the kernel has no TCP_QUICKACK")
def test_the_socket_waits_neither_to_send_nor_to_acknowledge(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with local_relay() as url, network(url) as relays:
            connection = socket_of(relays, url)
            raw: socket.socket = connection.transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            spy = mock.Mock(wraps=raw)
            monkeypatch.setattr(connection, "_socket", spy)
            for number in range(10):
                await relays.publish(job(keys, str(number)))
            assert spy.setsockopt.call_count >= 10
            assert {call.args for call in spy.setsockopt.call_args_list} == {
                (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            }

    run(test)


def test_a_relay_that_does_not_read_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_UNSENT_BYTES", 200_000)

    async def test() -> None:
        keys = Keys.generate()
        over = asyncio.Event()

        async def deaf(connection: ServerConnection) -> None:
            connection.transport.pause_reading()
            await over.wait()
            connection.transport.abort()

        async with serve(deaf, "127.0.0.1", 0, compression=None) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with network(url, resend_seconds=0.1, sends=2) as relays:
                transport = socket_of(relays, url).transport
                events = [job(keys, f"{number} " + "x" * 60_000) for number in range(200)]
                for _ in range(3):  # what the kernel takes comes on top of what we hold
                    await asyncio.gather(*(relays.publish(event) for event in events))
                held = transport.get_write_buffer_size()
                assert held > 200_000
                await asyncio.gather(*(relays.publish(event) for event in events))
                assert transport.get_write_buffer_size() == held
            over.set()

    run(test)


# ---------------------------------------------------------------------------- connections that are lost


def test_a_subscription_survives_a_restart_and_gets_what_it_missed() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with (
            local_relay() as url,
            RelayProxy(url) as proxy,
            network(proxy.url) as relays,
            network(url) as direct,
        ):
            await relays.subscribe([{"kinds": [5050], "limit": 0}], inbox)
            before = job(keys, "before")
            await relays.publish(before)
            await inbox.holds(1)
            await proxy.restart(refuse=2)
            missed = job(keys, "missed")
            await direct.publish(missed)
            assert await inbox.holds(2) == [before, missed]
            assert proxy.refused == 2
            after = job(keys, "after")
            await relays.publish(after)
            assert await inbox.holds(3) == [before, missed, after]
            first, second = [message for message in proxy.messages if message[0] == "REQ"]
            assert first[1] == second[1]
            assert "since" not in first[2]
            assert time.time() - 200 < second[2]["since"] <= time.time() - 100
            assert "limit" not in second[2]

    run(test)


def test_an_event_dated_tomorrow_does_not_hide_what_comes_until_then() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with (
            local_relay() as url,
            RelayProxy(url) as proxy,
            network(proxy.url) as relays,
            network(url) as direct,
        ):
            await relays.subscribe(ALL, inbox)
            await proxy.inject(["EVENT", "s1", plain(job(keys, created_at=int(time.time()) + 86_400))])
            await inbox.holds(1)
            await proxy.restart()
            missed = job(keys, "missed")
            await direct.publish(missed)
            assert (await inbox.holds(2))[1] == missed

    run(test)


def test_an_event_under_way_is_sent_again_on_the_next_connection() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            proxy.on_relay(drop("OK", times=1))
            waiting = asyncio.create_task(relays.publish(job(Keys.generate())))
            await proxy.relayed("OK")
            await proxy.restart()
            assert (await waiting).accepted == (proxy.url,)

    run(test)


def test_an_event_sent_while_the_relay_is_away_goes_out_when_it_is_back() -> None:
    async def test() -> None:
        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            await proxy.restart(refuse=1)
            await until(lambda: relays.states()[proxy.url] == "connecting")
            published = await relays.publish(job(Keys.generate()))
            assert published.accepted == (proxy.url,)

    run(test)


def test_a_fetch_survives_a_restart() -> None:
    async def test() -> None:
        event = job(Keys.generate())
        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            await relays.publish(event)
            proxy.on_client(drop("REQ", times=1))
            waiting = asyncio.create_task(relays.fetch(ALL, seconds=60))
            await proxy.seen("REQ")
            await proxy.restart()
            assert await waiting == [event]

    run(test)


def test_a_relay_that_hangs_up_over_a_size_refuses_the_largest_event_only() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            proxy.on_client(
                lambda message: [HangUp(1009, "too big")] if len(str(message)) > 5000 else [message]
            )
            small, large = await asyncio.gather(
                relays.publish(job(keys, "x")), relays.publish(job(keys, "x" * 6000))
            )
            assert small.accepted == (proxy.url,)
            assert "size" in large.refused[proxy.url]

    run(test)


def test_a_subscription_that_the_relay_closes_is_made_again() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url) as relays:
            proxy.on_client(
                each("REQ", lambda one: [Back(["CLOSED", one[1], "rate-limited: slow"])], times=1)
            )
            await relays.subscribe(ALL, inbox)
            sent = job(keys)
            await relays.publish(sent)
            assert await inbox.holds(1) == [sent]

    run(test)


# ---------------------------------------------------------------------------- who we are (NIP-42)


def test_a_relay_that_asks_is_told_who_we_are() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with local_relay(nip42=True) as url, network(url, keys=keys, resend_seconds=60) as relays:
            await relays.subscribe(ALL, inbox)
            sent = [job(keys, str(number)) for number in range(10)]
            published = await asyncio.gather(*(relays.publish(event) for event in sent))
            assert {one.accepted for one in published} == {(url,)}
            assert {event.id for event in await inbox.holds(10)} == {event.id for event in sent}
            assert relays.states() == {url: "auth"}
            assert len(await relays.fetch(ALL)) == 10

    run(test)


def test_events_sent_before_the_challenge_are_sent_again() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with local_relay(nip42=True) as url, network(url, keys=keys, resend_seconds=60) as relays:
            published = await asyncio.gather(*(relays.publish(job(keys, str(n))) for n in range(30)))
            assert {one.accepted for one in published} == {(url,)}

    run(test)


def test_without_keys_such_a_relay_refuses() -> None:
    async def test() -> None:
        async with local_relay(nip42=True) as url, network(url, resend_seconds=60) as relays:
            published = await relays.publish(job(Keys.generate()))
            assert published.refused[url].startswith("auth-required:")
            await relays.subscribe(ALL, Inbox())
            assert relays.troubles()[url].startswith("auth-required:")
            assert await relays.fetch(ALL, seconds=60) == []

    run(test)


def test_only_the_newest_challenge_counts_and_it_is_found() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy:
            proxy.on_each_client(lambda: AuthGate(proxy.url))
            async with network(proxy.url, keys=keys, resend_seconds=60) as relays:
                published = await asyncio.gather(*(relays.publish(job(keys, str(n))) for n in range(5)))
                assert {one.accepted for one in published} == {(proxy.url,)}
                assert relays.states() == {proxy.url: "auth"}
                await proxy.restart()
                assert (await relays.publish(job(keys, "again"))).accepted == (proxy.url,)

    run(test)


def test_a_relay_that_will_not_have_us_refuses_with_its_words() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy:
            proxy.on_each_client(lambda: AuthGate(proxy.url, allowed=["00" * 32]))
            async with network(proxy.url, keys=keys, resend_seconds=60) as relays:
                published = await relays.publish(job(keys))
                assert published.refused == {proxy.url: "restricted: you are not on the list"}
                await relays.subscribe(ALL, Inbox())
                assert await relays.fetch(ALL, seconds=60) == []
                assert relays.states() == {proxy.url: "open"}
                assert relays.troubles() == {proxy.url: "restricted: you are not on the list"}

    run(test)


def test_a_lost_authentication_is_made_again() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy:

            def gate() -> Rule:
                inner, lossy = AuthGate(proxy.url), drop("AUTH", times=1)
                return lambda message: [out for kept in lossy(message) for out in inner(kept)]

            proxy.on_each_client(gate)
            async with network(proxy.url, keys=keys, resend_seconds=0.05, sends=10) as relays:
                assert (await relays.publish(job(keys))).accepted == (proxy.url,)
                assert proxy.from_client["AUTH"] >= 2

    run(test)


def test_a_relay_that_knows_us_and_still_asks_has_refused() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy, network(proxy.url, keys=keys, resend_seconds=60) as relays:
            proxy.on_client(each("AUTH", lambda message: [Back(["OK", message[1]["id"], True, ""])]))
            proxy.on_client(refuse("auth-required: and you are not it"))
            await proxy.inject(["AUTH", "who?"])
            await until(lambda: relays.states() == {proxy.url: "auth"})
            published = await relays.publish(job(keys))
            assert published.refused == {proxy.url: "auth-required: and you are not it"}

    run(test)


def test_a_challenge_out_of_nowhere_is_answered() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy, network(proxy.url, keys=keys) as relays:
            proxy.on_client(each("AUTH", lambda message: [Back(["OK", message[1]["id"], True, ""])]))
            for number in (1, 2):
                await proxy.inject(["AUTH", f"challenge {number}"])
                await proxy.seen("AUTH", number)
                await relays.fetch(ALL)
            assert relays.states() == {proxy.url: "auth"}
            answers = [message[1] for message in proxy.messages if message[0] == "AUTH"]
            assert [answer["tags"][1] for answer in answers] == [
                ["challenge", "challenge 1"],
                ["challenge", "challenge 2"],
            ]
            assert {answer["pubkey"] for answer in answers} == {keys.public}

    run(test)


def test_a_relay_cannot_make_us_sign_for_ever() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy, network(proxy.url, keys=keys, resend_seconds=60) as relays:
            numbers = iter(range(10_000))
            proxy.on_client(
                each(
                    "AUTH",
                    lambda message: [
                        Back(["AUTH", str(next(numbers))]),
                        Back(["OK", message[1]["id"], False, "no"]),
                    ],
                )
            )
            await proxy.inject(["AUTH", "first"])
            await proxy.seen("AUTH", 100)
            await relays.fetch(ALL)
            await relays.fetch(ALL)
            assert proxy.from_client["AUTH"] == 100

    run(test)


# ---------------------------------------------------------------------------- opening and closing


def test_opening_names_each_relay_and_what_is_wrong_with_it() -> None:
    async def test() -> None:
        async with proxied() as proxy:
            await proxy.restart(refuse=10**6)
            with dead_url() as dead:
                relays = Relays([dead, proxy.url], connect_seconds=0.3)
                with pytest.raises(LaneError) as raised:
                    await relays.open()
            assert f"{dead}: connection refused" in raised.value.message
            assert f"{proxy.url}: HTTP 503" in raised.value.message
            assert set(relays.states().values()) == {"closed"}

    run(test)


def test_opening_goes_on_with_a_relay_that_is_late() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as late, local_relay() as url:
            await late.restart(refuse=2)
            async with network(url, late.url, resend_seconds=60) as relays:
                await relays.subscribe(ALL, inbox)
                await late.connected()
                async with network(late.url) as other:
                    await late.seen("REQ")
                    sent = job(keys)
                    await other.publish(sent)
                    assert await inbox.holds(1) == [sent]

    run(test)


def test_closing_ends_everything_that_waits() -> None:
    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy:
            proxy.on_client(drop("EVENT"))
            proxy.on_client(drop("REQ"))
            async with network(proxy.url, resend_seconds=60) as relays:
                waiting = [
                    asyncio.create_task(relays.publish(job(keys))),
                    asyncio.create_task(relays.subscribe(ALL, Inbox())),
                    asyncio.create_task(relays.fetch(ALL, seconds=60)),
                ]
                await proxy.seen("EVENT")
                await proxy.seen("REQ", 2)
                await relays.close()
                published, subscription, found = await asyncio.gather(*waiting)
                assert (published.accepted, published.refused, found) == ((), {}, [])
                await subscription.close()
                assert relays.states() == {proxy.url: "closed"}
                assert (await relays.publish(job(keys))).accepted == ()
                assert await relays.fetch(ALL, seconds=60) == []
                await relays.close()

    run(test)


@pytest.mark.parametrize("url", ["", "relay.example.com", "https://relay.example.com", "ws://", "ws://x:y"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Relays([url])


def test_no_relays_are_refused() -> None:
    with pytest.raises(UsageError, match="no relays"):
        Relays([])
