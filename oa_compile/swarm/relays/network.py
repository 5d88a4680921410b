"""What customer and provider need of Nostr relays, whichever and however many there are.

A contract and its values. `relays` fulfils it over websockets; a simulation may fulfil it in memory. All
of it runs on one asyncio loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from oa_compile.swarm.protocol.event import Event

Filter = dict[str, Any]
"""A NIP-01 filter: ``{"kinds": [6050], "#p": [pubkey], "since": 1700000000}``."""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an event that was sent: per relay, accepted (True), or refused with a reason.

    A relay that never said anything stands in neither.
    """

    accepted: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


RelayState = Literal["connecting", "open", "auth", "closed"]
"""``connecting``: no connection, being tried; ``auth``: open, and it has accepted who we are (NIP-42);
``closed``: we let go.
"""


class Subscription(Protocol):
    """A standing subscription."""

    async def close(self) -> None:
        """Stop receiving."""


class Network(Protocol):
    """Relays as one. Events arrive once each however many relays bring them, in any order.

    Everything a relay says is foreign: an event handed on has been neither verified nor held against
    the filter. Whoever receives it does both.
    """

    async def publish(self, event: Event) -> Published:
        """Send to every relay; returns when one accepted, all refused, or patience ended. Sends the same
        event again to a relay that says nothing. Never raises for what a relay does.
        """

    async def subscribe(self, filters: Sequence[Filter], on_event: Callable[[Event], None]) -> Subscription:
        """Receive events of `filters` from now on, on every relay, also after reconnects (what was
        missed meanwhile is asked for again). Returns when a relay has answered with what it stored, or
        patience ended; `on_event` is called on the loop.
        """

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        """What relays have stored, all relays together, each event once, waiting at most `seconds`."""

    async def close(self) -> None:
        """Let go of all connections. Safe to call twice."""
