"""Relays that ask who we are (NIP-42)."""

from __future__ import annotations

import asyncio

from oa_compile.swarm.protocol.event import Keys
from tests.support.relay_proxy import (
    AuthGate,
    Back,
    Rule,
    drop,
    each,
    refuse,
)
from tests.support.relays import (
    ALL,
    Inbox,
    job,
    local_relay,
    network,
    proxied,
    run,
    until,
)


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
