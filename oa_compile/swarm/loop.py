"""The one asyncio loop of this process that sockets, timers and nostr_sdk's futures live on."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class _Asked(Generic[Result]):
    """A coroutine on its way to the loop, and the thread that waits for its end."""

    __slots__ = ("coroutine", "over", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Result]) -> None:
        self.coroutine = coroutine
        self.task: asyncio.Task[Result] | None = None
        self.over = threading.Lock()
        self.over.acquire()

    def end(self, _task: asyncio.Task[Result]) -> None:
        self.over.release()


class LoopThread:
    """An asyncio loop in a daemon thread: it must not keep a process alive that is done."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._asked: deque[_Asked[Any]] = deque()
        self._called = False
        self._thread = threading.Thread(target=self._run, name="oacompile-swarm", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine there, from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def ask(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine there and wait for it, however long: `run` for the many threads of a compile. One
        lock a call, and one wake-up of the loop for all that come meanwhile.
        """
        asked = _Asked(coroutine)
        self._asked.append(asked)
        if not self._called:  # two threads that see this at once call twice, which costs nothing else
            try:
                self._called = True
                self.loop.call_soon_threadsafe(self._begin)
            except BaseException:  # Ctrl-C: the next one must call
                self._called = False
                raise
        asked.over.acquire()
        assert asked.task is not None
        return asked.task.result()

    def _begin(self) -> None:
        self._called = False  # before taking: who comes from now on calls again
        while self._asked:
            asked = self._asked.popleft()
            asked.task = self.loop.create_task(asked.coroutine)
            asked.task.add_done_callback(asked.end)

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
