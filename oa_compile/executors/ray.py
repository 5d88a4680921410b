"""The executor that is a Ray cluster, reached through its client port: ``ray://HOST:PORT``.

Ray schedules, moves bytes and notices deaths. How often an item is tried is ours, as on this machine, so
Ray's own retries are off: they would count apart, and not at all where memory ran out. Owns what of Ray's
many ends is a dead worker, what is a cluster that is gone, and what is an installation that does not fit.

Nothing is installed on the cluster: its nodes, the head too, have the same oa-compile, Python and Ray as
here, and see the same files under the same paths.

`cluster` is Ray's client itself: `ray.get` and its like would, once the connection is lost, start a Ray of
their own on this machine, and `ray.init` takes SIGTERM for itself.
"""

from __future__ import annotations

import logging
import platform
import socket
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

import grpc
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.client import ray as cluster
from ray.util.debug import log_once

import oa_compile
from oa_compile.errors import ExecutorError, UsageError
from oa_compile.executors.code import code
from oa_compile.executors.executor import Item, Result, Turn
from oa_compile.executors.parcel import Task, failure, opened, pack, perform
from oa_compile.executors.piece import Piece, pieces

CLIENT_PORT = 10001
"""Where a head node listens for clients unless it was told otherwise."""

_LOOK_SECONDS = 5.0
"""How often the cluster is asked for its size while nothing comes back from it."""

_AHEAD = 2
"""Items under way for each core: one at work, one on its way, so that no core waits for us."""

_TOLD = (
    "client_communication_overhead_warning",  # many small items add up to more than 10 MB
    "ray_client_security_groups",  # it raises as well
    "lost_reconnect_logs",  # its log is not shown
)
"""What Ray's client says once a process, on a terminal that is not its own."""


class RayExecutor:
    """Runs items on a Ray cluster, one a core, spread over its nodes. One a process: Ray has no more."""

    def __init__(self, url: str, *, jobs: int | None = None, patience: float = 300.0) -> None:
        """Connect to the cluster at `url`; `jobs` caps the items under way.

        A cluster without a core is waited for `patience` seconds, for some grow when there is work. Raises
        UsageError for a URL that is none and for versions that do not fit, ExecutorError when nobody answers.
        """
        self._url, self._jobs, self._patience = _address(url), jobs, patience
        self._turn = Turn()
        self._flying: dict[Any, Piece] = {}
        self._cores = 0
        self._alive = monotonic()  # when the cluster last had a core, or a map began
        _connect(self._url)
        try:
            self._perform = cluster.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(_perform)
            self._look()
        except BaseException:
            cluster.disconnect()
            raise

    @property
    def width(self) -> int:
        """The cluster's cores as last seen, or the `jobs` asked for if they are fewer."""
        return max(1, min(self._cores, self._jobs or self._cores))

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[tuple[int, Result], None, None]:
        """See Executor. Items travel ahead of the cores that will do them."""
        with self._turn:
            self._alive = monotonic()
            self._look()
            try:
                yield from self._map(pack(task), pieces(items))
            finally:
                self._drop()

    def _map(self, task: bytes, fresh: Iterator[Piece]) -> Iterator[tuple[int, Any]]:
        with self._reached():
            shared = [cluster.put(task)]  # in a list, where Ray leaves it to the worker to fetch it, once
        key, again, finished = uuid.uuid4().hex, deque[Piece](), 0
        while True:
            while len(self._flying) < (self._jobs or _AHEAD * self.width):
                piece = again.popleft() if again else next(fresh, None)
                if piece is None:
                    break
                with self._reached():
                    self._flying[self._perform.remote(_ours(), key, shared, piece.item)] = piece
            if not self._flying:
                return
            with self._reached():
                ready, _ = cluster.wait(list(self._flying), timeout=min(_LOOK_SECONDS, self._patience))
            if not ready:
                self._look()
                continue
            piece = self._flying.pop(ready[0])
            data = self._fetch(ready[0], piece)
            if data is None:
                again.append(piece)
                self._look()
                continue
            finished += 1
            if finished % self.width == 0:
                self._look()  # it may have grown
            yield piece.index, opened(data, piece.index)
            self._turn.check()

    def _fetch(self, ref: Any, piece: Piece) -> bytes | None:
        """What came of an item; None when its worker died over it, or what it gave died with its node."""
        try:
            with self._reached():
                data: bytes = cluster.get(ref)
        except RayTaskError as error:
            # Nothing the task raises comes this way, see `perform`: the worker could not even begin.
            if not isinstance(error.cause, RayError):
                raise _misfit(f"a worker of {self._url} cannot load the work: {error.cause}") from error
            piece.lost(_first_line(error.cause))
            return None
        except RayError as error:
            piece.lost(_first_line(error))
            return None
        return data

    def _look(self) -> None:
        """See how large the cluster is. Raises ExecutorError when it has had no core for too long."""
        with self._reached():
            self._cores = int(cluster.cluster_resources().get("CPU", 0))
        if self._cores:
            self._alive = monotonic()
        elif monotonic() - self._alive > self._patience:
            raise ExecutorError(
                f"the Ray cluster at {self._url} has had no core to work on for {self._patience:.0f} seconds",
                hint="`ray status` on its head says which nodes it has; then run the command again",
            )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """What breaks between us and the cluster, told as that. What travels there is bytes and one function
        of ours: when the head is there and cannot take them, it has other code.
        """
        try:
            yield
        except RayError:
            raise
        except Exception as error:
            if cluster.is_connected() and not isinstance(error, (ConnectionError, grpc.RpcError)):
                raise _misfit(f"the head of {self._url} cannot take the work: {error}") from error
            raise ExecutorError(
                f"the connection to the Ray cluster at {self._url} is lost: {_first_line(error)}",
                hint="see whether its head node runs; then run the command again",
            ) from error

    def _drop(self) -> None:
        while self._flying:
            ref, _ = self._flying.popitem()
            with suppress(Exception):  # the cluster may be gone, and with it the work
                cluster.cancel(ref, force=True)

    def close(self) -> None:
        """Cancel what is under way and leave the cluster, which goes on without us."""
        if not self._turn.closed:
            self._turn.close()
            self._drop()
            cluster.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


