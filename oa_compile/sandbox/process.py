"""One process under watch: its output read up to a limit, its wall time, its family's size; then its end.

Owns what is measured from outside, for every kind of sandbox. What the kernel limits is set by each of them.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oa_compile.sandbox.sandbox import Exceeded, Limits

POLL = 0.05
"""Seconds between two looks at the family of a job that is running."""

DROWNED = 4
"""Times the output that is kept, after which a job is ended."""

_CHUNK = 65_536
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Watched:
    """What came of a process. `status_line` is what it wrote to its status pipe."""

    returncode: int
    seconds: float
    stdout: bytes
    stderr: bytes
    exceeded: Exceeded = ""
    cut: bool = False
    status_line: bytes = b""


@dataclass(slots=True)
class _Stream:
    limit: int
    kept: bytearray = field(default_factory=bytearray)
    seen: int = 0

    def take(self, data: bytes) -> None:
        self.seen += len(data)
        self.kept += data[: max(0, self.limit - len(self.kept))]


def watch(
    argv: Sequence[str],
    *,
    limits: Limits,
    stdin: bytes,
    pass_fds: Sequence[int] = (),
    status_fd: int = -1,
    polls_family: bool = True,
) -> Watched:
    """Run `argv` until it ends or exceeds a limit; then it and all of its process group are dead.

    `status_fd` is the reading end of a pipe whose writing end is among `pass_fds`; those are closed here once
    the process has them. Where a daemon runs the job, its family is not this
    process's and is not looked at. Raises OSError when it cannot be started.
    """
    begun = time.monotonic()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,
            env={"PATH": os.defpath},
        )
    finally:
        for fd in pass_fds:
            os.close(fd)
    out, err, told = _Stream(limits.output), _Stream(limits.output), _Stream(65_536)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout.fileno(), selectors.EVENT_READ, out)
            selector.register(process.stderr.fileno(), selectors.EVENT_READ, err)
            if status_fd >= 0:
                selector.register(status_fd, selectors.EVENT_READ, told)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, memoryview(stdin))
            exceeded = _attend(selector, process, limits, begun, (out, err), polls_family=polls_family)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _await_end(process.stdout.fileno())
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()
    return Watched(
        returncode=process.returncode,
        seconds=time.monotonic() - begun,
        stdout=bytes(out.kept),
        stderr=bytes(err.kept),
        exceeded=exceeded,
        cut=out.seen > len(out.kept) or err.seen > len(err.kept),
        status_line=bytes(told.kept),
    )


def _attend(
    selector: selectors.BaseSelector,
    process: subprocess.Popen[bytes],
    limits: Limits,
    begun: float,
    outputs: tuple[_Stream, _Stream],
    *,
    polls_family: bool,
) -> Exceeded:
    """Read and write until every pipe is closed. The limit that was exceeded, if one was."""
    deadline, looked = begun + limits.seconds, begun
    while selector.get_map():
        now = time.monotonic()
        if now >= deadline:
            return "seconds"
        for key, _ in selector.select(min(POLL, deadline - now)):
            if isinstance(key.data, memoryview):
                _write(selector, key, process)
                continue
            data = os.read(key.fd, _CHUNK)
            if data:
                key.data.take(data)
            else:
                selector.unregister(key.fd)
        if any(stream.seen > DROWNED * limits.output for stream in outputs):
            return "output"
        if polls_family and time.monotonic() - looked >= POLL:
            looked = time.monotonic()
            processes, memory = _family(process.pid)
            if processes > limits.processes + _OURS:
                return "processes"
            if memory > limits.memory:
                return "memory"
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:  # it closed its outputs and went on
        return "seconds"
    return ""


def _await_end(stdout: int) -> None:
    """Wait until nobody holds the output: the first process of a namespace does until all others are gone."""
    deadline = time.monotonic() + 5.0
    while (left := deadline - time.monotonic()) > 0:
        if select.select([stdout], [], [], left)[0] and not os.read(stdout, _CHUNK):
            return


_OURS = 4
"""Processes of the sandbox itself in a job's family."""


def _write(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, process: subprocess.Popen[bytes]
) -> None:
    try:
        written = os.write(key.fd, key.data[:_CHUNK])
    except BlockingIOError:
        return
    except BrokenPipeError:  # it does not read all it was given
        written = len(key.data)
    if written < len(key.data):
        selector.modify(key.fd, selectors.EVENT_WRITE, key.data[written:])
        return
    selector.unregister(key.fd)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _family(pid: int) -> tuple[int, int]:
    """How many tasks (threads counted) descend from a process, and the bytes they hold together."""
    tasks, memory, waiting = 0, 0, [pid]
    while waiting:
        root = Path("/proc", str(waiting.pop()))
        try:
            memory += int((root / "statm").read_text().split()[1]) * _PAGE
            threads = os.listdir(root / "task")  # noqa: PTH208 - names, not paths: this is polled
            tasks += len(threads)
            for thread in threads:
                waiting += map(int, (root / "task" / thread / "children").read_text().split())
        except (OSError, IndexError, ValueError):  # it ended while it was looked at
            continue
    return tasks, memory
