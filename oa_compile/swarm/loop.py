"""The one asyncio loop of this process that sockets, timers and nostr_sdk's futures live on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class LoopThread:
    """An asyncio loop in a daemon thread: it must not keep a process alive that is done."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="oacompile-swarm", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine there, from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, Result], *, seconds: float | None = None) -> Result:
        """Run a coroutine there and wait for it. Raises TimeoutError, and cancels it, after `seconds`."""
        future = self.submit(coroutine)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise


_lock = threading.Lock()
_shared: LoopThread | None = None


def shared_loop() -> LoopThread:
    """The process's loop: one, for nostr_sdk binds itself to the first that it is told of."""
    global _shared  # noqa: PLW0603 - one a process is the point
    with _lock:
        if _shared is None:
            _shared = LoopThread()
        return _shared
