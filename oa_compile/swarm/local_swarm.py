"""The swarm of this machine, as whoever compiles on it sees it: one process that runs it all.

Owns starting that process, knowing when it is ready, and that it ends with us, however we end: it reads
its standard input, whose other end closes with this process. What runs in it is `supervisor`'s matter.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from oa_compile.errors import LaneError
from oa_compile.money import check_msat

READY_SECONDS = 300.0
"""Until it is ready; most of it for weights that must be fetched first."""
CLOSE_SECONDS = 15.0
LOG_NAME = "swarm.log"
_LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What a swarm of this machine is made of; amounts in msat.

    `folder` keeps its wallets, keys and debts (None: a temporary one, gone at the end). `lane` is what its
    providers answer with, as ``oacompile swarm provide --lane`` takes it. `balance_msat` is what the
    customer's wallet begins with, in a new folder.
    """

    folder: Path | None
    providers: int = 3
    lane: str = "embedded"
    price_msat: int = 10
    order: Literal["result-first", "pay-first"] = "result-first"
    balance_msat: int = 100_000_000
    tab_limit_msat: int = 0

    def __post_init__(self) -> None:
        for amount in (self.price_msat, self.balance_msat, self.tab_limit_msat):
            check_msat(amount)


class LocalProvider(msgspec.Struct, frozen=True):
    """A service provider that runs: its public key (hex), price in msat and process."""

    name: str
    pubkey: str
    price_msat: int
    order: str
    pid: int


class Ready(msgspec.Struct, frozen=True):
    """What the process says when all of it runs: one line of JSON. `wallet` is the path of the customer's
    ``lightning-rpc`` socket, `network` the Lightning network.
    """

    relays: tuple[str, ...]
    wallet: str
    network: str
    providers: tuple[LocalProvider, ...]
    folder: str
    pid: int


class LocalSwarm:
    """A swarm of this machine. Safe to use from many threads."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: Ready | None = None
        self._folder: Path | None = None
        self._temporary = False

    def start(self) -> None:
        """Start it unless it runs; returns when relay, wallet and providers are ready. Raises LaneError
        when it does not get there, or ended since.
        """
        with self._lock:
            if self._process is None:
                self._start()
            elif self._process.poll() is not None:
                raise self._died("the swarm of this machine has ended")

    @property
    def ready(self) -> Ready:
        """Its addresses. Raises LaneError before `start`."""
        if self._ready is None:
            raise LaneError("the swarm of this machine is not running")
        return self._ready

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays' URLs."""
        return self.ready.relays

    @property
    def wallet(self) -> Path:
        """The ``lightning-rpc`` socket of the customer's wallet."""
        return Path(self.ready.wallet)

    @property
    def providers(self) -> tuple[LocalProvider, ...]:
        """Its service providers."""
        return self.ready.providers

    def close(self) -> None:
        """End it, and wait until it has. Safe to call twice."""
        with self._lock:
            process, self._process, self._ready = self._process, None, None
            if process is not None:
                _end(process)
            if self._temporary and self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self) -> None:
        self._temporary = self.plan.folder is None
        self._folder = self.plan.folder or Path(tempfile.mkdtemp(prefix="oacompile-swarm-"))
        # Commands of ours run elsewhere than we do, so paths must not depend on where.
        self._folder = self._folder.absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._folder / LOG_NAME).open("ab") as log:
                # A group of its own: a Ctrl-C on the terminal is for the run, which settles first.
                self._process = subprocess.Popen(
                    up_command(self.plan, self._folder, throw_away=self._temporary),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise LaneError(
                f"{self._folder}: the swarm of this machine cannot be started there: {error.strerror}",
                hint="free the disk, or choose another folder with --runs",
            ) from error
        try:
            self._ready = self._wait_ready(self._process)
        except BaseException:
            process, self._process = self._process, None
            _end(process, seconds=2)
            raise

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> Ready:
        told = _first_line(process, seconds=READY_SECONDS)
        try:
            return msgspec.json.decode(told, type=Ready)
        except msgspec.DecodeError as error:
            said = _error_in(told)
            if said:
                raise LaneError(said, hint=self._hint()) from error
            raise self._died("the swarm of this machine did not start") from error

    def _died(self, message: str) -> LaneError:
        last = tail((self._folder or Path()) / LOG_NAME)
        return LaneError(f"{message}; its log ends with:\n{last}" if last else message, hint=self._hint())

    def _hint(self) -> str:
        """The next step. A temporary folder's log goes with it."""
        hint = "`oacompile doctor` checks what it is made of"
        return hint if self._temporary else f"{hint}; its log is {self._folder}/{LOG_NAME}"


def up_command(plan: Plan, folder: Path, *, throw_away: bool) -> list[str]:
    """The command line of that process."""
    command = [sys.executable, "-m", "oa_compile", "swarm", "up", "--json", "--with-parent"]
    command += ["--dir", str(folder), "--providers", str(plan.providers), "--lane", plan.lane]
    command += ["--price", f"{plan.price_msat}msat", "--order", plan.order]
    command += ["--balance", f"{plan.balance_msat}msat", "--tab", f"{plan.tab_limit_msat}msat"]
    return [*command, "--throw-away"] if throw_away else command


def _first_line(process: subprocess.Popen[bytes], *, seconds: float) -> bytes:
    """The first line it says; all it said, if it ended or had no time left."""
    assert process.stdout is not None
    told, until = b"", time.monotonic() + seconds
    while b"\n" not in told or not told.startswith(b'{"relays"'):
        readable, _, _ = select.select([process.stdout], [], [], max(until - time.monotonic(), 0.0))
        block = os.read(process.stdout.fileno(), 65_536) if readable else b""
        if not block:
            break
        told += block
    return told


def _error_in(told: bytes) -> str:
    """The message of a command's JSON error, if that is what it said."""
    try:
        error = msgspec.json.decode(told)["error"]
        return f"the swarm of this machine did not start: {error['message']}"
    except (msgspec.DecodeError, LookupError, TypeError):
        return ""


def tail(path: Path) -> str:
    """The last lines of a log, nothing if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_LAST_LINES:])


def _end(process: subprocess.Popen[bytes], *, seconds: float = CLOSE_SECONDS) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
