"""Work that nobody waits for: payments that end late, settlements of tabs.

Owns that it is waited for at the end, and that what breaks in it is met by somebody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """The background tasks of one customer. Lives on its loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Begin something that nobody waits for; `close` does."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._broken is None:
            self._broken = error

    def check(self) -> None:
        """Raise what broke first (an alarm, a full disk), if anything did."""
        if self._broken is not None:
            raise self._broken

    def take_broken(self) -> BaseException | None:
        """The same to be raised by the caller, once."""
        broken, self._broken = self._broken, None
        return broken

    async def close(self, *, seconds: float) -> None:
        """Let the work end, also what it begins, for at most `seconds`; the rest is cancelled."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._tasks and (left := until - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        for task in list(self._tasks):
            task.cancel()
