"""The swarm of this machine, as whoever compiles on it sees it: one process that runs it all.

Owns starting that process, knowing when it is ready, and that it ends with us, however we end: it reads
its standard input, whose other end closes with this process. What runs in it is `supervisor`'s matter.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
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


class ProviderEnd(msgspec.Struct, frozen=True, tag="provider_end", tag_field="type"):
    """A service provider ended by itself, with exit code `code` (minus the signal that ended it). `pid` is
    its process since it was started again, for the `restarts`-th time; 0 when it is not any more.
    """

    name: str
    code: int
    restarts: int
    pid: int = 0

    @property
    def text(self) -> str:
        """The same in words."""
        how = f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"
        again = f"started again, restart {self.restarts}" if self.pid else "not started again"
        return f"service provider {self.name} of this machine ended ({how}): {again}"


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

    def __init__(self, plan: Plan, *, ended: Callable[[ProviderEnd], None] = lambda _end: None) -> None:
        """`ended` is told, on a thread of its own, of each provider that ended by itself."""
        self.plan = plan
        self._ended = ended
        self._listener: threading.Thread | None = None
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
                self._end(process)
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
        said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, args=(self._process, said), daemon=True)
        self._listener.start()
        try:
            self._ready = self._wait_ready(said)
        except BaseException:
            process, self._process = self._process, None
            self._end(process, seconds=2)
            raise

    def _wait_ready(self, said: queue.SimpleQueue[bytes]) -> Ready:
        told, until = b"", time.monotonic() + READY_SECONDS
        with contextlib.suppress(queue.Empty):
            while line := said.get(timeout=max(until - time.monotonic(), 0.0)):
                told += line
                with contextlib.suppress(msgspec.DecodeError):
                    return msgspec.json.decode(line, type=Ready)
        if error := _error_in(told):
            raise LaneError(error, hint=self._hint())
        raise self._died("the swarm of this machine did not start")

    def _listen(self, process: subprocess.Popen[bytes], said: queue.SimpleQueue[bytes]) -> None:
        """Hear what it says until it ends."""
        assert process.stdout is not None
        try:
            with process.stdout:
                for line in process.stdout:
                    try:
                        end = msgspec.json.decode(line, type=ProviderEnd)
                    except msgspec.DecodeError:
                        said.put(line)
                    else:
                        self._ended(end)
        finally:
            said.put(b"")

    def _end(self, process: subprocess.Popen[bytes], *, seconds: float = CLOSE_SECONDS) -> None:
        """Its standard input ends, so it does."""
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join()

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
