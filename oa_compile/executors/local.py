"""The executor that is processes of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, Self

from oa_compile.errors import ExecutorError
from oa_compile.executors.executor import Item, Result, Turn
from oa_compile.executors.parcel import opened, pack
from oa_compile.executors.piece import Piece, pieces
from oa_compile.executors.worker import Worker


class LocalExecutor:
    """Up to `jobs` workers, started when there is work for them and kept for the next map.

    A worker that dies is replaced, and its item given to another.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {jobs}")
        self.width = jobs
        self._turn = Turn()
        self._idle: list[Worker] = []
        self._busy: dict[Any, tuple[Worker, Piece]] = {}  # by connection, which is what is waited for

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker.pid for worker in (*self._idle, *(worker for worker, _ in self._busy.values()))]

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[tuple[int, Result], None, None]:
        """See Executor. Each worker has one item at a time."""
        with self._turn:
            try:
                yield from self._map(pack(task), pieces(items))
            finally:
                self._drop_busy()

    def _map(self, task: bytes, fresh: Iterator[Piece]) -> Iterator[tuple[int, Any]]:
        again: deque[Piece] = deque()
        done: deque[tuple[int, bytes]] = deque()
        self._occupy(task, fresh, again)
        while self._busy or done:
            # Whoever is free gets work before a result goes out, for the caller may take its time with it;
            # but results nobody fetches must not pile up.
            if len(done) < self.width:
                self._collect(done, again, block=not done)
                self._occupy(task, fresh, again)
            if done:
                index, data = done.popleft()
                yield index, opened(data, index)
                self._turn.check()

    def _occupy(self, task: bytes, fresh: Iterator[Piece], again: deque[Piece]) -> None:
        """Give every worker something to do, as long as there is something."""
        while len(self._busy) < self.width:
            piece = again.popleft() if again else next(fresh, None)
            if piece is None:
                return
            worker = self._free_worker()
            try:
                worker.give(task, piece.item)
            except OSError:
                piece.lost(worker.stop())
                again.append(piece)
            else:
                self._busy[worker.connection] = worker, piece

    def _free_worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            worker.stop()
        try:
            return Worker()
        except OSError as error:
            raise ExecutorError(
                f"no worker process can be started: {error.strerror}",
                hint="let fewer run at once, or free memory and processes, and run the command again",
            ) from error

    def _collect(self, done: deque[tuple[int, bytes]], again: deque[Piece], *, block: bool) -> None:
        """Take what is there from workers that are through or dead; wait for the first one if `block`."""
        for connection in wait(self._busy, None if block else 0):
            worker, piece = self._busy.pop(connection)
            try:
                data = worker.take()
            except (EOFError, OSError):
                piece.lost(worker.stop())
                again.append(piece)
            else:
                self._idle.append(worker)
                done.append((piece.index, data))

    def _drop_busy(self) -> None:
        while self._busy:
            _, (worker, _) = self._busy.popitem()
            worker.stop()

    def close(self) -> None:
        """Kill the workers. What one was at is lost, which is what closing early means."""
        self._turn.close()
        self._drop_busy()
        while self._idle:
            self._idle.pop().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
