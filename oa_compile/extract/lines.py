"""Lines of a log, one at a time: the only place that meets a file's bytes.

Owns opening (plain, gzip, zstd), the digest of what was read, and how long a line may be. Memory is bounded
by the longest line that is accepted. What a line says is its reader's matter.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

import msgspec

from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_LINE_BYTES = 32 * 1024 * 1024
HEAD_LINES = 20
"""Lines looked at before a log's format counts as unknown."""

_BLOCK = 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Line(NamedTuple):
    """One line of a log, counted from 1, with its line end if it has one."""

    number: int
    raw: bytes


class Source(io.RawIOBase):
    """A file's bytes, digested and counted on the way."""

    def __init__(self, handle: IO[bytes], *, digested: bool = True) -> None:
        self._handle = handle
        self._digest = hashlib.sha256() if digested else None
        self.bytes = 0

    @property
    def digest(self) -> str:
        """Of all bytes, as ``sha256:<hex>``; reads what nobody has read yet."""
        while self.read(_BLOCK):
            pass
        return f"sha256:{self._digest.hexdigest()}" if self._digest else ""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; how many bytes that were."""
        data = self._handle.read(len(buffer))
        size = len(data)
        buffer[:size] = data
        if self._digest:
            self._digest.update(data)
        self.bytes += size
        return size


def read_lines(source: Source, *, tally: Tally) -> Iterator[Line]:
    """The lines of a log, whatever it is packed in. Raises OSError when it cannot be read.

    A line over `MAX_LINE_BYTES` is left out, and so is the rest of a packed file that is damaged.
    """
    stream = _unpacked(io.BufferedReader(source, _BLOCK))
    number = 0
    try:
        while raw := stream.readline(MAX_LINE_BYTES):
            number += 1
            if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                _skip_rest(stream)
                tally.refuse("line too long", number)
                continue
            yield Line(number, raw)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError):
        tally.refuse("packed file that is damaged from here on", number + 1)
    finally:
        tally.count("lines_read", number)


def as_lines(head: list[Line], rest: Iterator[Line], *, tally: Tally) -> Iterator[Line]:
    """`head` and `rest`; or, where they are one JSON document written over several lines, that document as
    one line (or an array's objects as one line each, by their position).
    """
    if not head or not _begins_document(head):
        return itertools.chain(head, rest)
    return _document(itertools.chain(head, rest), tally=tally)


def objects(lines: Iterable[Line], *, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON object of each line, with the line's number; what is none is left out with its reason."""
    for number, raw in lines:
        try:
            yield number, parse_object(raw)
        except BadJson as error:
            refuse(error, raw, number, tally=tally)


def refuse(error: BadJson, raw: bytes, number: int, *, tally: Tally) -> None:
    """Tell why a line is not used. One without an end that is no JSON was cut short, a blank one is no
    fault.
    """
    reason = str(error)
    if reason == "blank line":
        tally.count("blank_lines")
    else:
        cut = reason == "not JSON" and not raw.endswith(b"\n")
        tally.refuse("truncated line" if cut else reason, number)


def _unpacked(stream: io.BufferedReader) -> IO[bytes]:
    head = stream.peek(4)[:4]
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=stream), _BLOCK)
    if head == _ZSTD:
        return io.BufferedReader(zstd.ZstdFile(stream), _BLOCK)
    return stream


def _skip_rest(stream: IO[bytes]) -> None:
    while (piece := stream.readline(MAX_LINE_BYTES)) and not piece.endswith(b"\n"):
        pass


def _begins_document(head: list[Line]) -> bool:
    first = head[0].raw.strip()
    if first[:1] not in {b"{", b"["}:
        return False
    if first[:1] == b"{" or not first.endswith(b"]"):
        try:
            msgspec.json.decode(first, type=msgspec.Raw)
        except msgspec.DecodeError:
            return len(head) > 1 and first in {b"{", b"[", b"[{"}
        return first[:1] == b"["
    return True


def _document(lines: Iterator[Line], *, tally: Tally) -> Iterator[Line]:
    parts, size = [], 0
    for line in lines:
        size += len(line.raw)
        if size > MAX_LINE_BYTES:
            tally.refuse("document too long", 1)
            for _ in lines:
                pass
            return
        parts.append(line.raw)
    raw = b"".join(parts)
    try:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw] | msgspec.Raw)
    except msgspec.DecodeError:
        yield Line(1, raw)
        return
    for number, item in enumerate(items if isinstance(items, list) else [items], start=1):
        yield Line(number, bytes(item) + b"\n")
