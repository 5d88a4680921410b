"""The contract of an executor, and what every one of them holds to.

Owns how often an item is tried and how a failed item is told; knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Protocol, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 3
"""Workers an item may outlive. The third that dies with the same item is no accident."""


class ItemFailed(Exception):
    """The cause of what a task raised: which item it was, and where in its worker it happened."""

    def __init__(self, index: int, trace: str = "") -> None:
        super().__init__(f"item {index}" + (f", in its worker:\n{trace}" if trace else ""))
        self.index = index
        self.trace = trace


class Executor(Protocol):
    """Runs a task over items, somewhere. Closed after use, best by ``with``."""

    @property
    def width(self) -> int:
        """Items that are worked on at once, as far as is known now; at least 1."""

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield ``(index, task(item))`` for every item, each once, as they finish.

        `task` is a function of a module, or a `functools.partial` of one: what is bound to it travels
        once to each worker, an item once to one. Both must pickle. A worker may hold a task of an earlier
        map, so a task keeps nothing between items that changes a result.

        `items` are drawn as workers come free, and there are never more than a few for each worker in
        memory, drawn or finished. An item may be run again when its worker dies, so a task does what may
        be done twice.

        What a task raises is raised here as it is, caused by an ItemFailed with the index; the rest of the
        work is dropped then, as it is when the generator is closed. Raises ExecutorError when an item's
        worker dies for the third time or the engine is gone, RuntimeError when the map before is not over.
        """

    def close(self) -> None:
        """Stop the workers, whatever they are doing. Closing twice is closing once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def failed(error: BaseException, index: int, trace: str = "") -> ItemFailed:
    """The cause to raise `error` from: what caused it before stays behind."""
    cause = ItemFailed(index, trace)
    cause.__cause__ = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return cause


class Turn:
    """One map at a time: two that draw on the same workers would wait for each other for ever."""

    def __init__(self) -> None:
        self._taken = False
        self._closed = False

    def __enter__(self) -> None:
        self.check()
        if self._taken:
            raise RuntimeError("this executor's map before is not over: finish it, or close its generator")
        self._taken = True

    def __exit__(self, *_error: object) -> None:
        self._taken = False

    @property
    def closed(self) -> bool:
        """Whether there is no map any more."""
        return self._closed

    def check(self) -> None:
        """To be asked when the caller has had its turn. Raises RuntimeError if it closed the executor."""
        if self._closed:
            raise RuntimeError("this executor is closed")

    def close(self) -> None:
        """No map from now on."""
        self._closed = True
