"""Where a service provider of ours keeps what must outlive it: its secret key, and what it is owed.

Owns the folder's files and that one process at a time uses it.

    <folder>/key          the secret Nostr key, 64 hex digits, for its owner only
    <folder>/tabs.jsonl   what customers owe
    <folder>/lock         held while it runs
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Self

from oa_compile.errors import UsageError
from oa_compile.swarm.protocol.event import Keys

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


def kept_keys(path: Path) -> Keys:
    """The keys in that file, made there at first. The file is whole or not there: a process killed while it
    writes leaves no half of a key. Raises UsageError for a file that holds no key.
    """
    keys = Keys.generate()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if path.exists():
            return read_keys(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(keys.secret_hex + "\n")
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(draft)
        finally:
            draft.unlink()
    except FileExistsError:  # another process was faster
        return read_keys(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot keep a key there: {error.strerror}") from error
    return keys


def read_keys(path: Path) -> Keys:
    """The keys in that file. Raises UsageError, never with what stands in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    try:
        return Keys.from_hex(text)
    except UsageError as error:
        raise UsageError(
            f"{path}: {error.message}", hint="name the file of a secret key, or delete it for a new one"
        ) from error
