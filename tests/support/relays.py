"""What tests of the swarm share: a relay of their own, a network over it, events to send and to wait for.

All on loopback and in the running loop; every port is one the system chose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec

from oa_compile.swarm.protocol.event import Draft, Event, Keys
from oa_compile.swarm.relays.local_relay import run_local_relay
from oa_compile.swarm.relays.relays import Relays
from tests.support.relay_proxy import RelayProxy


@contextlib.asynccontextmanager
async def local_relay(
    *, nip42: bool = False, stored_events: int = 500, folder: Path | None = None
) -> AsyncIterator[str]:
    """A LocalRelay while the block runs; its URL."""
    relay = await run_local_relay(nip42=nip42, stored_events=stored_events, folder=folder)
    try:
        yield relay.url
    finally:
        await relay.close()


@contextlib.asynccontextmanager
async def network(*urls: str, **settings: Any) -> AsyncIterator[Relays]:
    """Relays that are open while the block runs. They say things again after 0.2 s, three times in all."""
    relays = Relays(urls, **({"resend_seconds": 0.2, "sends": 3, "connect_seconds": 5.0} | settings))
    await relays.open()
    try:
        yield relays
    finally:
        await relays.close()


@contextlib.asynccontextmanager
async def proxied() -> AsyncIterator[RelayProxy]:
    """A proxy in front of a LocalRelay of its own."""
    async with local_relay() as url, RelayProxy(url) as proxy:
        yield proxy


@contextlib.contextmanager
def dead_url() -> Iterator[str]:
    """The URL of a port that is taken and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"ws://127.0.0.1:{taken.getsockname()[1]}"


def job(keys: Keys, text: str = "question", *, created_at: int | None = None, **tags: str) -> Event:
    """A signed job request: kind 5050 with an `i` tag, and single-valued tags by name."""
    drafted = [["i", text, "text"], *([name, value] for name, value in tags.items())]
    return keys.sign(Draft(5050, drafted, ""), created_at=created_at)


def result(keys: Keys, request: Event, text: str = "answer", *, created_at: int | None = None) -> Event:
    """A signed job result for `request`: kind 6050 with its `e` and `p` tags."""
    tags = [["e", request.id], ["p", request.pubkey]]
    return keys.sign(Draft(6050, tags, text), created_at=created_at)


def plain(event: Event) -> dict[str, Any]:
    """The event as JSON knows it, for rules and injections."""
    raw: dict[str, Any] = msgspec.to_builtins(event)
    return raw


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nothing announces; the test's own limit ends it."""
    while not holds():
        await asyncio.sleep(0.001)


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
