"""Relays as a network: an honest relay, what it has stored, forged and foreign events."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import LaneError, UsageError
from oa_compile.swarm.protocol.event import Draft, Event, Keys, verify
from oa_compile.swarm.relays import stored
from oa_compile.swarm.relays.local_relay import MAX_EVENT_BYTES, run_local_relay
from oa_compile.swarm.relays.network import Network
from oa_compile.swarm.relays.relays import Relays, Seen, Standing
from oa_compile.swarm.relays.stored import FETCH_VALUES, halve_filter, split_filter
from tests.support.relay_proxy import (
    Back,
    drop,
    duplicate,
    each,
    ignore_filters,
    refuse,
    tamper,
)
from tests.support.relays import (
    ALL,
    Inbox,
    dead_url,
    job,
    local_relay,
    network,
    plain,
    proxied,
    result,
    run,
    settled,
    until,
)

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


def test_fetch_asks_again_where_it_asked_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "FETCH_RETRY", 0.01)

    async def test() -> None:
        event = job(Keys.generate())
        async with proxied() as proxy, network(proxy.url) as relays:
            await relays.publish(event)
            proxy.on_client(
                each("REQ", lambda one: [Back(["CLOSED", one[1], "rate-limited: slow"])], times=3)
            )
            assert await relays.fetch(ALL, seconds=60) == [event]
            assert proxy.from_client["REQ"] == 4

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
    monkeypatch.setattr(stored, "FETCH_MOST", 30)

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
