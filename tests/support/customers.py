"""A plain NIP-90 customer, written by hand over events and a network: what our provider is tested with."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Self

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.swarm.protocol.event import Draft, Event, Keys, verify
from oa_compile.swarm.protocol.nip90 import (
    FEEDBACK_KIND,
    RESULT_KIND,
    Cipher,
    Feedback,
    Job,
    Result,
    draft_job,
    job_of,
    read_feedback,
    read_result,
)
from oa_compile.swarm.relays.network import Network


def chat(text: str = "The build is red. What now?") -> ChatRequest:
    """A small request."""
    return ChatRequest(messages=(ChatMessage("user", text),), temperature=0.0, max_tokens=8)


@dataclass(eq=False, slots=True)
class PlainCustomer:
    """Asks one provider, and keeps all events that come for its jobs, while the block runs."""

    network: Network
    provider: str
    cipher: Cipher | None = None
    keys: Keys = field(default_factory=Keys.generate)
    events: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """By job, in the order in which they came."""
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _telling: set[asyncio.Task[None]] = field(default_factory=set)
    _subscription: Any = None

    async def __aenter__(self) -> Self:
        wanted = {"kinds": [RESULT_KIND, FEEDBACK_KIND], "#p": [self.keys.public]}
        self._subscription = await self.network.subscribe([wanted], self._on_event)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._subscription.close()
        await asyncio.gather(*self._telling)

    def request(self, text: str = "The build is red. What now?", **fields: Any) -> Event:
        """A job for the provider, signed and not sent; `fields` are Job's."""
        asked = ChatRequest(messages=()) if "settles" in fields else chat(text)
        job = Job(**({"chat": asked, "provider": self.provider} | fields))
        return self.keys.sign(draft_job(job, cipher=self.cipher))

    async def ask(self, text: str = "The build is red. What now?", **fields: Any) -> Event:
        """Send a job."""
        return await self.send(self.request(text, **fields))

    async def send(self, request: Event | Draft) -> Event:
        """Send a request that was made otherwise."""
        event = self.keys.sign(request) if isinstance(request, Draft) else request
        published = await self.network.publish(event)
        assert published.accepted, published
        return event

    async def word(self, request: Event, number: int = 1) -> Event:
        """The so-manieth event that comes for a request; waits for it."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.events[request.id]) >= number)
        return self.events[request.id][number - 1]

    async def result(self, request: Event, number: int = 1) -> Result:
        """That event, which must be a result."""
        return read_result(await self.word(request, number), cipher=self.cipher)

    async def feedback(self, request: Event, number: int = 1) -> Feedback:
        """That event, which must be feedback."""
        return read_feedback(await self.word(request, number))

    async def error(self, request: Event, number: int = 1) -> str:
        """The message of that event, which must be an error."""
        feedback = await self.feedback(request, number)
        assert feedback.status == "error", feedback
        return feedback.message

    def _on_event(self, event: Event) -> None:
        assert verify(event)
        assert event.pubkey == self.provider
        self.events[job_of(event) or ""].append(event)
        task = asyncio.get_running_loop().create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self) -> None:
        async with self._came:
            self._came.notify_all()
