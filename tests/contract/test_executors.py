"""One suite for every executor: the same answers wherever work runs, nothing lost where a worker dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from oa_compile.errors import (
    BudgetExhausted,
    ExecutorError,
    ExitCode,
    OacompileError,
    SpecError,
    StopRun,
    UsageError,
)
from oa_compile.executors.choose import executor_from
from oa_compile.executors.executor import TRIES, Executor, ItemFailed
from oa_compile.executors.local import LocalExecutor
from oa_compile.executors.serial import SerialExecutor
from tests.support.local_swarm import Watched
from tests.support.tasks import (
    ERRORS,
    Gate,
    deadly,
    failing,
    held,
    length,
    modules,
    place,
    scaled,
    square,
    unpackable,
)

ROOT = Path(__file__).parents[2]
WIDTH = 2

EVERYWHERE = ["serial", "local"]
ELSEWHERE = ["local"]
"""Where work runs in other processes, which can die."""


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """The executor of the test's parameter, two wide where it can be."""
    with executor_from(request.param, jobs=None if request.param == "serial" else WIDTH) as opened:
        yield opened


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that workers stop at."""
    with contextlib.closing(Gate(tmp_path)) as opened:
        yield opened


everywhere = pytest.mark.parametrize("executor", EVERYWHERE, indirect=True)
elsewhere = pytest.mark.parametrize("executor", ELSEWHERE, indirect=True)


def collected(work: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    """Results by index; none may come twice."""
    results: dict[int, Any] = {}
    for index, result in work:
        assert index not in results
        results[index] = result
    return results


@contextlib.contextmanager
def beside(function: Callable[[], Any]) -> Iterator[Future[Any]]:
    """`function` in a thread, so that the test can act while it waits."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(function)


# ---- the same answers everywhere ---------------------------------------------------------------------


@everywhere
def test_every_item_comes_back_once_with_its_index(executor: Executor) -> None:
    assert collected(executor.map(square, range(50))) == {number: number**2 for number in range(50)}


@everywhere
def test_no_items_are_no_results(executor: Executor) -> None:
    assert list(executor.map(square, [])) == []


@everywhere
def test_one_map_after_the_other(executor: Executor) -> None:
    assert collected(executor.map(square, [3])) == {0: 9}
    assert collected(executor.map(partial(scaled, {"a": 1, "b": 2}), "abba")) == {0: 1, 1: 2, 2: 2, 3: 1}
    assert collected(executor.map(partial(scaled, {"a": 5}), "aa")) == {0: 5, 1: 5}


@everywhere
def test_big_items_and_results_do_not_block_one_another(executor: Executor) -> None:
    items = [bytes([number]) * 3_000_000 + b"end" for number in range(6)]
    assert collected(executor.map(length, items)) == {n: item[::-1] for n, item in enumerate(items)}


@everywhere
@pytest.mark.parametrize("name", sorted(set(ERRORS) - {"picky"}))
def test_what_a_task_raises_is_raised_here_with_the_item_it_was(executor: Executor, name: str) -> None:
    with pytest.raises(type(ERRORS[name])) as caught:
        collected(executor.map(failing, ["well", name]))
    error, meant = caught.value, ERRORS[name]
    assert error.args == meant.args
    cause = error.__cause__
    assert isinstance(cause, ItemFailed)
    assert cause.index == 1
    match error, meant:
        case BudgetExhausted(), BudgetExhausted():
            assert (error.cap, error.hint) == ("run.msat", "more")
        case SpecError(), SpecError():
            assert error.diagnostics == meant.diagnostics
        case StopRun(), StopRun():
            assert (error.error.message, error.error.hint) == ("stopped", "go on")
        case UsageError(), UsageError():
            assert (error.message, error.hint, error.exit_code) == ("not like this", "like that", 2)


@everywhere
def test_an_error_leaves_the_executor_fit_for_the_next_map(executor: Executor) -> None:
    with pytest.raises(ValueError, match="no such value"):
        collected(executor.map(failing, ["value", *"abcdefgh"]))
    assert collected(executor.map(square, [2, 3])) == {0: 4, 1: 9}


@everywhere
def test_a_source_of_items_that_fails_fails_the_map(executor: Executor) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        collected(executor.map(square, items()))
    assert collected(executor.map(square, [2])) == {0: 4}


@everywhere
def test_few_items_are_in_memory_however_many_there_are(executor: Executor) -> None:
    """Drawn and not yet handed out: bounded by the width, also when results are fetched slowly."""
    drawn = out = most = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(200):
            drawn += 1
            yield number

    for _ in executor.map(square, items()):
        most = max(most, drawn - out)
        out += 1
    assert out == 200
    assert most <= 4 * executor.width


@everywhere
def test_closing_the_generator_drops_the_rest(executor: Executor) -> None:
    drawn = []

    def items() -> Iterator[int]:
        for number in range(1_000_000):
            drawn.append(number)
            yield number

    work = executor.map(square, items())
    next(work)
    work.close()
    assert len(drawn) <= 4 * executor.width
    assert collected(executor.map(square, [4])) == {0: 16}


@everywhere
def test_a_second_map_before_the_first_is_over_is_refused(executor: Executor) -> None:
    first = executor.map(square, range(3))
    results = [next(first)]
    with pytest.raises(RuntimeError, match="not over"):
        next(executor.map(square, [1]))
    assert collected([*results, *first]) == {0: 0, 1: 1, 2: 4}


@everywhere
def test_a_closed_executor_says_so_and_never_a_part_for_the_whole(executor: Executor) -> None:
    work = executor.map(square, range(100))
    next(work)
    executor.close()
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(work)
    with pytest.raises(RuntimeError, match="closed"):
        list(executor.map(square, [1]))


