"""Assembly: a log's records become sessions and their steps, each step once and whole.

Owns what is the same in every format: which session and thread a record belongs to, that a call counts by
its id and usage by its message's id, and which result belongs to which call. A step is handed on when it
is whole, in the order in which steps were taken: a call waits for its result, at most until `WINDOW`
further steps were taken, so memory does not grow with the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from oa_compile.extract.once import Once
from oa_compile.extract.records import (
    Compacted,
    Finished,
    Opened,
    Record,
    Returned,
    Tasked,
    Used,
)
from oa_compile.extract.session import (
    Message,
    Outcome,
    RuntimeEvent,
    Session,
    Step,
    ToolCall,
    Usage,
    Verification,
    repository_of,
    root_of,
)
from oa_compile.extract.tally import Tally

WINDOW = 512
"""Steps that may be taken while a call still waits for its result."""

NO_USAGE = Usage()


class Begun(msgspec.Struct):
    """A session's first moment, once for every thread of it."""

    line: int


class Closed(msgspec.Struct):
    """A session's last moment: no further step of it comes."""


Waiting = Step | Tasked | Finished | Compacted
Happening = Waiting | Begun | Closed
_Other = Opened | Outcome | Compacted | Verification | RuntimeEvent | Tasked | Finished
Happenings = list[tuple[Session, Happening]]


class _Thread:
    """One thread of the session that is being read."""

    __slots__ = ("asked", "session", "usage", "waiting")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.waiting: deque[Waiting] = deque()
        self.asked: dict[str, ToolCall | None] = {}  # by id; None from when it waits no more
        self.usage: dict[str, Usage] = {}


class Assembly:
    """What one log's records are put together to. `once` is told of the calls and messages of each session
    that has ended. `name` is the session's where the log has none.
    """

    def __init__(self, *, format: str, file: str, name: str, tally: Tally) -> None:  # noqa: A002
        self.once = Once()
        self.sessions = 0
        self._format = format
        self._file = file
        self._name = name
        self._tally = tally
        self._opened: Opened | None = None
        self._threads: dict[str, _Thread] = {}

    def take(self, records: Iterable[Record]) -> Iterator[tuple[Session, Happening]]:
        """Every step of a log's `records`, in order, and where its sessions begin and end."""
        out: Happenings = []
        for record in records:
            if isinstance(record, ToolCall):
                thread = self._threads.get(record.thread) or self._begin(record.thread, record.line, out)
                if record.id in thread.asked:
                    self._tally.count("repeated_tool_calls")
                    continue
                thread.asked[record.id] = record
                thread.waiting.append(record)
                if len(thread.waiting) > WINDOW:
                    self._release(thread, out)
            elif isinstance(record, Returned):
                if (settled := self._settle(record)) is not None:
                    self._release(settled, out)
            elif isinstance(record, Message):
                thread = self._threads.get(record.thread) or self._begin(record.thread, record.line, out)
                if thread.waiting:
                    self._wait(thread, record, out)
                else:
                    out.append((thread.session, record))
            elif isinstance(record, Used):
                thread = self._threads.get(record.thread) or self._begin(record.thread, 0, out)
                thread.usage[record.message_id] = record.usage
            else:
                self._take_other(record, out)
            if out:
                yield from out
                out.clear()
        self._close(out)
        yield from out

    def _take_other(self, record: _Other, out: Happenings) -> None:
        if isinstance(record, Opened):
            self._open(record, out)
            return
        line = record.issue.line if isinstance(record, Tasked) else record.line
        thread = self._threads.get("") or self._begin("", line, out)
        if isinstance(record, Outcome):
            thread.session.outcomes.append(record)
            return
        if isinstance(record, Compacted):
            thread.session.compactions += 1
        self._wait(thread, record, out)

    def _close(self, out: Happenings) -> None:
        """The log has ended, or another session begins: hand on the rest."""
        for thread in self._threads.values():
            session, waiting = thread.session, thread.waiting
            for step in waiting:
                session.calls += type(step) is ToolCall
                out.append((session, step))
            session.usage = sum(thread.usage.values(), NO_USAGE)
            self.once.note(thread.asked, thread.usage)
            out.append((session, Closed()))
        self._threads = {}
        self._opened = None

    def _begin(self, name: str, line: int, out: Happenings) -> _Thread:
        session = Session(id=self._name, format=self._format, file=self._file, thread=name, outcomes=[])
        if self._opened is not None:
            _tell(session, self._opened)
        self._threads[name] = _Thread(session)
        self.sessions += not name
        out.append((session, Begun(line)))
        return self._threads[name]

    def _open(self, record: Opened, out: Happenings) -> None:
        known = self._opened
        if known is not None and known.id and record.id and record.id != known.id:
            self._close(out)
            known = None
        if known is None:
            self._opened = record
        else:
            if record.fresh and record.id == known.id and "" in self._threads:
                self._threads[""].session.resumptions += 1
            for name in ("id", "cwd", "agent", "about", "repository", "branch", "tools"):
                setattr(known, name, getattr(record, name) or getattr(known, name))
        for thread in self._threads.values():
            _tell(thread.session, record)
        if "" not in self._threads:
            self._begin("", record.line, out)

    def _settle(self, record: Returned) -> _Thread | None:
        """Give a call its result; the thread it is in, or None when no call waits for it."""
        for thread in self._threads.values():
            if (call := thread.asked.get(record.call_id)) is not None:
                thread.asked[record.call_id] = None
                result = call.result = record.result
                if result.is_error:
                    thread.session.errors += 1
                return thread
        if any(record.call_id in thread.asked for thread in self._threads.values()):
            self._tally.count("repeated_tool_results")
        else:
            self._tally.leave_out("tool result without its call", record.result.line)
        return None

    def _wait(self, thread: _Thread, step: Waiting, out: Happenings) -> None:
        thread.waiting.append(step)
        self._release(thread, out)

    def _release(self, thread: _Thread, out: Happenings) -> None:
        waiting, session = thread.waiting, thread.session
        while waiting:
            step = waiting[0]
            if type(step) is ToolCall:
                if step.result is None:
                    if len(waiting) <= WINDOW:
                        return
                    thread.asked[step.id] = None
                session.calls += 1
            out.append((session, waiting.popleft()))


def _tell(session: Session, record: Opened) -> None:
    session.id = record.id or session.id
    # A shell that moved about in the repository has not left it.
    if record.cwd and root_of(record.cwd) != session.root:
        session.cwd = record.cwd
    session.agent = record.agent or session.agent
    session.about = record.about or session.about
    session.repository = record.repository or session.repository or repository_of(session.cwd)
    session.branch = record.branch or session.branch
    session.tools = record.tools or session.tools
