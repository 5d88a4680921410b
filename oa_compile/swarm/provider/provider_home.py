"""Where a service provider of ours keeps what must outlive it: its secret key, and what it is owed.

Owns which files these are, and that one process at a time uses their folder.

    <folder>/key          the secret Nostr key, 64 hex digits, for its owner only
    <folder>/tabs.jsonl   what customers owe
    <folder>/lock         held while it runs
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

from oa_compile.errors import UsageError

LOCK_SECONDS = 10.0
"""How long a folder is waited for: whoever was killed may need a moment to end."""
_LOOK_EVERY = 0.02


class FolderLock:
    """A folder, made if need be, for this process alone until it is closed or ends."""

    def __init__(self, folder: Path, *, seconds: float = LOCK_SECONDS) -> None:
        """Raises UsageError when another process still has it after `seconds`, or it cannot be made."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be used: {error.strerror}") from error
        until = time.monotonic() + seconds
        while not self._taken():
            if time.monotonic() >= until:
                self.close()
                raise UsageError(
                    f"{folder}: another process is using it", hint="stop that one, or name another folder"
                )
            time.sleep(_LOOK_EVERY)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
