"""Attempts to get out of a sandbox: every one fails, and an honest job beside it succeeds.

Where it does no harm the same program is run on the bare machine first, where it must succeed: an attempt
that could not work anywhere would prove nothing.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oa_compile.sandbox.sandbox import Job, Limits, SandboxRun
from tests.support.escapes import ATTEMPTS, PRELUDE
from tests.support.sandboxes import KINDS, sandbox

ESCAPED = b"ESCAPED"
SECRET = "sk-not-a-real-key-0123456789"
LIMITS = Limits(
    seconds=10, cpu_seconds=2, memory=256 << 20, processes=32, file=4 << 20, disk=8 << 20, output=64 << 10
)

World = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A TCP server, two Unix sockets, a secret in a file and in the environment, and a process to hit."""
    folder = Path(os.path.realpath(tmp_path_factory.mktemp("outside")))
    (folder / "key").write_text(SECRET)
    sockets = [socket.create_server(("127.0.0.1", 0))]
    abstract = f"oacompile-{os.getpid()}"
    for name in (str(folder / "socket"), f"\0{abstract}"):
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(name)
        unix.listen()
        sockets.append(unix)
    threads = [threading.Thread(target=_greet, args=(each,), daemon=True) for each in sockets]
    for thread in threads:
        thread.start()
    environment = os.environ | {"OPENAI_API_KEY": SECRET}
    victim = subprocess.Popen(["sleep", "1000"], env=environment)
    os.environ["OPENAI_API_KEY"] = SECRET
    try:
        yield {
            "port": sockets[0].getsockname()[1],
            "unix": str(folder / "socket"),
            "abstract": abstract,
            "secret_file": str(folder / "key"),
            "victim": victim.pid,
            "folder": str(folder),
            "home": str(Path.home()),
        }
        assert victim.poll() is None, "a process outside was killed"
    finally:
        del os.environ["OPENAI_API_KEY"]
        victim.kill()
        victim.wait()
        for each in sockets:
            each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in threads:
            thread.join()


def _greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        connection.sendall(ESCAPED)
        connection.close()


def program(name: str, world: World) -> tuple[str, ...]:
    return ("python", "-c", f"{PRELUDE}W = {world!r}\nSECRET = {SECRET!r}\n{ATTEMPTS[name].code}\n")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    sandbox(request.param)
    return str(request.param)


def test_there_are_attempts_enough() -> None:
    assert len(ATTEMPTS) >= 25


@pytest.mark.parametrize("name", [name for name, attempt in ATTEMPTS.items() if attempt.outside])
def test_on_the_bare_machine_it_works(name: str, world: World, tmp_path: Path) -> None:
    """So that its failure in a sandbox says something."""
    argv = (sys.executable, *program(name, world)[1:])
    ran = subprocess.run(argv, capture_output=True, cwd=tmp_path, timeout=60)
    assert ESCAPED in ran.stdout, ran.stderr.decode()


@pytest.mark.parametrize("name", ATTEMPTS)
def test_no_attempt_escapes(name: str, kind: str, world: World) -> None:
    box = sandbox(kind)

    def honest() -> SandboxRun:
        work = "import hashlib; print(hashlib.sha256(b'x' * 1_000_000).hexdigest()[:8])"
        return box.run(Job(("python", "-c", work), limits=Limits(seconds=60)))

    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(honest)
        argv = program(name, world | {"mark": (mark := uuid.uuid4().hex)})
        run = box.run(Job(argv, limits=LIMITS))
        assert beside.result().stdout == b"1b977e9f\n", beside.result().stderr
    assert ESCAPED not in run.stdout, run.stdout
    assert b"SyntaxError" not in run.stderr
    assert len(run.stdout) <= LIMITS.output
    left = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _runs(pid, mark)]
    assert not left


def _runs(process: Path, mark: str) -> bool:
    try:
        return mark.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("name", "exceeded", "signal"),
    [
        ("sleeping forever", "seconds", 9),
        ("output without end", "output", 9),
        ("filling the memory in pieces", "memory", 9),
        ("computing forever", "", 24),
    ],
)
def test_a_limit_is_told_by_its_name(name: str, exceeded: str, signal: int, world: World) -> None:
    run = sandbox("bubblewrap").run(Job(program(name, world), limits=LIMITS))
    assert (run.exceeded, run.exit_code) == (exceeded, 128 + signal)
