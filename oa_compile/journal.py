"""The journal: one append-only file a run, and the only state a run has.

Owns writing, reading and recovering ``journal.jsonl``. What the events mean is the readers' matter.

Durability: an event is in the operating system's hands when `append` returns, so a killed process
loses nothing; it is on the disk within `SYNC_EVERY` seconds of further appends, at once with
``sync=True``, and at `close`. A line is complete or it is not there: a torn last line is cut off when
the journal is opened for writing, and a write that fails or is interrupted is undone before its error
is raised.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from oa_compile import held
from oa_compile.errors import DigestMismatch, StorageError, UsageError
from oa_compile.events import FORMAT_VERSION, AnyEvent, Line

FILE_NAME = "journal.jsonl"
SYNC_EVERY = 0.25
_BLOCK = 1 << 20

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)

Listener = Callable[[Line], None]


class JournalWriteError(StorageError):
    """The journal could not be written (a full disk, a vanished folder): the run must stop."""


def decode_line(raw: bytes, *, path: Path, number: int) -> Line:
    """One line as typed data. Raises DigestMismatch naming file and line."""
    try:
        line = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DigestMismatch(
            f"{path}:{number}: not a journal line: {error}",
            hint="the journal was changed or damaged; restore it from its bundle",
        ) from error
    if line.v != FORMAT_VERSION:
        raise DigestMismatch(
            f"{path}:{number}: journal format {line.v}, this version reads {FORMAT_VERSION}",
            hint="use the oacompile version that wrote it",
        )
    if line.seq != number:
        raise DigestMismatch(
            f"{path}:{number}: expected event {number}, found {line.seq}",
            hint="lines were removed or reordered; restore the journal from its bundle",
        )
    return line


def read(path: Path) -> Iterator[Line]:
    """All complete lines of a journal, in order; a torn last line (no newline) is passed over.

    Raises DigestMismatch for a line that is complete and yet not an event, UsageError if there is no file.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the journal: {error.strerror}") from error
    with handle:
        for number, raw in enumerate(handle, start=1):
            if not raw.endswith(b"\n"):
                return
            yield decode_line(raw, path=path, number=number)


def _end_of_lines(fd: int, size: int) -> int:
    """Offset just after the last newline in the first `size` bytes, 0 if there is none."""
    while size:
        start = max(0, size - _BLOCK)
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


class Journal:
    """Appends events to one file; safe to call from any thread. One writer a file, by lock."""

    def __init__(self, path: Path) -> None:
        """Open or create `path` for appending, cutting off a torn last line.

        `history` holds the lines that were there. Raises UsageError when it cannot be opened or another
        process writes it, DigestMismatch when it is damaged.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"{path}: cannot open the journal for writing: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if isinstance(error, BlockingIOError):
                raise UsageError(
                    f"{path}: another process is writing this run", hint="wait for it, or stop it first"
                ) from error
            raise UsageError(f"{path}: cannot lock the journal: {error.strerror}") from error
        try:
            self.history: list[Line] = list(read(path))
            size = os.fstat(self._fd).st_size
            self._size = _end_of_lines(self._fd, size)
            self.torn_bytes = size - self._size
            if self.torn_bytes:
                os.ftruncate(self._fd, self._size)
        except BaseException:
            os.close(self._fd)
            raise
        self._seq = self._synced = len(self.history)
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._last_sync = time.monotonic()
        self._listeners: list[Listener] = []
        self._closed = False
        self._refusal = ""

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every line appended from now on, in order, under the journal's lock."""
        self._listeners.append(listener)

    def append(self, event: AnyEvent, *, sync: bool = False) -> int:
        """Write one event; returns its sequence number. Raises JournalWriteError, nothing half-written."""
        body = _encoder.encode(event)
        held.await_free(self._lock)
        with self._lock:
            seq = self._seq + 1
            at = time.time_ns() // 1_000_000
            self._write(b'{"v":%d,"seq":%d,"at":%d,"event":%b}\n' % (FORMAT_VERSION, seq, at, body), seq=seq)
            if self._listeners:
                line = Line(v=FORMAT_VERSION, seq=seq, at=at, event=event)
                for listener in self._listeners:
                    listener(line)
            now = time.monotonic()
            due = sync or now - self._last_sync > SYNC_EVERY
            if due:
                self._last_sync = now
        if due:
            self._sync(seq)
        return seq

    def _write(self, data: bytes, *, seq: int) -> None:
        if self._refusal:
            raise JournalWriteError(f"{self.path}: {self._refusal}")
        end = self._size + len(data)
        rest = data
        try:
            while rest:
                rest = rest[held.pwrite(self._fd, rest, end - len(rest)) :]
            # One statement without a call: Ctrl-C cannot come between the line and its number.
            self._size, self._seq = end, seq
        except OSError as error:
            self._undo()
            raise self._failed(error) from error
        except BaseException:  # Ctrl-C, raised between two pieces of a line or just after the last
            self._undo()
            raise

    def _undo(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            # The half line stays, to be cut when the journal is opened again: nothing may follow it.
            self._refusal = f"an earlier write failed and could not be undone: {error.strerror}"

    def _sync(self, seq: int) -> None:
        with self._syncing:  # not under the other lock: threads go on appending while the disk is busy
            if self._closed or self._synced >= seq:  # whoever was before took this line along
                return
            written = self._seq
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise self._failed(error) from error
            self._synced = written

    def _failed(self, error: OSError) -> JournalWriteError:
        return JournalWriteError(
            f"{self.path}: cannot write the journal: {error.strerror}",
            hint="free some space and go on with --resume; nothing that was settled is lost",
        )

    def close(self) -> None:
        """Put everything on the disk and let go of the file; appending then raises. Safe to call twice."""
        with self._lock, self._syncing:
            if self._closed:
                return
            self._closed = True
            self._refusal = "the journal is closed"
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise self._failed(error) from error
            finally:
                os.close(self._fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def events(lines: Iterable[Line]) -> Iterator[AnyEvent]:
    """The events of `lines`, without their envelopes."""
    return (line.event for line in lines)
