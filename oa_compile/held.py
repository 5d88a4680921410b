"""``pwrite`` that keeps the interpreter's lock.

A journal line takes microseconds to reach the page cache. `os.pwrite` lets go of the lock for it, and with
16 threads each line then costs a round of hand-overs many times as long (benchmarks/overhead.py:
1.4 times the time of plain DSPy, against 1.2). Owns that one system call, nothing of what is written.
"""

from __future__ import annotations

import ctypes
import errno
import os
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
