"""What a service provider says, and what it remembers having said.

Owns the last word on each request, so that a request that comes again is told the same again, and never
taken up twice. What to say is `serving`'s matter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from oa_compile.swarm.protocol.event import Draft, Event, Keys, encode_event
from oa_compile.swarm.protocol.nip90 import Cipher, Feedback, Result, Status, draft_feedback, draft_result
from oa_compile.swarm.relays.network import Network, Published

LARGE = 32_768
"""Bytes of an event from which a relay's refusal, or its silence, is put down to the size."""


class Memory:
    """Which requests were taken up, and the last word on each, so that a repeat is told the same again.

    A request is remembered for as long as it could come again, `seconds` from when it arrived; of the
    events, the youngest `most_bytes` are kept.
    """

    def __init__(self, *, seconds: float, most_bytes: int = 64 << 20) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._last: dict[str, Event | None] = {}
        self._arrivals: deque[tuple[float, str]] = deque()
        self._sizes: dict[str, int] = {}
        """Of the events that are kept, the youngest last."""
        self._bytes = 0

    def __contains__(self, request: str) -> bool:
        return request in self._last

    def __len__(self) -> int:
        return len(self._last)

    def last(self, request: str) -> Event | None:
        """The last word on that request, if any was said and is still kept."""
        return self._last.get(request)

    def take(self, request: str, *, now: float) -> None:
        """A request was taken up."""
        self._last[request] = None
        self._arrivals.append((now, request))
        while self._arrivals[0][0] < now - self._seconds:
            old = self._arrivals.popleft()[1]
            self._forget_event(old)
            del self._last[old]

    def say(self, request: str, event: Event) -> None:
        """`event` is what the customer is told of its request from now on."""
        if request not in self._last:
            return
        self._forget_event(request)
        self._last[request] = event
        self._sizes[request] = len(encode_event(event))
        self._bytes += self._sizes[request]
        while self._bytes > self._most_bytes and len(self._sizes) > 1:
            self._forget_event(next(iter(self._sizes)))

    def _forget_event(self, request: str) -> None:
        self._bytes -= self._sizes.pop(request, 0)
        self._last[request] = None


class Voice:
    """Signs what a provider says and publishes it."""

    def __init__(
        self,
        keys: Keys,
        network: Network,
        *,
        memory: Memory,
        cipher: Cipher | None,
        clock: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._network = network
        self._memory = memory
        self._cipher = cipher
        self._clock = clock

    async def result(self, request: Event, result: Result) -> str:
        """Publish a result, encrypted if the request is. Returns why no relay took it, else nothing: small
        and without any relay's word it may well have arrived. Raises ProtocolError for what no event can
        hold.
        """
        event = self._sign(draft_result(request, result, cipher=self._cipher))
        self._memory.say(request.id, event)
        published = await self._network.publish(event)
        if published.accepted:
            return ""
        if len(encode_event(event)) >= LARGE:
            return "answer too large for the relays"
        return "no relay took the result" if published.refused else ""

    async def feedback(
        self,
        request: Event,
        status: Status,
        message: str = "",
        *,
        amount_msat: int | None = None,
        bolt11: str = "",
    ) -> Published:
        """Publish feedback; all but ``processing`` is the last word until there is another."""
        feedback = Feedback(request.id, status, message, amount_msat, bolt11)
        event = self._sign(draft_feedback(request, feedback))
        if status != "processing":
            self._memory.say(request.id, event)
        return await self._network.publish(event)

    async def announce(self, draft: Draft, *, seconds: float) -> None:
        """Publish an announcement that goes away by itself (NIP-40) if it is not renewed in time."""
        expires = ["expiration", str(int(self._clock() + seconds) + 1)]
        await self._network.publish(self._sign(Draft(draft.kind, [*draft.tags, expires], draft.content)))

    def _sign(self, draft: Draft) -> Event:
        return self._keys.sign(draft, created_at=int(self._clock()))
