"""What one relay has stored, all of it: asked for in pieces that a relay's limits do not cut.

Owns the pieces, and when one was too large. A relay says nothing of what it held back, and cannot be paged
through: many events carry the same second. So filters are split beforehand, and halved where an answer is
so long that it may be cut.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from oa_compile.swarm.protocol.event import Event
from oa_compile.swarm.relays.network import Filter
from oa_compile.swarm.relays.pending import Request
from oa_compile.swarm.relays.relay import Relay

FETCH_VALUES = 25
"""Values of a list in one request for stored events: some relays take no more than this many."""
FETCH_FULL = 100
"""From so many events on, a relay may have held some back: the request is made again in halves."""
FETCH_MOST = 20_000
"""Events taken for one request: a relay that never ends is ended."""
FETCH_AT_ONCE = 8
"""Requests for stored events at one relay at once."""
FETCH_RETRY = 0.5
"""Seconds until a request is made again that was one too many for the relay's taste."""


def split_filter(wanted: Filter) -> list[Filter]:
    """The filter as several, none with more than `FETCH_VALUES` ids, `#e` or other tag values; together
    they match what it matched. With a `limit` it stays whole.
    """
    pieces = [wanted]
    if "limit" in wanted:
        return pieces
    for name, values in wanted.items():
        if name == "ids" or name.startswith("#"):
            parts = [list(part) for part in _batched(values, FETCH_VALUES)] or [[]]
            pieces = [piece | {name: part} for piece in pieces for part in parts]
    return pieces


def halve_filter(wanted: Filter) -> list[Filter]:
    """The filter as two, split at its longest list of ids, tag values, authors or kinds; none if it has no
    list of two.
    """
    lists = [name for name, values in wanted.items() if isinstance(values, list) and len(values) > 1]
    if not lists or "limit" in wanted:
        return []
    name = max(lists, key=lambda one: len(wanted[one]))
    values = wanted[name]
    middle = len(values) // 2
    return [wanted | {name: values[:middle]}, wanted | {name: values[middle:]}]


class _Stored(NamedTuple):
    """What a relay had for one request: how many events, and why it sent no more (nothing: that was all)."""

    events: int
    reason: str


_requests = itertools.count(1)
"""A request's number: no connection has two of one name."""


async def collect(relay: Relay, filters: Sequence[Filter], take: Callable[[Event], None]) -> None:
    """Hand on all that one relay has stored for the filters; some events may come more than once."""
    wanted = [piece for one in filters for piece in split_filter(one)]
    wanted.reverse()

    async def work() -> None:
        while wanted:
            piece = wanted.pop()
            stored = await _ask(relay, piece, take)
            if stored.events >= FETCH_FULL:
                wanted.extend(halve_filter(piece))
            if stored.reason.startswith("rate-limited:"):
                wanted.append(piece)
                await asyncio.sleep(FETCH_RETRY)

    await asyncio.gather(*(work() for _ in range(min(FETCH_AT_ONCE, len(wanted)))))


async def _ask(relay: Relay, wanted: Filter, take: Callable[[Event], None]) -> _Stored:
    """Ask one relay one filter; how many events it sent, and why it sent no more."""
    done = asyncio.Event()
    count, why = 0, ""

    def took(event: Event) -> None:
        nonlocal count
        count += 1
        if count <= FETCH_MOST:
            take(event)
        else:
            done.set()

    def end(_url: str, reason: str) -> None:
        nonlocal why
        why = reason
        done.set()

    request = Request(f"f{next(_requests)}", [wanted], took, end, standing=False)
    relay.ask(request)
    try:
        await done.wait()
    finally:
        relay.drop(request.id)
    return _Stored(count, why)


def _batched(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
