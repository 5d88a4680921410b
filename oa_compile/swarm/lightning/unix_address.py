"""What a unix socket is bound or reached by: its path, or a shorter name of it.

Owns the detour that paths need which do not fit into a socket's address.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOM = 100
"""Bytes of a path that fit everywhere."""


@contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """An address for the socket at `path`, good inside the block: for a path that is too long, one through
    its folder's handle. Raises OSError where that folder cannot be opened.
    """
    if len(os.fsencode(path)) <= _ROOM:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
