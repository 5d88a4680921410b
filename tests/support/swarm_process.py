"""A paying run and its wallet in processes of their own, so that tests can kill -9 either of them for real.

A *nursery* imports everything once and forks a child for each process: a relay with service providers (the
*world*), a *ledger* on its folder, and *customers* one after the other, each of which takes up the same run.
A customer reports what it does as one byte each through a pipe, its *ticks*; a test kills it when so many
have come, and so many microseconds later, or lets it kill itself at one certain moment (`Run.die_at`). No
test sleeps.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

ROOT = Path(__file__).parents[2]

STUCK_AFTER = 60.0
"""Seconds after which a customer must hang: a test that gets there has failed."""
WORLD_STUCK_AFTER = 280.0

PRICE = 10
BID = 20
MAX_FEE = 5
FEE = 1
"""What each payment costs on top, in msat."""
FUNDS = 1_000_000
PAY_SECONDS = 0.5
PROVIDERS = 3
THREADS = 8

Moment = Literal["reserved", "intended", "asked", "paid", "attempt", "question"]
"""``asked``: the request to pay is in the wallet's socket; ``paid``: the wallet has said that it is paid, and
the journal does not know; ``question``: the wallet is asked what it knows of a payment.
"""

TICKS: dict[Moment, bytes] = {
    "reserved": b"r",
    "intended": b"i",
    "asked": b"x",
    "paid": b"p",
    "attempt": b"a",
    "question": b"q",
}


@dataclass(frozen=True, slots=True)
class World:
    """Providers on a relay, with the tills of the ledger in `folder`."""

    folder: str
    order: Literal["result-first", "pay-first"] = "result-first"
    tab_limit_msat: int = 0
    role: str = "world"


@dataclass(frozen=True, slots=True)
class Keeper:
    """The ledger in `folder`."""

    folder: str
    role: str = "ledger"


@dataclass(frozen=True, slots=True)
class Run:
    """A customer that takes up the run in `folder` and makes `calls` calls.

    `deadline` is what a provider has, in seconds. `die_at` is a moment and which of them: it kills itself
    then. `freeze` is a process that is stopped before the wallet is asked to pay: the request stays in its
    socket.
    """

    folder: str
    wallet: str
    relay: str
    calls: int
    tab_jobs: int = 0
    budget: Mapping[str, int] = field(default_factory=dict)
    deadline: float = 20.0
    die_at: tuple[Moment, int] | None = None
    freeze: int = 0
    role: str = "customer"


# -- in the test's process ------------------------------------------------------------------------


class Nursery:
    """The process that forks the children, as a context manager. For one thread."""

    def __enter__(self) -> Self:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.swarm_process", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.wait()

    def start(self, job: World | Keeper | Run, log: Path) -> Child:
        """A new child. What it writes to stderr is appended to `log`."""
        ticks, report = os.pipe()
        try:
            socket.send_fds(self._socket, [json.dumps(asdict(job) | {"log": str(log)}).encode()], [report])
        finally:
            os.close(report)
        return Child(self, int(self._heard()["pid"]), ticks, log)

    def reap(self, pid: int) -> int:
        """Wait for a child that has ended or is about to; its exit code, minus the signal that killed it."""
        self._socket.send(json.dumps({"role": "reap", "pid": pid}).encode())
        return int(self._heard()["code"])

    def _heard(self) -> dict[str, Any]:
        said = self._socket.recv(4096)
        assert said, f"the nursery ended with {self._process.wait()}"
        told: dict[str, Any] = json.loads(said)
        return told


class Child:
    """One child. Its process stays there until `reap`, so a signal never hits another one."""

    def __init__(self, nursery: Nursery, pid: int, ticks: int, log: Path) -> None:
        self.pid = pid
        self.ticks: Counter[str] = Counter()
        self.log = log
        self._nursery = nursery
        self._pipe = ticks
        self._code: int | None = None

    def read(self) -> bytes:
        """One tick, or nothing when it has ended."""
        byte = os.read(self._pipe, 1)
        self.ticks[byte.decode()] += len(byte)
        return byte

    def has_ticked(self) -> bool:
        """Whether there is one to be read."""
        return bool(select.select([self._pipe], [], [], 0)[0])

    def line(self) -> str:
        """All that it says up to the next newline."""
        said = b""
        while not said.endswith(b"\n"):
            byte = os.read(self._pipe, 1)
            assert byte, f"it ended with {self.end()}: {self.log.read_text()}"
            said += byte
        return said.decode().strip()

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Read it to its end; the exit code, minus the signal that killed it."""
        if self._code is None:
            while self.read():
                pass
            os.close(self._pipe)
            self._code = self._nursery.reap(self.pid)
        return self._code


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="oac-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# -- inside the nursery ---------------------------------------------------------------------------


