"""Which code this process runs, in one word: two processes that say the same run the same."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import oa_compile


@cache
def code() -> str:
    """The package's version and what its sources come to, for instance ``0.1.0 (4f1c62ab09de)``.

    The version alone would not tell a checkout from the release before it.
    """
    root = Path(oa_compile.__file__).parent
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    lines = [f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}\n" for name in files]
    return f"{oa_compile.__version__} ({hashlib.sha256(''.join(lines).encode()).hexdigest()[:12]})"
