"""A real Ray cluster on loopback: a head and nodes, each a group of processes that can be killed as a whole.

Every node has an address of its own (127.0.0.2 and on), so that Ray takes them for machines. No dashboard, no
usage statistics, and object stores in plain files: a container's /dev/shm may be small.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Self

ROOT = Path(__file__).parents[2]
STORE_BYTES = 80 * 2**20
"""Ray refuses less than 75 MB."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that refuses five times is dead: after two seconds, not 15. One that is slow has ten each time.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "400",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "RAY_AUTH_MODE": "disabled",  # or a token of the home folder
    "PYTHONPATH": str(ROOT),  # tasks are in `tests.support`
}


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_us() -> None:
    """For a process that begins: SIGKILL when the tests are killed. Ray sees to it that the rest follows."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """The processes of a session that run, by Linux's word."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            # After the name, which may hold anything: state, parent, group, session.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


class Node:
    """The processes of one node, a session of their own."""

    def __init__(self, folder: Path, number: int, *options: str, settings: Mapping[str, str]) -> None:
        self.host = f"127.0.0.{number}"
        self.log = folder / f"node{number}.log"
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
            *(f"--node-ip-address={self.host}", f"--object-store-memory={STORE_BYTES}"),
            *(f"--temp-dir={folder / str(number)}", f"--plasma-directory={folder}"),
            *options,
        ]
        environment = os.environ | SETTINGS | settings
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=folder,
                start_new_session=True,
                preexec_fn=_die_with_us,  # noqa: PLW1509 - it calls one function of libc
            )

    @property
    def pid(self) -> int:
        """The first of its processes, which the session is called after."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not been killed."""
        return self._process.poll() is None

    def await_start(self) -> None:
        """Come back when the node is part of its cluster."""
        assert self._process.stdout is not None
        said = b""
        for line in self._process.stdout:
            said += line
            if b"Ray runtime started" in line:
                return
        raise AssertionError(f"no Ray node: {said.decode()}{self.log.read_text()}")

    def await_port(self, port: int, *, seconds: float = 60.0) -> None:
        """Come back when one of its processes listens there."""
        last = monotonic() + seconds
        while True:
            try:
                return socket.create_connection((self.host, port)).close()
            except ConnectionRefusedError:
                assert monotonic() < last, self.log.read_text()
                sleep(0.05)  # nothing tells

    def kill(self) -> None:
        """SIGKILL for every process of the node, its workers too: as if the plug were pulled."""
        while pids := _session(self._process.pid):  # again, for one may have been starting another
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class RayCluster:
    """A head without a core, and nodes of one core each, as they are added."""

    def __init__(self, **settings: str) -> None:
        """Start the head, with more `settings` in its environment."""
        # Not pytest's folder: the paths of Ray's sockets are long, and the kernel takes 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self._count = 1
        self._nodes: list[Node] = []
        gcs, client = _free_ports(2)
        self.url = f"ray://127.0.0.2:{client}"
        self._address = f"127.0.0.2:{gcs}"
        try:
            head = self._start(
                *("--head", "--num-cpus=0", "--include-dashboard=false"),
                *(f"--port={gcs}", f"--ray-client-server-port={client}"),
                **settings,
            )
            head.await_start()
            head.await_port(client)  # its server for clients starts on its own, and later
        except BaseException:
            self.close()
            raise

    def add(self, count: int, **settings: str) -> list[Node]:
        """More nodes, started at once, with more `settings` in their environment."""
        nodes = [self._start("--num-cpus=1", f"--address={self._address}", **settings) for _ in range(count)]
        for node in nodes:
            node.await_start()
        return nodes

    def _start(self, *options: str, **settings: str) -> Node:
        self._count += 1
        node = Node(self._folder, self._count, *options, settings=settings)
        self._nodes.append(node)
        return node

    @property
    def head(self) -> Node:
        """The node that the others and clients know."""
        return self._nodes[0]

    @property
    def nodes(self) -> list[Node]:
        """The nodes that work and have not been killed."""
        return [node for node in self._nodes[1:] if node.runs]

    def node_of(self, pid: int) -> Node:
        """The node that a process is one of."""
        return next(node for node in self.nodes if os.getsid(pid) == node.pid)

    def close(self) -> None:
        """Kill what runs and remove what it left."""
        for node in reversed(self._nodes):
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.2", 0)) for _ in range(count)]
    try:
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