def main() -> None:
    """Fork and reap as told, until the socket ends; then nobody is left."""
    import dspy  # noqa: F401 - for the children to inherit
    import nostr_sdk  # noqa: F401

    born = _nurse(socket.socket(fileno=int(sys.argv[1])))
    if born is not None:
        job, report = born
        _redirect(job.pop("log"))
        sys.exit(_ROLES[job.pop("role")](job, report))


def _nurse(told: socket.socket) -> tuple[dict[str, Any], int] | None:
    """Returns in each child, with what it is to be and the pipe to report on; and at last, with None."""
    children: set[int] = set()
    while True:
        said, fds, _, _ = socket.recv_fds(told, 65_536, 1)
        if not said:
            break
        job = json.loads(said)
        if job["role"] == "reap":
            code = os.waitstatus_to_exitcode(os.waitpid(job["pid"], 0)[1])
            children.discard(job["pid"])
            told.send(json.dumps({"code": code}).encode())
            continue
        pid = os.fork()
        if pid == 0:
            told.close()
            return job, fds[0]
        os.close(fds[0])
        children.add(pid)
        told.send(json.dumps({"pid": pid}).encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return None


def _redirect(log: str) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _serve_ledger(job: dict[str, Any], report: int) -> int:
    import asyncio

    from oa_compile.swarm.lightning.ledger_rpc import serve

    faulthandler.dump_traceback_later(WORLD_STUCK_AFTER, exit=True, file=sys.stderr)

    async def run() -> None:
        balances = {"customer": FUNDS, **dict.fromkeys(provider_names(), 0)}
        await serve(Path(job["folder"]), balances, fee_msat=FEE)
        os.write(report, b"\n")
        await asyncio.Event().wait()

    asyncio.run(run())
    return 0


def provider_names() -> list[str]:
    """The providers' nodes in the ledger."""
    return [f"provider-{number}" for number in range(PROVIDERS)]


def _serve_world(job: dict[str, Any], report: int) -> int:
    import asyncio

    import oa_compile.swarm.lightning.cln_till
    from oa_compile.swarm.lightning.cln_till import ClnTill
    from oa_compile.swarm.protocol.event import Keys
    from oa_compile.swarm.protocol.seal import SealCipher
    from oa_compile.swarm.provider.provider import Provider
    from oa_compile.swarm.provider.terms import Terms
    from oa_compile.swarm.provider.till import Tabs
    from oa_compile.swarm.relays.local_relay import run_local_relay
    from oa_compile.swarm.relays.relays import Relays
    from tests.support.pylon_lane import instant

    faulthandler.dump_traceback_later(WORLD_STUCK_AFTER, exit=True, file=sys.stderr)
    oa_compile.swarm.lightning.cln_till.AGAIN_SECONDS = 0.02  # a ledger that was killed is back at once here
    folder = Path(job["folder"])

    async def run() -> None:
        relay = await run_local_relay()
        for name in provider_names():
            keys = Keys.generate()
            relays = Relays([relay.url], keys=keys)
            await relays.open()
            till = ClnTill(folder / name / "lightning-rpc")
            await till.open()
            terms = Terms(
                price_msat=PRICE,
                order=job["order"],
                network="regtest",
                tab_limit_msat=job["tab_limit_msat"],
            )
            provider = Provider(
                keys,
                relays,
                answer=instant,
                terms=terms,
                till=till,
                tabs=Tabs(folder / f"{name}.tabs.jsonl"),
                cipher=SealCipher(keys),
                inline=True,
            )
            await provider.start()
        os.write(report, f"{relay.url}\n".encode())
        await asyncio.Event().wait()

    asyncio.run(run())
    return 0


class _Moments:
    """What a customer reports, and where it dies."""

    def __init__(self, report: int, die_at: tuple[Moment, int] | None) -> None:
        self._report = report
        self._die_at = die_at
        self._count: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, moment: Moment) -> None:
        with self._lock:
            self._count[moment] += 1
            if self._die_at is not None and self._die_at == (moment, self._count[moment]):
                os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._report, TICKS[moment])


def _be_customer(job: dict[str, Any], report: int) -> int:
    # A child that hangs ends with a traceback of all its threads, and its test fails with that.
    faulthandler.dump_traceback_later(STUCK_AFTER, exit=True, file=sys.stderr)
    job["die_at"] = tuple(job["die_at"]) if job["die_at"] else None
    run = Run(role="customer", **job)
    moments = _Moments(report, run.die_at)
    _hurry()
    _watch_socket(moments, freeze=run.freeze)
    return _take_up(run, moments)


def _hurry() -> None:
    """Waits that are made for people and for networks are short here, and no provider is distrusted."""
    import oa_compile.swarm.connect
    import oa_compile.swarm.customer.payment
    from oa_compile.swarm.market.choice import Choice

    trusting = Choice(
        newcomer_jobs=64,
        newcomer_bids=1e6,
        newcomer_share=1.0,
        risk_bids=1e6,
        rest_seconds=0.02,
        distrust_seconds=0.02,
        rest_growth=1.0,
    )
    oa_compile.swarm.customer.payment.WATCH_EVERY = 0.05
    oa_compile.swarm.customer.payment.LATE_SECONDS = 0.1
    oa_compile.swarm.connect.CLOSING_SECONDS = 1.5
    oa_compile.swarm.connect.Connection._choice = lambda _self: trusting  # type: ignore[method-assign]


