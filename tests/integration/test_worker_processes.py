"""Worker processes of this machine: their start, their end, what they say, and executors by their names."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oa_compile.errors import UsageError
from oa_compile.executors.choose import executor_from
from oa_compile.executors.local import LocalExecutor
from oa_compile.executors.serial import SerialExecutor
from tests.support.local_swarm import Watched
from tests.support.tasks import Gate, modules, place, square

ROOT = Path(__file__).parents[2]
WIDTH = 2


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that workers stop at."""
    with contextlib.closing(Gate(tmp_path)) as opened:
        yield opened


@contextlib.contextmanager
def started(gate: Gate, *, then: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that has its workers at `gate`, a group of its own; `then` is what it does afterwards."""
    code = f"""
import signal
from functools import partial
from pathlib import Path
from oa_compile.executors.local import LocalExecutor
from tests.support.tasks import held
if __name__ == "__main__":
    try:
        with LocalExecutor({WIDTH}) as executor:
            list(executor.map(partial(held, Path({str(gate.folder)!r})), 'abcd'))
            {then or "pass"}
    except KeyboardInterrupt:
        raise SystemExit(__import__("sys").stderr.write("interrupted\\n") and 130)
"""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.crash
def test_ctrl_c_ends_the_work_and_its_workers_at_once_and_quietly(gate: Gate) -> None:
    with started(gate) as process:
        workers = Watched(pid for _, pid in gate.begun(WIDTH))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody
        stdout, stderr = process.communicate(timeout=50)
    assert workers.ended()
    assert (process.returncode, stdout, stderr) == (130, b"", b"interrupted\n")


@pytest.mark.crash
def test_workers_whose_maker_is_killed_end_too(gate: Gate) -> None:
    with started(gate) as process:
        workers = Watched(pid for _, pid in gate.begun(WIDTH))
        process.kill()
        process.wait()
        gate.let(WIDTH)  # they finish what they are at, and find nobody to tell
        assert workers.ended()


@pytest.mark.crash
def test_an_idle_worker_ends_with_its_maker_too(gate: Gate) -> None:
    with started(gate, then="signal.pause()") as process:
        begun = gate.begun(WIDTH)
        gate.let(4)
        workers = Watched(pid for _, pid in begun + gate.begun(2))
        process.kill()
        assert workers.ended()


def test_what_a_worker_prints_is_no_result() -> None:
    code = """
from oa_compile.executors.local import LocalExecutor
from tests.support.tasks import said
if __name__ == "__main__":
    with LocalExecutor(1) as executor:
        list(executor.map(said, ["hello"]))
    print("the result")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=50)
    assert (done.stdout, done.stderr) == (b"the result\n", b"hello\nfrom below\n")


def test_a_worker_imports_next_to_nothing() -> None:
    """It starts as fast as Python itself: what a task needs, its module imports."""
    with LocalExecutor(1) as executor:
        [(_, loaded)] = executor.map(modules, ["oa_compile"])
    assert {name.split(".")[1] for name in loaded if "." in name} == {"errors", "executors"}
    assert not {"multiprocessing.pool", "concurrent.futures", "asyncio"} & set(loaded)


def test_workers_are_kept_and_only_as_many_as_there_is_work_for() -> None:
    with LocalExecutor(8) as executor:
        list(executor.map(square, [1]))
        first = executor.pids
        list(executor.map(square, [1, 2]))
        assert len(first) == 1
        assert set(first) < set(executor.pids)
        assert len(executor.pids) == 2


def test_serial_work_stays_here() -> None:
    with SerialExecutor() as executor:
        assert list(executor.map(place, "a")) == [(0, (os.getpid(), threading.get_ident()))]


# ---- by name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "jobs", "kind", "width"),
    [
        ("serial", None, SerialExecutor, 1),
        ("serial", 4, SerialExecutor, 1),
        ("local", None, LocalExecutor, len(os.sched_getaffinity(0))),
        ("local", 3, LocalExecutor, 3),
        ("local:5", None, LocalExecutor, 5),
        ("local:5", 5, LocalExecutor, 5),
    ],
)
def test_an_executor_by_its_name(text: str, jobs: int | None, kind: type, width: int) -> None:
    with executor_from(text, jobs=jobs) as executor:
        assert isinstance(executor, kind)
        assert executor.width == width


@pytest.mark.parametrize(
    ("text", "jobs", "said"),
    [
        ("", None, "names no executor"),
        ("remote", None, "names no executor"),
        ("local:", None, "names no executor"),
        ("local:-1", None, "names no executor"),
        ("local:0", None, "no worker"),
        ("local:2", 3, "contradict"),
        ("local", 0, "at least 1"),
    ],
)
def test_a_name_that_is_none_is_refused(text: str, jobs: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        executor_from(text, jobs=jobs)
    assert caught.value.hint
