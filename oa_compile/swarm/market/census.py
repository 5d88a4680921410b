"""Who is there: the service providers that have announced themselves on relays.

Owns reading their announcements once; whom to ask is the market's matter.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from oa_compile.swarm.protocol.event import Event, verify
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND, Handler, read_handler
from oa_compile.swarm.protocol.nip90 import JOB_KIND, ProtocolError
from oa_compile.swarm.relays.network import Network


@dataclass(frozen=True, slots=True)
class Census:
    """Announcements of text generation (kind 5050), the newest of each key, and how many events were passed
    over, by reason.
    """

    handlers: tuple[Handler, ...]
    passed_over: Counter[str]


async def take_census(
    network: Network, *, seconds: float = 5.0, clock: Callable[[], float] = time.time
) -> Census:
    """Ask what relays have stored, waiting at most so long."""
    newest: dict[str, Handler] = {}
    passed_over: Counter[str] = Counter()
    wanted = {"kinds": [HANDLER_KIND], "#k": [str(JOB_KIND)]}
    for event in await network.fetch([wanted], seconds=seconds):
        reason = _disbelief(event, now=clock())
        if reason:
            passed_over[reason] += 1
            continue
        try:
            handler = read_handler(event)
        except ProtocolError:
            passed_over["makes no sense"] += 1
            continue
        known = newest.get(handler.provider)
        if known is None or known.created_at < handler.created_at:
            newest[handler.provider] = handler
    return Census(tuple(sorted(newest.values(), key=lambda handler: handler.provider)), passed_over)


def _disbelief(event: Event, *, now: float) -> str:
    """Why an event is passed over; empty if it is a standing announcement."""
    if event.kind != HANDLER_KIND:
        return "another kind"
    expires = event.value("expiration")
    if expires is not None and not (expires.isascii() and expires.isdigit() and float(expires) > now):
        return "expired"
    return "" if verify(event) else "badly signed"
