"""Blocking calls that may never return, for asyncio.

Owns the threads such calls wait in. They are daemons: neither other calls nor the end of the process wait for
one that hangs, as they would with concurrent.futures. What is called is the caller's matter.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MOST_STUCK = 256
"""Threads left behind in calls that do not return: past this many, no call is begun."""


class Crowded(Exception):
    """There was no room for the call: it was not begun."""


class BlockingCalls:
    """Runs blocking functions, so many at once. Belongs to the loop that uses it."""

    def __init__(self, threads: int, *, name: str, most_stuck: int = MOST_STUCK) -> None:
        """`threads` bounds calls under way, without those given up; threads are made when needed."""
        self._name = name
        self._room = asyncio.Semaphore(threads)
        self._most_stuck = most_stuck
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._alive = 0
        self._stuck = 0

    async def begin(self, function: Callable[[], T], *, seconds: float) -> asyncio.Future[T]:
        """Begin a call once there is room; the future has its result or error, whenever it returns. After
        `seconds` it is given up: it makes room for others, and its future stays as it is. Raises Crowded
        if there was no room for `seconds`, or too many calls hang.
        """
        if self._stuck >= self._most_stuck:
            raise Crowded(f"{self._stuck} calls have had no answer")
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        try:
            async with asyncio.timeout_at(until):
                await self._room.acquire()
        except TimeoutError as error:
            raise Crowded(f"no call came back for {seconds:g} s") from error
        future: asyncio.Future[T] = loop.create_future()
        call = _Call(function, loop, future)
        patience = loop.call_at(until, self._give_up, call)

        def ended(_: asyncio.Future[T]) -> None:
            patience.cancel()
            if call.given_up:
                self._stuck -= 1
            else:
                self._room.release()
            if not future.cancelled():
                future.exception()  # looked at: nobody may be waiting any more

        future.add_done_callback(ended)
        self._put(call)
        return future

    def close(self) -> None:
        """Let the threads end, those that hang when they return. Safe to call twice."""
        with self._lock:
            for _ in range(self._alive):
                self._calls.put(None)
            self._alive = self._idle = 0

    def _give_up(self, call: _Call) -> None:
        call.given_up = True
        self._stuck += 1
        self._room.release()

    def _put(self, call: _Call) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._alive += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            result, error = call.run()
            with self._lock:
                self._idle += 1
            try:
                call.loop.call_soon_threadsafe(call.end, result, error)
            except RuntimeError:  # the loop has ended: nobody is there to be told
                return


class _Call:
    """One call on its way through a thread."""

    __slots__ = ("function", "future", "given_up", "loop")

    def __init__(
        self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]
    ) -> None:
        self.function = function
        self.loop = loop
        self.future = future
        self.given_up = False

    def run(self) -> tuple[Any, Exception | None]:
        """Result or error, in the thread."""
        try:
            return self.function(), None
        except Exception as error:  # noqa: BLE001  a thread has no caller: it is raised where it is waited for
            return None, error

    def end(self, result: object, error: Exception | None) -> None:
        """Tell it, on the loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)
