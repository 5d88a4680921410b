"""Compiles in child processes, so that tests can kill and interrupt them for real.

A *nursery* imports dspy once and forks a child for each compile: a run that is killed costs a fork,
not an import. The child reports every journal line and every call as one byte through a pipe, its
*ticks*, and the nursery sends its signals when so many have come: the child is hit at a random point
of its work, and no test sleeps.

The lane keeps *books*: a line for each request, appended (O_APPEND, so whole and in order over all
processes) before it is answered. They are what a provider would bill.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import ExitCode, StopRun
from oa_compile.events import Line
from oa_compile.lanes.lane import Account
from oa_compile.lanes.metered import Sent
from tests.support.world import RuleLane

ROOT = Path(__file__).parents[2]

STUCK_AFTER = 60.0
"""Seconds after which a child must hang: a test that gets there has failed."""

TICK = b"."
"""A journal line was written, or a call reached the lane."""
HELD = b"h"
"""A call is under way and waits for the run to stop."""
STOPPING = b"s"
"""A call that was held saw the run stop."""


@dataclass(frozen=True, slots=True)
class Job:
    """One child, working on the run in `folder`.

    `via` ``library`` calls run_compile; ``command`` runs ``oacompile optimize --resume``. `kill_after` is
    a number of ticks, 0 for never. From the `hold_from`-th call on (0: none), calls wait until the run
    stops, and then `answer`, or never come back: the child gets `interrupts` SIGINTs, the first when
    a call is held, the second when it has taken notice of the first.
    """

    folder: str
    books: str
    via: Literal["library", "command"] = "library"
    kill_after: int = 0
    hold_from: int = 0
    answer: bool = True
    interrupts: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code (minus the signal that killed it), its ticks, its output."""

    code: int
    ticks: int
    stdout: str
    stderr: str

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


def billed(books: Path) -> list[tuple[str, int]]:
    """Key and msat of every request the provider received, in order."""
    if not books.exists():
        return []
    return [(key, int(msat)) for key, msat in (line.split() for line in books.read_text().splitlines())]


class Nursery:
    """The process that forks the children, as a context manager. One job at a time."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.compile_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, job: Job) -> Ended:
        """Run one child to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the nursery ended with {self._process.wait()}"
        return Ended(**json.loads(line))


# -- inside the nursery --------------------------------------------------------------------------


def main() -> None:
    """Serve jobs, a JSON line each, until stdin ends."""
    import oa_compile.optimize.copro
    import oa_compile.optimize.gepa
    import oa_compile.optimize.miprov2  # noqa: F401 - for the children to inherit

    for line in sys.stdin:
        ended = _serve(Job(**json.loads(line)))
        sys.stdout.write(json.dumps(asdict(ended)) + "\n")
        sys.stdout.flush()


def _serve(job: Job) -> Ended:
    ticks, report = os.pipe()
    texts = [Path(f"{job.books}.{name}") for name in ("stdout", "stderr")]
    pid = os.fork()
    if pid == 0:
        os.close(ticks)
        _redirect(texts)
        # As a script ends: with the interpreter's own end, which waits for threads.
        sys.exit(_child(job, report))
    os.close(report)
    seen = _watch(job, pid, ticks)
    os.close(ticks)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ended(code, seen, *(path.read_text() for path in texts))


def _watch(job: Job, pid: int, ticks: int) -> int:
    """Count the child's ticks until it is gone, and send it what the job says. Returns their number."""
    interrupt_on = [HELD, STOPPING][: job.interrupts]
    seen = 0
    while byte := os.read(ticks, 1):
        seen += 1
        if seen == job.kill_after:
            os.kill(pid, signal.SIGKILL)
        if interrupt_on and byte == interrupt_on[0]:
            os.kill(pid, signal.SIGINT)
            del interrupt_on[0]
    return seen


def _redirect(texts: list[Path]) -> None:
    for number, path in enumerate(texts, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)


def _child(job: Job, report: int) -> int:
    # A child that hangs ends with a traceback of all its threads, and its test fails with that.
    faulthandler.dump_traceback_later(STUCK_AFTER, exit=True, file=sys.stderr)
    lane = _BookedLane(job, tell=lambda tick: os.write(report, tick))
    return _compile(job, lane) if job.via == "library" else _command(job, lane)


def _compile(job: Job, lane: _BookedLane) -> int:
    from oa_compile.artifact.folder import RunFolder
    from tests.support.world import run

    folder = RunFolder(Path(job.folder))
    known = folder.journal.read_bytes().count(b"\n") if folder.journal.exists() else 0

    def listen(line: Line) -> None:
        if line.seq > known:  # a resumed run tells its history first
            lane.tell(TICK)

    outcome = run(folder, lane, listener=listen)
    return outcome.error.exit_code if outcome.error else ExitCode.OK


def _command(job: Job, lane: _BookedLane) -> int:
    """The real command, but for its lane."""
    import oa_compile.lanes.build
    from oa_compile.cli.main import main as command

    oa_compile.lanes.build.build_lanes = lambda *_args, **_options: {"local": lane}  # type: ignore[assignment]
    return command(["optimize", "--resume", job.folder, "--json"])


class _BookedLane(RuleLane):
    """The rule lane, of a provider that keeps books: ``<key> <msat>`` a line."""

    def __init__(self, job: Job, *, tell: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.tell = tell
        self._job = job
        self._books = os.open(job.books, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._count = 0
        self._counting = threading.Lock()
        self._accounts = threading.local()

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        self._accounts.mine = account
        return super().complete(request, account)

    def send(self, request: ChatRequest, key: str) -> Sent:
        with self._counting:
            self._count += 1
            number = self._count
        os.write(self._books, f"{key} {self.price}\n".encode())
        self.tell(TICK)
        if self._job.hold_from and number >= self._job.hold_from:
            self._hold()
        return super().send(request, key)

    def _hold(self) -> None:
        self.tell(HELD)
        stopping = False
        while not stopping:
            try:
                self._accounts.mine.pause(0.01)
            except StopRun:
                stopping = True
        self.tell(STOPPING)
        if not self._job.answer:
            threading.Event().wait()


if __name__ == "__main__":
    main()
