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

SUFFIXES = (".jsonl", ".ndjson")
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Source:
    """One log file and the name it goes by."""

    path: Path
    name: str


def find_sources(sources: Sequence[Path]) -> tuple[Source, ...]:
    """All logs, each once, sorted by name.

    Folders are searched through for `SUFFIXES`; a path that is not there is tried as a glob. Raises
    UsageError for one that finds nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _expand(source):
            found.setdefault(path.resolve())
    if not found:
        raise UsageError("no session logs given", hint="name files, folders or globs of *.jsonl")
    base = Path(os.path.commonpath([path.parent for path in found]))
    named = (Source(path, path.relative_to(base).as_posix()) for path in found)
    return tuple(sorted(named, key=lambda source: source.name))


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        paths = [p for p in source.rglob("*") if p.suffix in SUFFIXES and p.is_file()]
        if not paths:
            raise UsageError(f"{source}: no logs in this folder ({', '.join(SUFFIXES)})")
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
