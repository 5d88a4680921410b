"""One item on its way: its number, its bytes, and how many workers it has outlived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from oa_compile.errors import ExecutorError
from oa_compile.executors.executor import TRIES, ItemFailed, failed
from oa_compile.executors.parcel import pack


@dataclass(slots=True, eq=False)
class Piece:
    """An item packed. It is kept until it is done, for it may have to travel again."""

    index: int
    item: bytes
    tries: int = 0

    def lost(self, how: str) -> None:
        """Its worker died, as `how` says. Raises ExecutorError when that was the last try."""
        self.tries += 1
        if self.tries >= TRIES:
            raise ExecutorError(
                f"{TRIES} workers died one after another over the same piece of work (the last: {how})",
                hint="if memory ran out, let fewer run at once; then run the command again",
            ) from ItemFailed(self.index)


def pieces(items: Iterable[object]) -> Iterator[Piece]:
    """The items as pieces, each packed as it is drawn. One that cannot be raises as that item's failure."""
    for index, item in enumerate(items):
        try:
            data = pack(item)
        except Exception as error:
            raise error from failed(error, index)
        yield Piece(index, data)
