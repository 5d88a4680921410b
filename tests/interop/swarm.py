"""A customer and a service provider of ours on a relay that is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.swarm.customer.customer import Customer
from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.protocol.seal import SealCipher
from oa_compile.swarm.provider.provider import Provider
from oa_compile.swarm.provider.terms import Terms
from tests.support.customers import chat
from tests.support.relays import network
from tests.support.swarm import Call, Swarm

USAGE = Usage(input_tokens=9, output_tokens=4)


def echo(request: ChatRequest, _key: str) -> ChatAnswer:
    """An answer that can be told from any other."""
    return ChatAnswer(f"you said: {request.messages[-1].content}", USAGE, model="echo")


@dataclass(eq=False)
class ForeignSwarm(Swarm):
    """A Swarm on the relay at `relay`, which somebody else started and ends."""

    relay: str = ""

    async def __aenter__(self) -> Self:
        self._url = self.relay
        return self

    @contextlib.asynccontextmanager
    async def serving(
        self, terms: Terms, *, keys: Keys | None = None, **settings: Any
    ) -> AsyncIterator[Provider]:
        """A provider of ours while the block runs; it answers with `echo`."""
        keys = keys or Keys.generate()
        async with network(self.relay, keys=keys) as relays:
            provider = Provider(
                keys,
                relays,
                terms=terms,
                till=self.lightning.till(),
                cipher=SealCipher(keys),
                **({"answer": echo} | settings),
            )
            await provider.start()
            try:
                yield provider
            finally:
                await provider.close(seconds=0)


async def ask_at_once(customer: Customer, jobs: int) -> list[Call]:
    """So many jobs in flight together, each of which must come back with its own answer."""
    calls = [Call(customer) for _ in range(jobs)]
    asked = [call.ask(chat(f"question {number}")) for number, call in enumerate(calls)]
    texts = [answer.text for answer in await asyncio.gather(*asked)]
    assert texts == [f"you said: question {number}" for number in range(jobs)]
    return calls
