"""One worker process of this machine: both ends of its pipe.

Owns its start, its loop and its end. Each worker has a pipe of its own: one that is killed in the middle of
a message spoils nobody else's, and what it was at is known. A pool with shared queues
(`concurrent.futures`, loky) breaks as a whole there, and who it was cannot be told.

Imports next to nothing, for every worker begins with importing this.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from oa_compile.executors.parcel import Task, perform

_SPAWN = multiprocessing.get_context("spawn")
"""A fresh interpreter, 30 ms: a fork would copy the locks of this process's threads as they stand."""

_SAME = b""
"""In place of a task: the one before."""


class Worker:
    """A running worker, from the side of who gives it work."""

    def __init__(self) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs,), name="oacompile-worker", daemon=True)
        self._task: bytes = _SAME
        with theirs, _no_interrupt():
            self._process.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def give(self, task: bytes, item: bytes) -> None:
        """Hand over an item to a worker that waits for one; a packed task it has already does not travel.

        Raises OSError when the worker is dead.
        """
        new = task is not self._task
        self.connection.send_bytes(task if new else _SAME)
        self.connection.send_bytes(item)
        self._task = task

    def take(self) -> bytes:
        """What came of the item. Raises EOFError or OSError when the worker died over it."""
        return self.connection.recv_bytes()

    def stop(self) -> str:
        """End the process, whatever it is doing, and say how it ended, for instance ``killed by SIGKILL``."""
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        self._process.close()
        self.connection.close()
        return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C reaches the whole process group; a worker that is still starting would die with a traceback on
    the terminal. Whoever starts one hands it a mask that holds Ctrl-C back until it has a handler.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection) -> None:
    """A worker's life: items in, what came of them out, until the other end is gone."""
    # A handler, not SIG_IGN, which what a task starts would inherit. Who gives us work ends us.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.set_inheritable(connection.fileno(), False)  # noqa: FBT003  # or a child would keep it open after us
    os.dup2(2, 1)  # stdout is the result, and no worker writes it
    task = Task(_SAME)
    # Its end is the end of this process, which then has nothing to do and nobody to tell.
    with suppress(EOFError, OSError):
        while True:
            packed, item = connection.recv_bytes(), connection.recv_bytes()
            task = Task(packed) if packed else task
            connection.send_bytes(perform(task, item))
