"""The executor that is no other process: this one, item by item."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Self

from oa_compile.executors.executor import Item, Result, Turn, failed


class SerialExecutor:
    """Runs items here, in order. Nothing travels, so nothing is copied."""

    width = 1

    def __init__(self) -> None:
        self._turn = Turn()

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[tuple[int, Result], None, None]:
        """See Executor. An item is drawn when the one before is done with."""
        with self._turn:
            for index, item in enumerate(items):
                try:
                    result = task(item)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    raise error from failed(error, index)
                yield index, result
                self._turn.check()

    def close(self) -> None:
        """No map from now on."""
        self._turn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
