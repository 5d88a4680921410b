"""Intents to pay, on the disk before any wallet is asked: those that come together share one wait for it.

A wait for the disk for every payment, in a thread of its own, cost more than the payment. So one batch is
written at a time, and who comes meanwhile is in the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from oa_compile.swarm.customer.attempt import Intent

Offload = Callable[..., Awaitable[Any]]
"""Runs a blocking function elsewhere: ``asyncio.to_thread``, or at once in a simulation."""


class Intends(Protocol):
    """Whatever puts an intent on the disk."""

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        """Write it, and have it and all that was written before on the disk; without `sync` it is written,
        and the next that is synced puts it there. Blocks.
        """


Wanted = tuple[Intends, Intent]


class Intents:
    """The intents of one customer, whose attempts all write to one journal. Lives on the loop."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._disk = asyncio.Lock()
        self._next: list[Wanted] = []
        self._writing: asyncio.Task[list[BaseException | None]] | None = None
        """Of those in `_next`."""

    async def write(self, attempt: Intends, intent: Intent) -> None:
        """Come back when the intent is on the disk. Raises what `intend` raises: then it may not be, and
        nothing may be paid.
        """
        number = len(self._next)
        self._next.append((attempt, intent))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        # A payment that is called off takes no other's intent with it.
        errors = await asyncio.shield(self._writing)
        error = errors[number]
        if error is not None:
            raise error

    async def _write(self) -> list[BaseException | None]:
        async with self._disk:
            batch, self._next, self._writing = self._next, [], None
            errors: list[BaseException | None] = await self._offload(_write_all, batch)
            return errors


def _write_all(batch: list[Wanted]) -> list[BaseException | None]:
    """Write them all, the last one synced; what was raised for each. Blocks."""
    errors: list[BaseException | None] = [None] * len(batch)
    for number, (attempt, intent) in enumerate(batch):
        try:
            attempt.intend(intent, sync=number == len(batch) - 1)
        except BaseException as error:  # noqa: BLE001  a StopRun is one: whoever waits is told
            errors[number] = error
    # Without the last one's look at the disk nobody knows of the others either.
    return [error or errors[-1] for error in errors]
