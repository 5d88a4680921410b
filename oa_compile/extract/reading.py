"""Reading: one log file becomes examples. The piece of work that an executor hands out.

Owns what a file gives and what it is related to; what becomes of all files together is `extract.pipeline`'s.
A file that cannot be read, or only in part, is no error here: it says so in its tally.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from oa_compile.dataset import ExampleRecord
from oa_compile.extract.assemble import Assembly, Closed
from oa_compile.extract.episodes import Episode
from oa_compile.extract.examples import Examples
from oa_compile.extract.lines import HEAD_LINES, Line, Source, as_lines, read_lines
from oa_compile.extract.once import Once
from oa_compile.extract.readers import Reader, sniff
from oa_compile.extract.readers.mapped import reader_for
from oa_compile.extract.session import Session
from oa_compile.extract.sources import LogFile
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene, walk
from oa_compile.spec.program import ProgramSpec


@dataclass(slots=True)
class FileReading:
    """What one file gave."""

    file: LogFile
    tally: Tally
    format: str = ""
    digest: str = ""
    bytes: int = 0
    lines: int = 0
    sessions: int = 0
    records: list[ExampleRecord] = field(default_factory=list)
    agents: Counter[str] = field(default_factory=Counter)
    abouts: dict[str, None] = field(default_factory=dict)
    once: Once = field(default_factory=Once)


class Log:
    """One open log: its reader, and its moments as they come. `reader` is None when no format fits."""

    def __init__(
        self, file: LogFile, *, tally: Tally, source: Source, described: Reader | None = None
    ) -> None:
        self._lines = as_lines(read_lines(source, tally=tally), tally=tally)
        head = self._lines.head(HEAD_LINES)
        self._tally = tally
        self.reader: Reader | None = sniff(head, described=described)
        name = "log " + hashlib.sha256(head[0].raw).hexdigest()[:12] if head else ""
        self.assembly = Assembly(
            format=self.reader.FORMAT if self.reader else "", file=file.name, name=name, tally=tally
        )

    def moments(self) -> Iterator[tuple[Scene, Moment]]:
        """Every moment of the log, in order."""
        if self.reader is not None:
            yield from walk(self.reader.read(self._lines, tally=self._tally), self.assembly)

    def rest(self) -> Iterable[Line]:
        """Lines nobody has taken."""
        return self._lines


@contextmanager
def open_log(file: LogFile, *, spec: ProgramSpec, tally: Tally) -> Iterator[tuple[Log, Source]]:
    """A log, open. Raises OSError when it cannot be read."""
    with Path(file.path).open("rb", buffering=0) as handle:
        source = Source(handle)
        yield Log(file, tally=tally, source=source, described=reader_for(spec.extract.log)), source


def read_file(spec: ProgramSpec, thorough: bool, file: LogFile) -> FileReading:  # noqa: FBT001  bound by name
    """The examples of one log for the program, and what was counted on the way.

    When `thorough`, every line is read as a whole, also where nothing of it is needed.
    """
    reading = FileReading(file, Tally(file.name, thorough))
    with _few_collections():
        try:
            with open_log(file, spec=spec, tally=reading.tally) as (log, source):
                if log.reader is None:
                    for _ in log.rest():
                        pass
                    reading.tally.refuse("file of unknown format", 0)
                else:
                    _read(log, reading, spec)
                    reading.format = log.reader.FORMAT
                reading.digest, reading.bytes = source.digest, source.bytes
        except OSError as error:
            reading.tally.refuse(f"file that cannot be read: {error.strerror}", 0)
    reading.lines = reading.tally.counts.pop("lines_read", 0)
    return reading


def _read(log: Log, reading: FileReading, spec: ProgramSpec) -> None:
    makers: dict[str, Examples] = {}
    for scene, moment in log.moments():
        session = scene.session
        thread = makers.get(session.thread)
        if thread is None:
            thread = makers[session.thread] = Examples(spec, reading.tally)
        reading.records += thread.take(scene, moment)
        if isinstance(moment, Episode):
            reading.tally.count("episodes")
            reading.tally.count("episodes_succeeded", moment.succeeded)
        elif isinstance(moment, Closed):
            del makers[session.thread]
            _note(session, reading)
    reading.sessions = log.assembly.sessions
    reading.once = log.assembly.once


def _note(session: Session, reading: FileReading) -> None:
    tally = reading.tally
    if session.thread:
        tally.count("sidechains")
    else:
        reading.agents[session.agent or "unnamed agent"] += 1
    tally.count("compactions", session.compactions)
    tally.count("resumptions", session.resumptions)
    tally.count("tool_errors", session.errors)
    if session.about:
        reading.abouts.setdefault(session.about)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Reading makes many short-lived objects and no cycles: the collector would look at them in vain."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
