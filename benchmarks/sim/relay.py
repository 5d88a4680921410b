"""A simulated relay with all service providers behind it: fulfils `network.Network`.

Owns the ways of events and their time. A job is taken after 30 … 80 ms (uniform), refused one time in a
thousand; one event in 300 for the customer is stored and not brought, so that only asking again finds it.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.sim.lightning import Lightning
from benchmarks.sim.provider import SimProvider
from benchmarks.sim.world import Profile, World, draw
from oa_compile.swarm.protocol.event import Event
from oa_compile.swarm.protocol.nip90 import job_of
from oa_compile.swarm.relays.network import Filter, Published

T = TypeVar("T")

_RELAY = "wss://relay.example"


class SimNetwork:
    """One customer's network. Every provider of `world` has announced itself."""

    def __init__(self, world: World, lightning: Lightning) -> None:
        self.jobs = 0
        self.newborn = 0
        """Keys that thieves made during the run."""
        self._world = world
        self._lightning = lightning
        self._random = random.Random(f"relay {world.seed}")
        self._profiles = {profile.keys.public: profile for profile in world.profiles}
        self._providers: dict[str, SimProvider] = {}
        self._stored: dict[str, list[Event]] = defaultdict(list)
        self._on_event: Callable[[Event], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- Network ---------------------------------------------------------------------------------

    async def publish(self, event: Event) -> Published:
        self.jobs += 1
        await asyncio.sleep(self._random.uniform(0.03, 0.08))
        if self._random.random() < 0.001:
            return Published((), {_RELAY: "rate-limited: slow down"})
        provider = self._provider(event.value("p") or "")
        self._later(provider.profile.travel, provider.serve, event)
        return Published((_RELAY,))

    async def subscribe(self, filters: Sequence[Filter], on_event: Callable[[Event], None]) -> _Standing:
        self._on_event = on_event
        for event in self._world.announcements:
            on_event(event)
        return _Standing(self)

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        await asyncio.sleep(0.1)
        return [event for one in filters for job in one.get("#e", ()) for event in self._stored.get(job, ())]

    async def close(self) -> None:
        self.silence()
        for task in list(self._tasks):
            task.cancel()

    # -- the providers ---------------------------------------------------------------------------

    @property
    def asked(self) -> list[SimProvider]:
        """Everybody a job was ever sent to."""
        return list(self._providers.values())

    def silence(self) -> None:
        """Bring nothing any more."""
        self._on_event = None

    def _provider(self, pubkey: str) -> SimProvider:
        provider = self._providers.get(pubkey)
        if provider is None:
            profile = self._profiles[pubkey]
            provider = self._providers[pubkey] = SimProvider(
                profile,
                self._lightning,
                say=lambda event: self._later(profile.travel, self._bring, event),
                gone=lambda: self._later(30.0, self._come_back, profile),
            )
        return provider

    async def _bring(self, event: Event) -> None:
        job = job_of(event) or ""
        if event.pubkey in self._profiles:
            self._stored[job].append(event)
        if self._on_event is not None and self._random.random() >= 1 / 300:
            self._on_event(event)

    async def _come_back(self, profile: Profile) -> None:
        """A thief under a new key, half a minute after it left the old one."""
        self.newborn += 1
        again = draw(len(self._profiles), self._world.seed, kind=profile.kind)
        self._profiles[again.keys.public] = again
        if self._on_event is not None:
            self._on_event(again.announcement(at=asyncio.get_running_loop().time()))

    def _later(self, seconds: float, do: Callable[[T], Coroutine[Any, Any, None]], what: T) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await do(what)

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(frozen=True)
class _Standing:
    """The one subscription."""

    network: SimNetwork

    async def close(self) -> None:
        self.network.silence()
