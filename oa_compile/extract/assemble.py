"""Assembly: a log's records become sessions and their steps, each step once and whole.

Owns what is the same in every format: which session and thread a record belongs to, that a call counts by
its id and usage by its message's id, and which result belongs to which call. A step is handed on when it
is whole, in the order in which steps were taken: a call waits for its result, at most until `WINDOW`
further steps were taken, so memory does not grow with the log.
"""

from __future__ import annotations

from collections import deque

import msgspec

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
Happenings = list[tuple[Session, Happening]]


class _Thread:
    """One thread of the session that is being read."""

    __slots__ = ("asked", "seen", "session", "usage", "waiting")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.waiting: deque[Waiting] = deque()
        self.seen: set[str] = set()
        self.asked: dict[str, ToolCall] = {}
        self.usage: dict[str, Usage] = {}


class Assembly:
    """What one log's records are put together to. `called` and `used` are all ids met, for counting them
    over several logs: a resumed session may repeat another's lines. `name` is the session's where the log
    has none.
    """

    def __init__(self, *, format: str, file: str, name: str, tally: Tally) -> None:  # noqa: A002
        self.called: set[str] = set()
        self.used: dict[str, Usage] = {}
        self.sessions = 0
        self._format = format
        self._file = file
        self._name = name
        self._tally = tally
        self._opened: Opened | None = None
        self._threads: dict[str, _Thread] = {}

    def push(self, record: Record, out: Happenings) -> None:
        """Take one record; what can be handed on now is added to `out`, in order."""
        if isinstance(record, ToolCall):
            thread = self._threads.get(record.thread) or self._thread(record.thread, record.line, out)
            call_id, waiting = record.id, thread.waiting
            if call_id in thread.seen:
                self._tally.count("repeated_tool_calls")
                return
            thread.seen.add(call_id)
            thread.asked[call_id] = record
            waiting.append(record)
            if len(waiting) <= WINDOW:
                return  # it waits for its result, and all before it for what they waited for
        elif isinstance(record, Returned):
            settled = self._settle(record)
            if settled is None:
                return
            thread = settled
        elif isinstance(record, Message):
            thread = self._threads.get(record.thread) or self._thread(record.thread, record.line, out)
            if not thread.waiting:
                out.append((thread.session, record))
                return
            thread.waiting.append(record)
        elif isinstance(record, Used):
            self._thread(record.thread, 0, out).usage[record.message_id] = record.usage
            return
        elif isinstance(record, Opened):
            self._open(record, out)
            return
        else:
            thread = self._thread("", _line(record), out)
            if isinstance(record, Outcome):
                thread.session.outcomes.append(record)
                return
            if isinstance(record, Compacted):
                thread.session.compactions += 1
            thread.waiting.append(record)
        self._release(thread, out)

    def close(self, out: Happenings) -> None:
        """The log has ended, or another session begins: hand on the rest."""
        for thread in self._threads.values():
            session, waiting = thread.session, thread.waiting
            for step in waiting:
                session.calls += type(step) is ToolCall
                out.append((session, step))
            session.usage = sum(thread.usage.values(), NO_USAGE)
            self.called |= thread.seen
            self.used.update(thread.usage)
            out.append((session, Closed()))
        self._threads = {}
        self._opened = None

    def _thread(self, name: str, line: int, out: Happenings) -> _Thread:
        thread = self._threads.get(name)
        if thread is None:
            session = Session(id=self._name, format=self._format, file=self._file, thread=name, outcomes=[])
            if self._opened is not None:
                _tell(session, self._opened)
            thread = self._threads[name] = _Thread(session)
            self.sessions += not name
            out.append((session, Begun(line)))
        return thread

    def _open(self, record: Opened, out: Happenings) -> None:
        known = self._opened
        if known is not None and known.id and record.id and record.id != known.id:
            self.close(out)
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
        self._thread("", record.line, out)

    def _settle(self, record: Returned) -> _Thread | None:
        """Give a call its result; the thread it is in, or None when no call waits for it."""
        for thread in self._threads.values():
            if call := thread.asked.pop(record.call_id, None):
                result = call.result = record.result
                if result.is_error:
                    thread.session.errors += 1
                return thread
        if any(record.call_id in thread.seen for thread in self._threads.values()):
            self._tally.count("repeated_tool_results")
        else:
            self._tally.leave_out("tool result without its call", record.result.line)
        return None

    def _release(self, thread: _Thread, out: Happenings) -> None:
        waiting, session = thread.waiting, thread.session
        while waiting:
            step = waiting[0]
            if type(step) is ToolCall:
                if step.result is None:
                    if len(waiting) <= WINDOW:
                        return
                    thread.asked.pop(step.id, None)
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


def _line(record: Verification | RuntimeEvent | Tasked | Finished | Compacted | Outcome) -> int:
    return record.issue.line if isinstance(record, Tasked) else record.line
