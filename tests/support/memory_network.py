"""A relay in memory, for tests that are about what is said and not about how it travels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oa_compile.swarm.protocol.event import Event
from oa_compile.swarm.relays.network import Filter, Published


def matches(event: Event, wanted: Filter) -> bool:
    """NIP-01, as far as it is used here."""
    return (
        event.kind in wanted.get("kinds", [event.kind])
        and event.pubkey in wanted.get("authors", [event.pubkey])
        and event.created_at >= wanted.get("since", 0)
        and all(
            any(tag[0] == name[1:] and tag[1] in values for tag in event.tags if len(tag) > 1)
            for name, values in wanted.items()
            if name.startswith("#")
        )
    )


@dataclass(eq=False)
class MemoryNetwork:
    """Fulfils swarm.network.Network: one relay that keeps everything, and takes what `refuses` allows."""

    refuses: Callable[[Event], Published | None] = field(default=lambda _event: None)
    """What becomes of an event instead of being taken; None takes it."""
    stored: list[Event] = field(default_factory=list)
    published: list[Event] = field(default_factory=list)
    fetches: int = 0
    _subscribers: list[tuple[Sequence[Filter], Callable[[Event], None]]] = field(default_factory=list)

    async def publish(self, event: Event) -> Published:
        self.published.append(event)
        refused = self.refuses(event)
        if refused is not None:
            return refused
        self.stored.append(event)
        self.deliver(event)
        await asyncio.sleep(0)
        return Published(("memory",))

    def deliver(self, event: Event) -> None:
        """Bring an event to whoever asked for such, however often."""
        for filters, on_event in list(self._subscribers):
            if any(matches(event, one) for one in filters):
                on_event(event)

    async def subscribe(
        self, filters: Sequence[Filter], on_event: Callable[[Event], None]
    ) -> MemorySubscription:
        for event in list(self.stored):
            if any(matches(event, one) for one in filters):
                on_event(event)
        entry = (filters, on_event)
        self._subscribers.append(entry)
        return MemorySubscription(lambda: self._subscribers.remove(entry))

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        self.fetches += 1
        return [event for event in self.stored if any(matches(event, one) for one in filters)]

    async def close(self) -> None:
        self._subscribers.clear()


@dataclass
class MemorySubscription:
    leave: Callable[[], None]

    async def close(self) -> None:
        self.leave()
