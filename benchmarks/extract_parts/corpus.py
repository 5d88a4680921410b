"""Logs grown to any size: copies of real ones, each with ids of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
"""Real logs, where there are some beside this checkout; the tests look for them there too."""
SHIPPED = ROOT / "datasets" / "tool-selection" / "sessions"

FILE_BYTES = 64_000_000
"""A log grows up to about this size; then comes the next one, as logs of many sessions are many files."""

_IDS = re.compile(rb'toolu_|msg_|(?<="session_id":")|(?<="sessionId":")|(?<="uuid":")|(?<="parentUuid":")')


@dataclass(frozen=True, slots=True)
class Corpus:
    """Log files of one message a line, and what they were made of."""

    files: tuple[str, ...]
    bytes: int
    made_of: str


def grow(folder: Path, size: int) -> Corpus:
    """About `size` bytes of logs in `folder`, in files of `FILE_BYTES`."""
    originals, made_of = _originals()
    copies = _copies(originals, size)
    files: list[Path] = []
    total = 0
    for index, original in enumerate(originals):
        raw = original.read_bytes().rstrip(b"\n") + b"\n"
        for batch in _batches(range(copies), max(1, FILE_BYTES // len(raw))):
            files.append(folder / f"{index:02d}-{batch[0]:05d}.jsonl")
            total += _write(files[-1], raw, batch)
    return Corpus(tuple(map(str, files)), total, made_of)


def grow_one(path: Path, size: int) -> Corpus:
    """The same as one log, of the format most logs here have."""
    originals, made_of = _originals()
    originals = [original for original in originals if original.parent == originals[0].parent]
    raw = b"".join(original.read_bytes().rstrip(b"\n") + b"\n" for original in originals)
    total = _write(path, raw, range(_copies(originals, size)))
    return Corpus((str(path),), total, made_of)


def _originals() -> tuple[list[Path], str]:
    real = [path for name in ("autopilot", "claude_code") for path in sorted((REAL / name).glob("*.jsonl"))]
    if real:
        return real, f"{len(real)} real logs of autopilot and Claude Code"
    shipped = sorted(SHIPPED.glob("*.jsonl"))
    return shipped, f"{len(shipped)} shipped logs of a scripted agent (there are no real ones here)"


def _copies(originals: Iterable[Path], size: int) -> int:
    whole = sum(original.stat().st_size for original in originals)
    return max(1, round(size / whole))


def _batches(numbers: range, length: int) -> Iterator[range]:
    for start in range(0, len(numbers), length):
        yield numbers[start : start + length]


def _write(path: Path, raw: bytes, copies: range) -> int:
    pieces = _IDS.split(raw)
    marks = [match[0] for match in _IDS.finditer(raw)] + [b""]
    size = 0
    with path.open("wb") as out:
        for copy in copies:
            tag = b"%05d" % copy
            size += out.write(b"".join(p + m + tag for p, m in zip(pieces, marks, strict=True))[: -len(tag)])
    return size