def _watch_socket(moments: _Moments, *, freeze: int) -> None:
    """Hear of what is said to the wallet's socket."""
    from oa_compile.swarm.lightning.cln_rpc import _Wire

    flush = _Wire._flush

    def flushing(wire: _Wire) -> None:
        methods = [json.loads(request)["method"] for request in wire._unsent]
        if freeze and "xpay" in methods:
            os.kill(freeze, signal.SIGSTOP)
            while _state(freeze) != "T":
                pass
        flush(wire)
        for method in methods:
            if method == "xpay":
                moments.reach("asked")
            elif method == "listpays":
                moments.reach("question")

    _Wire._flush = flushing  # type: ignore[method-assign]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _take_up(run: Run, moments: _Moments) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from oa_compile.chat import ChatMessage, ChatRequest
    from oa_compile.errors import LaneError, StopRun
    from oa_compile.events import Attempt, Line, PaymentIntended, Reserved, RunStarted
    from oa_compile.lanes.lane import LaneFault
    from oa_compile.lanes.pylon import PylonLane
    from oa_compile.lanes.runtime import Runtime
    from oa_compile.money import Rate
    from oa_compile.spec.config import WalletSpec
    from oa_compile.spec.lanes import PylonLaneSpec

    folder = Path(run.folder)
    path = folder / "journal.jsonl"
    known = path.read_bytes().count(b"\n") if path.exists() else 0
    kinds: dict[type, Moment] = {Reserved: "reserved", PaymentIntended: "intended", Attempt: "attempt"}

    def listen(line: Line) -> None:
        moment = kinds.get(type(line.event))
        if moment is not None and line.seq > known:  # a resumed run tells its history first
            moments.reach(moment)

    def observe(what: str, _particulars: Mapping[str, Any]) -> None:
        if what == "paid":
            moments.reach("paid")

    started = RunStarted(
        command="optimize", run="r1", program="p", inputs={}, lanes={}, settings={}, versions={}
    )
    lane = PylonLane(
        "swarm",
        PylonLaneSpec.model_validate(
            {
                "kind": "pylon",
                "relays": [run.relay],
                "network": "regtest",
                "privacy": "open",
                "bid": BID,
                "max_fee": MAX_FEE,
                "max_tokens": 8,
                "hedge_after": 0.0,
                "audit": 0.0,
                "deadline": run.deadline,
                "tab": {"jobs": run.tab_jobs, "limit": "10000msat"},
            }
        ),
        wallet=WalletSpec(kind="ledger", rpc=run.wallet, pay_seconds=PAY_SECONDS),
        rate=Rate(Decimal(100_000)),
        secrets=lambda _name: None,
        home=folder / "home",
        observe=observe,
    )
    try:
        runtime = Runtime(
            path, started=started, config=config_of(run.budget), lanes={"swarm": lane}, listener=listen
        )
    except LaneError as error:
        sys.stderr.write(f"not taken up: {error.message}\n")
        lane.close()
        return int(error.exit_code)
    codes: set[int] = set()

    def ask(number: int) -> None:
        request = ChatRequest((ChatMessage("user", f"question {number}"),), max_tokens=8, temperature=0.0)
        try:
            answer = runtime.calls.complete(
                request, lane=lane, stage="compile", role="task", rollout=None, sample=0
            )
        except LaneFault as fault:
            sys.stderr.write(f"question {number}: {fault.kind}: {fault.message}\n")
            codes.add(int(fault.exit_code))
        except StopRun as stop:
            sys.stderr.write(f"question {number}: stopped: {stop.error.message}\n")
            codes.add(int(stop.error.exit_code))
        else:
            assert answer.text == f"answer to question {number}"

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for asked in [pool.submit(ask, number) for number in range(run.calls)]:
                asked.result()
    finally:
        runtime.close()
    return max(codes, default=0)


def config_of(budget: Mapping[str, int]) -> Any:
    """The config of a run with that budget: for the run, its stage and its lane."""
    from oa_compile.spec.config import Config

    return Config.model_validate(
        {
            "lanes": {"swarm": {"kind": "embedded", "adapter": "chat", "budget": dict(budget)}},
            "stages": {"compile": {"task": "swarm", "budget": dict(budget)}},
            "budget": dict(budget),
        }
    )


_ROLES: dict[str, Callable[[dict[str, Any], int], int]] = {
    "ledger": _serve_ledger,
    "world": _serve_world,
    "customer": _be_customer,
}


def spin(seconds: float) -> None:
    """Let so much time pass without giving the processor away."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


if __name__ == "__main__":
    main()
