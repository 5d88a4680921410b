"""An asyncio loop in virtual time: where nothing is ready, the clock jumps to the next timer.

Owns time only. Hours of waiting take no time at all, and what runs on it runs in the same order every time:
the loop looks at no socket, and nothing depends on how fast this machine is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(RuntimeError):
    """Everything waits for something, and nothing will ever happen."""


class _Jump(selectors.SelectSelector):
    """Looks at nothing, and moves the clock by as much as it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled(f"at {self.now:,.3f} s everything waits, and no timer is set")
        self.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at 0 seconds. Threads must not be used on it: they would end at no time it knows."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """`main`'s result, on a loop of its own. Raises Stalled where it would wait for ever."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
