"""Runs a search apart from the process: in a thread of its own, with its printing in a log.

Owns where the interrupt lands and where the prints go; what is searched is the caller's.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

from oa_compile.lanes.runtime import SETTLED_WITHIN

Found = TypeVar("Found")

_GLANCE = 0.5
"""Seconds between looks for an interrupt: one that comes just before a thread falls asleep, or is
delivered to another thread, does not wake it.
"""


def run_apart(search: Callable[[], Found], *, log: Path, on_interrupt: Callable[[], None]) -> Found:
    """What `search` returns or raises. On KeyboardInterrupt: `on_interrupt`, then a few seconds for the
    search to end.

    An interrupt is raised in the main thread, wherever that is: it must not be inside a lock, the
    journal or a call. And optimizers wait for their threads on the way out (GEPA until every example
    is answered), so calls must be stopped before anything unwinds.
    """
    found: Future[Found] = Future()

    def work() -> None:
        try:
            found.set_result(search())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            found.set_exception(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), name="search", daemon=True)
    with _quiet(log):
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_GLANCE)
        except KeyboardInterrupt:
            on_interrupt()
            thread.join(SETTLED_WITHIN)
            raise
    return found.result()


@contextlib.contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Optimizers print, log and draw bars, up to hundreds of kB: it goes to the run's log."""
    with (
        contextlib.closing(_Log(path)) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield


class _Log(io.TextIOBase):
    """A log nobody needs: a full disk must not end a search through its prints."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", errors="replace")

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
