"""Several relays as one network.

Owns what more than one relay makes necessary: which have answered, and each event once. Fulfils
`network.Network`.

**Each event once** is an economy, not a protection. An event is known by a digest of all of it, so a copy
with anything changed (its signature too) is another event, and both are handed on: whoever verifies them
drops the forged one, and the real one was never hidden by it. Knowing them by id alone would let a relay
that is faster with a forgery silence a provider. What is remembered is bounded, so an old event may come
again.

**What is missed** while a connection is away is asked for again, but relays return a bounded number of
stored events a request (LocalRelay 500). Who waits for particular events has to `fetch` them by `#e` after
a while: see `stored`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from oa_compile.errors import LaneError, UsageError
from oa_compile.swarm.protocol.event import Event, Keys, encode_event
from oa_compile.swarm.relays.network import Filter, Published, RelayState
from oa_compile.swarm.relays.pending import Patience, Request, Verdict
from oa_compile.swarm.relays.relay import Counts, Relay
from oa_compile.swarm.relays.stored import collect
from oa_compile.swarm.relays.wire import event_frame

REMEMBERED = 200_000
"""Events a subscription remembers at least; at most twice as many."""


class Seen:
    """Which events have come already: a set in two generations, of which the older one is forgotten."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def add(self, event: Event) -> bool:
        """Whether the event is new; it is known from now on."""
        digest = hashlib.blake2b(encode_event(event), digest_size=16).digest()
        if digest in self._young or digest in self._old:
            return False
        if len(self._young) >= self._remembered:
            self._old, self._young = self._young, set()
        self._young.add(digest)
        return True


class Relays:
    """Relays as one network, all on the running loop. `on_event` of a subscription is called by the loop
    itself, so what it raises is told to the loop's exception handler and hurts no connection.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        keys: Keys | None = None,
        resend_seconds: float = 2.0,
        sends: int = 3,
        connect_seconds: float = 5.0,
    ) -> None:
        """Relays at `urls` (``ws://`` or ``wss://``). With `keys`, relays that ask who we are (NIP-42) are
        told. Raises UsageError for no URL, or what is none.
        """
        if not urls:
            raise UsageError("no relays", hint='name at least one: relays = ["wss://…"]')
        for url in urls:
            _check_url(url)
        self._patience = Patience(resend_seconds=resend_seconds, sends=sends)
        self._connect_seconds = connect_seconds
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)
        self._relays = {
            url: Relay(
                url,
                keys=keys,
                patience=self._patience,
                connect_seconds=connect_seconds,
                on_change=self._changed.set,
            )
            for url in dict.fromkeys(urls)
        }

    async def open(self) -> None:
        """Connect; returns when one relay is open, and goes on with the others. Raises LaneError when after
        `connect_seconds` none is, and lets go of all of them then.
        """
        for relay in self._relays.values():
            relay.start()
        try:
            async with asyncio.timeout(self._connect_seconds):
                await self._one_open()
        except TimeoutError:
            await self.close()
            trouble = "; ".join(
                f"{relay.url}: {relay.trouble or f'no answer in {self._connect_seconds:g} s'}"
                for relay in self._relays.values()
            )
            raise LaneError(
                f"no relay can be reached: {trouble}",
                hint="check `relays` in the config and that they are running",
            ) from None

    def states(self) -> dict[str, RelayState]:
        """Each relay's state, by URL."""
        return {url: relay.state for url, relay in self._relays.items()}

    def troubles(self) -> dict[str, str]:
        """What went wrong last at a relay, by URL, where something did since it was open. Foreign text."""
        return {url: relay.trouble for url, relay in self._relays.items() if relay.trouble}

    def counts(self) -> dict[str, Counts]:
        """What came from each relay so far, by URL."""
        return {url: relay.counts for url, relay in self._relays.items()}

    async def publish(self, event: Event) -> Published:
        """As `Network.publish`. The others go on in the background when one relay has accepted."""
        answers = _Answers(len(self._relays))
        frame = event_frame(event)
        for relay in self._relays.values():
            relay.send(event.id, frame, answers.take)
        await answers.enough
        return Published(tuple(answers.accepted), dict(answers.refused))

    async def subscribe(self, filters: Sequence[Filter], on_event: Callable[[Event], None]) -> Standing:
        """As `Network.subscribe`."""
        loop = asyncio.get_running_loop()
        seen = Seen()
        answered = asyncio.Event()
        silent = set(self._relays)

        def take(event: Event) -> None:
            if seen.add(event):
                loop.call_soon(standing.receive, event)

        def end(url: str, reason: str) -> None:
            silent.discard(url)
            if not reason or not silent:
                answered.set()

        request = Request(f"s{next(self._numbers)}", list(filters), take, end)
        standing = Standing(request.id, list(self._relays.values()), on_event)
        for relay in self._relays.values():
            relay.ask(request)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.seconds):
                    await answered.wait()
        except asyncio.CancelledError:
            await standing.close()
            raise
        return standing

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        """As `Network.fetch`, in no order. Relays that are away are left out, unless all are: then the
        first that comes back is asked. Long lists of ids and tag values are asked for in pieces.
        """
        found: list[Event] = []
        seen = Seen()

        def take(event: Event) -> None:
            if seen.add(event):
                found.append(event)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._one_open()
                await asyncio.gather(
                    *(collect(relay, filters, take) for relay in self._relays.values() if relay.connected)
                )
        return found

    async def close(self) -> None:
        """As `Network.close`."""
        await asyncio.gather(*(relay.close() for relay in self._relays.values()))

    async def _one_open(self) -> None:
        while not any(relay.connected or relay.state == "closed" for relay in self._relays.values()):
            self._changed.clear()
            await self._changed.wait()


class Standing:
    """A subscription on every relay."""

    def __init__(self, request_id: str, relays: Sequence[Relay], on_event: Callable[[Event], None]) -> None:
        self._request_id, self._relays, self._on_event = request_id, relays, on_event
        self._open = True

    def receive(self, event: Event) -> None:
        """Hand an event on."""
        if self._open:
            self._on_event(event)

    async def close(self) -> None:
        """Stop receiving: nothing is handed on any more. Safe to call twice."""
        self._open = False
        for relay in self._relays:
            relay.drop(self._request_id)


class _Answers:
    """What relays said of one event; `enough` is done when one accepted it, or no more will come."""

    def __init__(self, relays: int) -> None:
        self.accepted: list[str] = []
        self.refused: dict[str, str] = {}
        self.enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = relays

    def take(self, url: str, verdict: Verdict, reason: str) -> None:
        """One relay's verdict."""
        self._left -= 1
        if verdict == "accepted":
            self.accepted.append(url)
        elif verdict == "refused":
            self.refused[url] = reason
        if (self.accepted or not self._left) and not self.enough.done():
            self.enough.set_result(None)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(f"not a relay's URL: {url}", hint="such as wss://relay.example.com")
