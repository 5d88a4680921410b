"""A line written and a lock taken without handing the interpreter from thread to thread.

Both take microseconds, a hand-over of the interpreter's lock takes many times as long, and with 16 threads
it is these hand-overs that a call would cost (benchmarks/overhead.py). Owns how to do without them,
nothing of what is written or guarded.

`pwrite`: `os.pwrite` lets go of the interpreter for every line, this one does not.

`await_free`: a thread that loses the interpreter inside a lock is rare, what follows is not. The others
block on the lock; the one it is handed to owns it while it still waits for the interpreter, so that the
next comes to a taken lock again, and from there on every call of the run is a hand-over for each lock.
Whoever looks again a little later does not own what it cannot use yet, and the queue dissolves.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable

Write = Callable[[int, bytes, int], int]


def _held_pwrite() -> Write:
    library = ctypes.PyDLL(None, use_errno=True)
    call = library.pwrite
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64]
    call.restype = ctypes.c_ssize_t

    def held(fd: int, data: bytes, offset: int) -> int:
        written: int = call(fd, data, len(data), offset)
        if written >= 0:
            return written
        code = ctypes.get_errno()
        if code == errno.EINTR:
            return 0
        raise OSError(code, os.strerror(code))

    return held


def _choose() -> Write:
    if ctypes.sizeof(ctypes.c_void_p) < 8:  # off_t may be 32 bits wide there
        return os.pwrite
    try:
        return _held_pwrite()
    except (AttributeError, OSError, TypeError):  # no C library to be found in this process
        return os.pwrite


pwrite: Write = _choose()
"""Bytes of `data` written at `offset`; as few as none. Raises OSError like os.pwrite."""

_NAP = 0.0002
_NAPS = 50
"""Looks at a taken lock; it is held for microseconds, and a thread that lost the interpreter in it has it
back in less than these together. After them, waiting for the lock is the right thing."""


def await_free(lock: threading.Lock) -> None:
    """Come back when `lock` looks free, or after a while. For the line above ``with lock:``, which is what
    excludes others, and which, unlike a context manager written in Python, Ctrl-C cannot leave locked.
    """
    for _ in range(_NAPS):
        if not lock.locked():
            return
        time.sleep(_NAP)
