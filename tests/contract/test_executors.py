"""One suite for every executor: the same answers wherever work runs, nothing lost where a worker dies."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.util.client import ray as client

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
from oa_compile.executors.ray import RayExecutor
from tests.support.local_swarm import Watched
from tests.support.ray_cluster import RayCluster
from tests.support.tasks import (
    ERRORS,
    Gate,
    deadly,
    failing,
    held,
    length,
    place,
    scaled,
    square,
    unpackable,
)

ROOT = Path(__file__).parents[2]
WIDTH = 2


class OnRay:
    """A cluster, and the executor on it that is open: nodes take seconds to start, and clients to connect."""

    def __init__(self) -> None:
        self.cluster = RayCluster()
        self._opened: list[RayExecutor] = []

    def executor(self, *, nodes: int = WIDTH) -> RayExecutor:
        """The executor, on at least so many nodes."""
        if missing := max(0, nodes - len(self.cluster.nodes)):
            self.cluster.add(missing)
        if not client.is_connected():
            self._opened.append(RayExecutor(self.cluster.url, patience=2))
        return self._opened[-1]

    def close(self) -> None:
        """Leave the cluster, then end it."""
        for executor in self._opened:
            executor.close()
        self.cluster.close()


@pytest.fixture(scope="module")
def on_ray() -> Iterator[OnRay]:
    """One for all tests, which kill nodes, and the last of them the head."""
    with contextlib.closing(OnRay()) as opened:
        yield opened


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """The executor of the test's parameter, two wide where it can be."""
    if request.param == "ray":
        yield request.getfixturevalue("on_ray").executor()
        return
    with executor_from(request.param, jobs=None if request.param == "serial" else WIDTH) as opened:
        yield opened


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that workers stop at."""
    with contextlib.closing(Gate(tmp_path)) as opened:
        yield opened


one_ray = pytest.mark.xdist_group("ray")
"""One process of the tests starts Ray."""

RAY = pytest.param("ray", marks=one_ray)
everywhere = pytest.mark.parametrize("executor", ["serial", "local", RAY], indirect=True)
elsewhere = pytest.mark.parametrize("executor", ["local", RAY], indirect=True)
"""Where work runs in other processes, which can die."""


def collected(work: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    """Results by index; none may come twice."""
    results: dict[int, Any] = {}
    for index, result in work:
        assert index not in results
        results[index] = result
    return results


def kill(*pids: int) -> None:
    """SIGKILL, and come back when they are gone: who is about to be might still be let through a gate."""
    ended = Watched(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert ended.ended()


@contextlib.contextmanager
def beside(function: Callable[[], Any]) -> Iterator[Future[Any]]:
    """`function` in a thread, so that the test can act while it waits."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(function)


@one_ray
def test_one_process_of_the_tests_starts_ray(request: pytest.FixtureRequest) -> None:
    """Two clusters at once give their clients servers on the same ports: each takes the other's calls."""
    distributed = "PYTEST_XDIST_WORKER" in os.environ and request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@ray") or not distributed


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
        first = {
            pid for _, pid in gate.begun(WIDTH)
        }  # nobody was let through: they are at it at the same time
        gate.let(4)
        assert work.result() == dict(enumerate("abcd"))
    assert len(first) == WIDTH
    assert os.getpid() not in first


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
        name, pid = begun[-1]
        kill(pid)
        begun += gate.begun(1)  # another worker has come in its place
        assert begun[-1][1] not in {pid for _, pid in begun[:-1]}
        gate.let(len(names))
        assert work.result() == dict(enumerate(names))
    assert Counter(name for name, _ in begun + gate.come()) == Counter([*names, name])


@elsewhere
def test_all_workers_killed_at_once(executor: Executor, gate: Gate) -> None:
    names = "abc"
    with beside(lambda: collected(executor.map(partial(held, gate.folder), names))) as work:
        begun = gate.begun(WIDTH)
        kill(*(pid for _, pid in begun))
        gate.let(len(names))
        assert work.result() == dict(enumerate(names))
    killed = [name for name, _ in begun]
    assert Counter(name for name, _ in begun + gate.come()) == Counter([*names, *killed])


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
    assert [name for name, _ in gate.come()] in ([], ["well"])  # never twice: its worker did not die
    assert collected(executor.map(square, [2])) == {0: 4}


@elsewhere
def test_workers_killed_between_two_maps_are_nobody_s_failure(executor: Executor) -> None:
    pids = {pid for _ in range(2) for pid, _ in collected(executor.map(place, range(6))).values()}
    kill(*pids)
    assert collected(executor.map(square, range(6))) == {number: number**2 for number in range(6)}


@elsewhere
@pytest.mark.parametrize("closed", ["executor", "generator"])
def test_closing_ends_workers_in_the_middle_of_an_item(executor: Executor, gate: Gate, closed: str) -> None:
    running = executor.map(partial(held, gate.folder), "abcdef")
    with beside(lambda: next(running)) as work:
        begun = gate.begun(WIDTH)
        gate.let(1)
        done = work.result()[1]
    begun += gate.begun(1)  # who is through goes on with the next while we hold the result
    ended = Watched(pid for name, pid in begun if name != done)
    (executor if closed == "executor" else running).close()
    assert ended.ended()


# ---- on a cluster ------------------------------------------------------------------------------------


@one_ray
def test_a_cluster_by_its_address_with_fewer_at_once_and_once_a_process(on_ray: OnRay) -> None:
    on_ray.executor().close()
    with executor_from(on_ray.cluster.url, jobs=1) as executor:
        assert isinstance(executor, RayExecutor)
        assert executor.width == 1
        assert collected(executor.map(square, range(5))) == {n: n**2 for n in range(5)}
        with pytest.raises(UsageError, match="already"):
            executor_from(on_ray.cluster.url)
        assert collected(executor.map(square, [2])) == {0: 4}