# ---- on the cluster ----------------------------------------------------------------------------------

_held: dict[str, Task] = {}
"""The task that this worker process was last given, by the map it belongs to."""


def _perform(ours: tuple[str, str], key: str, shared: list[Any], item: bytes) -> bytes:
    """One item, on a worker. Raises RayError when the task cannot be had."""
    wanted, hint = ours
    if wanted != code():
        message = f"the worker on {platform.node()} runs oa-compile {code()}, and we run {wanted}"
        return failure(UsageError(message, hint=hint))
    if key not in _held:
        packed = ray.get(shared[0])
        _held.clear()
        _held[key] = Task(packed)
    return perform(_held[key], item)


# ---- here --------------------------------------------------------------------------------------------


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or CLIENT_PORT
    except ValueError:
        host, port = None, 0
    if not host or "@" in url or url.rstrip("/") != f"ray://{parts.netloc}":
        raise UsageError(
            f"`{url}` names no Ray cluster",
            hint=f"it is ray://HOST:PORT, with the head node's client port, {CLIENT_PORT} if left out",
        )
    return f"ray://{f'[{host}]' if ':' in host else host}:{port}"


def _connect(url: str) -> None:
    if cluster.is_connected() or ray.is_initialized():
        raise UsageError(
            "this process uses a Ray cluster already",
            hint="first close that executor, or call ray.shutdown()",
        )
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or CLIENT_PORT
    try:
        # Ray itself would try for half a minute to reach a port where nobody listens.
        socket.create_connection((host, port), timeout=10).close()
        for told in _TOLD:
            log_once(told)
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        cluster.connect(url.removeprefix("ray://"), ray_init_kwargs=quiet)
    except RuntimeError as error:
        raise _misfit(f"the Ray cluster at {url} does not fit: {error}") from error
    except (OSError, RayError, grpc.RpcError) as error:
        raise ExecutorError(
            f"no Ray cluster answers at {url}: {_first_line(error)}",
            hint="the head node's client port must be open from here: `ray start --head` opens "
            f"{CLIENT_PORT}, when `ray[client]` is installed there",
        ) from error


def _misfit(message: str) -> UsageError:
    return UsageError(message, hint=_ours()[1])


@cache
def _ours() -> tuple[str, str]:
    """Which code we run, and what to tell whoever's workers run another."""
    return code(), (
        f"install the same on every node, the head too: Python {platform.python_version()}, "
        f"`pip install 'oa-compile=={oa_compile.__version__}' 'ray[client]=={ray.__version__}'`"
    )


def _first_line(error: BaseException) -> str:
    text = error.details() if isinstance(error, grpc.Call) else str(error)
    return (text or type(error).__name__).strip().splitlines()[0]
