"""A secret Nostr key in a file of its own: who a customer or a service provider of ours is from run to run.

Owns the file: 64 hex digits and a line's end, for its owner only.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from oa_compile.errors import UsageError
from oa_compile.swarm.protocol.event import Keys


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
