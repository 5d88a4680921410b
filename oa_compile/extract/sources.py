"""Sources: the log files behind the files, folders and globs a user names.

Owns finding them and naming them: a name is relative to the deepest folder that holds all logs, so that
cards say the same on every machine and wherever the dataset is written.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oa_compile.errors import UsageError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".rlog")
PACKED = ("", ".gz", ".zst")
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log file, the name it goes by, and its bytes on the disk (0 when nobody can tell)."""

    path: str
    name: str
    size: int = 0


def find_sources(sources: Sequence[Path]) -> tuple[LogFile, ...]:
    """All logs, each once, sorted by name.

    Folders are searched through for `SUFFIXES`, also `PACKED`; a path that is not there is tried as a
    glob. Raises UsageError for one that finds nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _expand(source.expanduser()):
            # What a shell hands over as a pipe has no other name.
            found.setdefault(path if path.is_fifo() else path.resolve())
    if not found:
        raise UsageError("no session logs given", hint="name files, folders or globs of *.jsonl")
    base = Path(os.path.commonpath([path.parent for path in found]))
    named = (LogFile(str(path), path.relative_to(base).as_posix(), _size(path)) for path in found)
    return tuple(sorted(named, key=lambda file: file.name))


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        paths = [path for path in source.rglob("*") if _is_log(path)]
        if not paths:
            raise UsageError(f"{source}: no logs in this folder ({', '.join(SUFFIXES)}, plain, .gz or .zst)")
        return paths
    if source.exists():
        return [source]
    if _MAGIC & set(str(source)):
        paths = [Path(p) for p in glob.glob(str(source), recursive=True)]  # noqa: PTH207  Path.glob refuses absolute patterns
        files = [path for path in paths if path.is_file()]
        if not files:
            raise UsageError(f"{source}: no file matches")
        return files
    raise UsageError(f"{source}: no such file or folder")


def _is_log(path: Path) -> bool:
    return any(path.name.endswith(f"{suffix}{packed}") for suffix in SUFFIXES for packed in PACKED) and (
        path.is_file()
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
