"""Logs grown to any size: copies of real ones, each with ids of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_REAL = ROOT.parent / "shared" / "data"  # where the tests look for some, too

FILE_BYTES = 16_000_000
"""A log grows up to about this size; then comes the next one, as logs of many sessions are many files."""

_IDS = re.compile(rb'toolu_|msg_|(?<="session_id":")|(?<="sessionId":")|(?<="uuid":")|(?<="parentUuid":")')


@dataclass(frozen=True, slots=True)
class Originals:
    """Logs of one message a line, in folders of one format each, and the programs they have examples for."""

    words: str
    folders: tuple[Path, ...]
    programs: tuple[str, ...]

    def logs(self) -> list[Path]:
        """All of them."""
        return [path for folder in self.folders for path in sorted(folder.glob("*.jsonl"))]


SHIPPED = Originals(
    words="shipped logs of a scripted agent",
    folders=(ROOT / "datasets" / "tool-selection" / "sessions",),
    programs=("tool-selection",),
)


def real_or_shipped() -> Originals:
    """Real logs, where there are some beside this checkout."""
    real = Originals(
        words="real logs of autopilot and Claude Code",
        folders=(_REAL / "autopilot", _REAL / "claude_code"),
        programs=("tool-selection", "autopilot-planning"),
    )
    return real if real.logs() else SHIPPED


@dataclass(frozen=True, slots=True)
class Corpus:
    """Log files grown from others."""

    files: tuple[str, ...]
    bytes: int


def grow(originals: Originals, folder: Path, size: int) -> Corpus:
    """About `size` bytes of logs in `folder`, in files of up to `FILE_BYTES`."""
    logs = originals.logs()
    copies = _copies(logs, size)
    files: list[Path] = []
    total = 0
    for index, log in enumerate(logs):
        raw = log.read_bytes().rstrip(b"\n") + b"\n"
        for batch in _batches(range(copies), max(1, FILE_BYTES // len(raw))):
            files.append(folder / f"{index:03d}-{batch[0]:05d}.jsonl")
            total += _write(files[-1], raw, batch)
    return Corpus(tuple(map(str, files)), total)


def grow_one(originals: Originals, path: Path, size: int) -> Corpus:
    """The same as one log, of the first folder's format."""
    logs = sorted(originals.folders[0].glob("*.jsonl"))
    raw = b"".join(log.read_bytes().rstrip(b"\n") + b"\n" for log in logs)
    return Corpus((str(path),), _write(path, raw, range(_copies(logs, size))))


def _copies(logs: Iterable[Path], size: int) -> int:
    whole = sum(log.stat().st_size for log in logs)
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