# ---- in other processes ------------------------------------------------------------------------------


@elsewhere
def test_the_work_is_done_elsewhere_and_at_once(executor: Executor, gate: Gate) -> None:
    with beside(lambda: collected(executor.map(partial(held, gate.folder), "abcd"))) as work:
        first = gate.begun(WIDTH)  # nobody was let through: they are at it at the same time
        gate.let(4)
        assert work.result() == dict(enumerate("abcd"))
    assert len(set(first.values())) == WIDTH
    assert os.getpid() not in first.values()


@elsewhere
def test_what_cannot_travel_is_that_item_s_failure(executor: Executor) -> None:
    locked = threading.Lock()
    with pytest.raises(TypeError) as caught:
        collected(executor.map(place, [1, 2, locked]))
    assert isinstance(caught.value.__cause__, ItemFailed)
    assert caught.value.__cause__.index == 2
    with pytest.raises(Exception, match=r"lambda|pickle") as caught_lambda:
        collected(executor.map(unpackable, [1, 2]))
    assert isinstance(caught_lambda.value.__cause__, ItemFailed)
    assert caught_lambda.value.__cause__.index == 1
    with pytest.raises(Exception, match=r"lambda|pickle"):
        collected(executor.map(lambda item: item, [1]))
    assert collected(executor.map(square, [2])) == {0: 4}


@elsewhere
def test_an_exception_that_cannot_travel_comes_as_its_words(executor: Executor) -> None:
    with pytest.raises(OacompileError, match="Picky: this and that") as caught:
        collected(executor.map(failing, ["picky"]))
    cause = caught.value.__cause__
    assert isinstance(cause, ItemFailed)
    assert "raise ERRORS[name]" in cause.trace


@elsewhere
def test_a_worker_killed_in_the_middle_loses_nothing_and_repeats_nothing(
    executor: Executor, gate: Gate
) -> None:
    names = [f"item{number}" for number in range(8)]
    with beside(lambda: collected(executor.map(partial(held, gate.folder), names))) as work:
        begun = gate.begun(WIDTH)
        name, pid = begun.popitem()
        os.kill(pid, signal.SIGKILL)
        again = gate.begun(1)
        assert list(again) == [name]
        assert again[name] != pid
        gate.let(len(names))
        assert work.result() == dict(enumerate(names))


@elsewhere
def test_all_workers_killed_at_once(executor: Executor, gate: Gate) -> None:
    with beside(lambda: collected(executor.map(partial(held, gate.folder), "abc"))) as work:
        for pid in gate.begun(WIDTH).values():
            os.kill(pid, signal.SIGKILL)
        assert set(gate.begun(WIDTH)) == {"a", "b"}
        gate.let(3)
        assert work.result() == dict(enumerate("abc"))


@elsewhere
def test_an_item_that_kills_every_worker_ends_the_work_retryable_and_no_other_item_counts(
    executor: Executor, gate: Gate
) -> None:
    with beside(lambda: collected(executor.map(partial(deadly, gate.folder), ["well", "poison"]))) as work:
        error = work.exception()
    assert isinstance(error, ExecutorError)
    assert error.exit_code == ExitCode.LANE
    assert f"{TRIES} workers died" in error.message
    assert isinstance(error.__cause__, ItemFailed)
    assert error.__cause__.index == 1
    assert set(gate.begun(1)) == {"well"}  # begun once, for its worker never died
    assert collected(executor.map(square, [2])) == {0: 4}


@elsewhere
def test_workers_killed_between_two_maps_are_nobody_s_failure(executor: Executor) -> None:
    pids = {pid for _ in range(2) for pid, _ in collected(executor.map(place, range(6))).values()}
    ended = Watched(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert ended.ended()
    assert collected(executor.map(square, range(6))) == {number: number**2 for number in range(6)}


@elsewhere
@pytest.mark.parametrize("closed", ["executor", "generator"])
def test_closing_ends_workers_in_the_middle_of_an_item(executor: Executor, gate: Gate, closed: str) -> None:
    running = executor.map(partial(held, gate.folder), "abcdef")
    with beside(lambda: next(running)) as work:
        begun = gate.begun(WIDTH)
        gate.let(1)
        del begun["abcdef"[work.result()[0]]]
    begun |= gate.begun(1)  # who is through goes on with the next while we hold the result
    ended = Watched(begun.values())
    (executor if closed == "executor" else running).close()
    assert ended.ended()


# ---- this machine's own ------------------------------------------------------------------------------


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
        workers = Watched(gate.begun(WIDTH).values())
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody
        stdout, stderr = process.communicate(timeout=50)
    assert workers.ended()
    assert (process.returncode, stdout, stderr) == (130, b"", b"interrupted\n")


@pytest.mark.crash
def test_workers_whose_maker_is_killed_end_too(gate: Gate) -> None:
    with started(gate) as process:
        workers = Watched(gate.begun(WIDTH).values())
        process.kill()
        process.wait()
        gate.let(WIDTH)  # they finish what they are at, and find nobody to tell
        assert workers.ended()


@pytest.mark.crash
def test_an_idle_worker_ends_with_its_maker_too(gate: Gate) -> None:
    with started(gate, then="signal.pause()") as process:
        begun = gate.begun(WIDTH)
        gate.let(4)
        workers = Watched((begun | gate.begun(2)).values())
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
        assert collected(executor.map(place, "a")) == {0: (os.getpid(), threading.get_ident())}


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
