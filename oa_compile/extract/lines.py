"""Lines of a log, one at a time: the only place that meets a file's bytes.

Owns opening (plain, gzip, zstd), the digest of what was read, and how long a line may be. Memory is bounded
by the longest line that is accepted. What a line says is its reader's matter.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import itertools
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

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

_BLOCK = 64 * 1024
"""Read at once. What is read, and the lines it is cut into, stay in a core's own cache."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Line(NamedTuple):
    """One line of a log, counted from 1, with its line end if it has one."""

    number: int
    raw: bytes


class Batch(NamedTuple):
    """Lines that follow one another, from number `first` on."""

    first: int
    raws: list[bytes]


class Source(io.RawIOBase):
    """A file's bytes, digested and counted on the way."""

    def __init__(self, handle: io.RawIOBase | io.BufferedIOBase, *, digested: bool = True) -> None:
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
        size = self._handle.readinto(buffer) or 0
        if self._digest:
            self._digest.update(memoryview(buffer)[:size])
        self.bytes += size
        return size


class Lines:
    """The lines of a log in order, each taken once: one by one, or as many together as were read at once."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._held: list[Line] = []  # taken from the batches, and still to be given

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        while not self._held:
            first, raws = next(self._batches)
            self._held = [Line(number, raw) for number, raw in enumerate(raws, first)][::-1]
        return self._held.pop()

    def head(self, count: int) -> list[Line]:
        """The next `count` lines, or all where there are fewer; they stay to be taken."""
        head = list(itertools.islice(self, count))
        self._held += reversed(head)
        return head

    def batches(self) -> Iterator[Batch]:
        """All that is left."""
        while self._held:
            number, raw = self._held.pop()
            yield Batch(number, [raw])
        yield from self._batches


def read_lines(source: Source, *, tally: Tally) -> Lines:
    """The lines of a log, whatever it is packed in. Taking them raises OSError when it cannot be read.

    A line over `MAX_LINE_BYTES` is left out, and so is the rest of a packed file that is damaged.
    """
    return Lines(_batches(source, tally))


def in_batches(lines: Iterable[Line]) -> Iterator[Batch]:
    """`lines` as they were read; of lines that were not read together each is a batch."""
    return lines.batches() if isinstance(lines, Lines) else (Batch(line.number, [line.raw]) for line in lines)


def as_lines(lines: Lines, *, tally: Tally) -> Lines:
    """`lines`; or, where they are one JSON document written over several lines, that document as one line
    (or an array's objects as one line each, by their position).
    """
    head = lines.head(HEAD_LINES)
    return Lines(_document(lines, tally=tally)) if head and _begins_document(head) else lines


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


def _batches(source: Source, tally: Tally) -> Iterator[Batch]:
    done = 0
    try:
        stream = _unpacked(io.BufferedReader(source, _BLOCK))
        while block := stream.read1(_BLOCK):
            if not block.endswith(b"\n"):
                block += stream.readline(MAX_LINE_BYTES + 1)
            raws = io.BytesIO(block).readlines()
            if len(block) > MAX_LINE_BYTES:
                yield from _short_enough(Batch(done + 1, raws), stream, tally)
            else:
                yield Batch(done + 1, raws)
            done += len(raws)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError):
        tally.refuse("packed file that is damaged from here on", done + 1)
    finally:
        tally.count("lines_read", done)


def _short_enough(batch: Batch, stream: io.BufferedReader, tally: Tally) -> Iterator[Batch]:
    for number, raw in enumerate(batch.raws, batch.first):
        if len(raw) <= MAX_LINE_BYTES:
            yield Batch(number, [raw])
        else:
            tally.refuse("line too long", number)
            rest = raw
            while rest and not rest.endswith(b"\n"):  # only the last one was not read to its end
                rest = stream.readline(MAX_LINE_BYTES)


def _unpacked(stream: io.BufferedReader) -> io.BufferedReader:
    head = stream.peek(4)[:4]
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=stream), _BLOCK)
    if head == _ZSTD:
        return io.BufferedReader(zstd.ZstdFile(stream), _BLOCK)
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


def _begins_document(head: list[Line]) -> bool:
    first = head[0].raw.strip()
    if first[:1] not in {b"{", b"["}:
        return False
    if first[:1] == b"{" or not first.endswith(b"]"):
        try:
            msgspec.json.decode(first, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return len(head) > 1 and first in {b"{", b"[", b"[{"}
        return first[:1] == b"["
    return True


def _document(lines: Lines, *, tally: Tally) -> Iterator[Batch]:
    parts, size = [], 0
    for line in lines:
        size += len(line.raw)
        if size > MAX_LINE_BYTES:
            tally.refuse("document too long", 1)
            for _ in lines.batches():
                pass
            return
        parts.append(line.raw)
    raw = b"".join(parts)
    try:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw] | msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        yield Batch(1, [raw])
        return
    yield Batch(1, [bytes(item) + b"\n" for item in (items if isinstance(items, list) else [items])])
