"""What a bad relay or connection does: lost answers, garbage, sockets that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from oa_compile.swarm.protocol.event import Event, Keys
from oa_compile.swarm.relays import pending, prompt_socket
from oa_compile.swarm.relays import relay as relay_module
from oa_compile.swarm.relays.relays import Relays
from oa_compile.swarm.relays.wire import decode_message
from tests.support.relay_proxy import (
    Back,
    HangUp,
    RelayProxy,
    Rule,
    drop,
    each,
    hold,
    refuse,
)
from tests.support.relays import (
    ALL,
    Inbox,
    job,
    local_relay,
    network,
    plain,
    proxied,
    run,
    settled,
    until,
)

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


def test_a_lost_request_is_not_made_again_for_a_connection_that_is_gone() -> None:
    async def test() -> None:
        written: list[bytes] = []
        requests = pending.Requests("ws://r", pending.Patience(0.01, sends=2), write=written.append)
        requests.add(pending.Request("s1", ALL, Inbox(), lambda *_: None), now=True)
        requests.lost()
        requests.opened()
        await asyncio.sleep(0.1)
        assert len(written) == 3  # once on the first connection, twice on the second

    run(test)


def test_subscribing_waits_for_one_relay_and_not_for_all() -> None:
    async def test() -> None:
        async with proxied() as silent, local_relay() as url:
            silent.on_client(drop("REQ"))
            async with network(silent.url, url, resend_seconds=60) as relays:
                await relays.subscribe(ALL, Inbox())

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
    monkeypatch.setattr(prompt_socket, "MAX_UNSENT_BYTES", 200_000)

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


def test_a_relay_that_hangs_up_on_much_work_is_called_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(relay_module, "LAST_DELAY", 10_000)
    monkeypatch.setattr(relay_module, "STEADY_MESSAGES", 15)

    def impatient() -> Rule:
        said = itertools.count(1)
        return lambda message: [message] if next(said) <= 20 else [HangUp(1008, "you talk too much")]

    async def test() -> None:
        keys = Keys.generate()
        async with proxied() as proxy:
            proxy.on_each_client(impatient)
            async with network(proxy.url, resend_seconds=60) as relays:
                for number in range(400):
                    published = await relays.publish(job(keys, str(number)))
                    assert published.accepted == (proxy.url,)
                assert relays.counts()[proxy.url].connections == 20

    run(test)


def test_more_than_localrelay_takes_a_minute_is_published_and_received_once() -> None:
    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with local_relay() as url, network(url, resend_seconds=60) as relays, network(url) as other:
            await other.subscribe(ALL, inbox)
            events = [job(keys, str(number)) for number in range(6500)]
            published = await asyncio.gather(*(relays.publish(event) for event in events))
            assert {one.accepted for one in published} == {(url,)}
            assert relays.counts()[url].connections >= 2
            assert {event.id for event in await inbox.holds(6500)} == {event.id for event in events}

    run(test)


def test_a_subscription_that_the_relay_closes_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "FIRST_RETRY", 0.05)

    async def test() -> None:
        keys, inbox = Keys.generate(), Inbox()
        async with proxied() as proxy, network(proxy.url, resend_seconds=60) as relays:
            proxy.on_client(
                each("REQ", lambda one: [Back(["CLOSED", one[1], "rate-limited: slow"])], times=1)
            )
            await relays.subscribe(ALL, inbox)
            sent = job(keys)
            await relays.publish(sent)
            assert await inbox.holds(1) == [sent]

    run(test)