@one_ray
def test_nodes_that_join_are_used(on_ray: OnRay, gate: Gate) -> None:
    executor = on_ray.executor()
    with beside(lambda: collected(executor.map(partial(held, gate.folder), range(20)))) as work:
        first = gate.begun(WIDTH)
        (joined,) = on_ray.cluster.add(1)
        more = gate.begun(1)
        gate.let(20)
        assert len(work.result()) == 20
    assert executor.width == WIDTH + 1
    assert {on_ray.cluster.node_of(pid) for _, pid in more} == {joined}
    assert joined not in {on_ray.cluster.node_of(pid) for _, pid in first}
    joined.kill()


@one_ray
def test_a_whole_node_killed_in_the_middle_loses_nothing(on_ray: OnRay, gate: Gate) -> None:
    executor, names = on_ray.executor(), "abcdefgh"
    with beside(lambda: collected(executor.map(partial(held, gate.folder), names))) as work:
        begun = gate.begun(WIDTH)
        name, pid = begun[0]
        on_ray.cluster.node_of(pid).kill()
        gate.let(len(names))
        assert work.result() == dict(enumerate(names))
    assert Counter(name for name, _ in begun + gate.come()) == Counter([*names, name])


@one_ray
def test_results_that_die_with_their_node_are_made_again(on_ray: OnRay) -> None:
    """Large ones wait on the node they were made on until they are fetched."""
    executor, items = on_ray.executor(nodes=1), [bytes([n]) * 2**20 for n in range(2)]
    work = executor.map(length, items)
    results = [next(work)]
    waiting = list(executor._flying)
    assert client.wait(waiting, num_returns=1, timeout=50, fetch_local=False) == (waiting, [])
    for node in on_ray.cluster.nodes:
        node.kill()
    on_ray.cluster.add(1)
    assert collected([*results, *work]) == {n: item[::-1] for n, item in enumerate(items)}


@one_ray
def test_a_cluster_that_has_no_core_left_is_not_waited_for_for_ever(on_ray: OnRay, gate: Gate) -> None:
    executor = on_ray.executor(nodes=1)
    with beside(lambda: collected(executor.map(partial(held, gate.folder), "ab"))) as work:
        gate.begun(1)
        for node in on_ray.cluster.nodes:
            node.kill()
        error = work.exception()
    assert isinstance(error, ExecutorError)
    assert "no core" in error.message
    assert error.exit_code == ExitCode.LANE


def changed(folder: Path, line: str) -> str:
    """Where Python is to look, to find the package with one more line in `folder`."""
    package = folder / "oa_compile"
    shutil.copytree(ROOT / "oa_compile", package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "__init__.py").open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    return f"{folder}:{ROOT}"


@one_ray
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("# one more line", "the worker on .* runs oa-compile .* and we run"),
        ("raise ImportError('half installed')", "a worker of .* cannot load the work: .*"),
    ],
    ids=["other code", "code that does not load"],
)
def test_workers_with_other_code_are_refused(on_ray: OnRay, tmp_path: Path, change: str, said: str) -> None:
    executor = on_ray.executor(nodes=0)
    for node in on_ray.cluster.nodes:
        node.kill()
    (other,) = on_ray.cluster.add(1, PYTHONPATH=changed(tmp_path, change))
    with pytest.raises(UsageError, match=said) as caught:
        collected(executor.map(square, [1, 2]))
    assert "on every node" in caught.value.hint
    other.kill()


@one_ray
def test_a_cluster_whose_head_is_gone_is_a_failure_worth_another_try(
    on_ray: OnRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seconds that a client tries to come back. Not for all tests: a busy machine's stream may break, too.
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
    on_ray.executor(nodes=1).close()
    executor = on_ray.executor(nodes=1)
    work = executor.map(square, range(1000))
    next(work)
    on_ray.cluster.head.kill()
    for _ in range(2):
        with pytest.raises(ExecutorError, match="is lost") as caught:
            list(work)
        assert on_ray.cluster.url in caught.value.message
        assert caught.value.exit_code == ExitCode.LANE
        work = executor.map(square, range(10))  # and no Ray starts here in its place


@one_ray
def test_a_head_with_other_code_is_refused(on_ray: OnRay, tmp_path: Path) -> None:
    on_ray.close()
    with (
        RayCluster(PYTHONPATH=changed(tmp_path, "raise ImportError('half installed')")) as cluster,
        RayExecutor(cluster.url) as executor,
        pytest.raises(UsageError, match=r"head of .* cannot take the work: half installed") as caught,
    ):
        list(executor.map(square, [1]))
    assert "the head too" in caught.value.hint


def test_where_nobody_listens_there_is_no_cluster() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        ExecutorError, match=f"no Ray cluster answers at ray://127.0.0.1:{port}: .*refused"
    ) as caught:
        executor_from(f"ray://127.0.0.1:{port}")
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "ray:",
        "ray://",
        "ray://:10001",
        "ray://host:port",
        "ray://host:99999",
        "ray://me@host",
        "ray://host/path",
        "ray://host?x",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="names no Ray cluster") as caught:
        executor_from(url)
    assert "ray://HOST:PORT" in caught.value.hint


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "oa_compile.executors.ray")
    with pytest.raises(UsageError, match="not installed") as caught:
        executor_from("ray://somewhere:10001")
    assert "oa-compile[ray]" in caught.value.hint
