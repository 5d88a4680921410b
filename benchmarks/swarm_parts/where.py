"""Where one job's time goes: one job in flight, what happens to it noted on every side.

The clock is the system's monotonic one, which all processes share. The hooks take a few microseconds a job,
so this is a pass of its own, apart from what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from oa_compile.journal import Journal
from oa_compile.lanes.account import Accounts
from oa_compile.swarm.customer import belief
from oa_compile.swarm.lightning.cln import ClnWallet
from oa_compile.swarm.protocol.event import Keys
from swarm_parts.drive import median
from swarm_parts.lane import running
from swarm_parts.processes import Processes

STEPS = {
    "sent": "customer: look-up, reservation and its line, hop to the loop, choice, sign",
    "heard": "relay: the job to its provider",
    "first": "provider: verify, read, answer or invoice, sign",
    "feedback": "relay: the quote to us; decode, verify",
    "result": "relay: the result to us; decode, verify",
    "paid": "payment: invoice checked, intent on the disk, wallet, proof",
    "last": "provider: sees it paid, answers, signs",
    "ended": "customer: the end decided",
    "returned": "customer: its line in the journal, settled, the caller woken",
}
PARTS = {
    "sign": "sign an event",
    "verify": "verify an event",
    "line": "append to the journal (three lines a paid job, two an unpaid one)",
    "intent": "the intent's line and its fsync",
    "pay": "the wallet: unix socket, xpay, proof",
}


def split(
    processes: Processes, folder: Path, *, terms: Mapping[str, Any], jobs: int, first: int
) -> dict[str, float]:
    """Median milliseconds of each of STEPS that a job has, in their order, and of each of PARTS."""
    marks: dict[str, dict[str, float]] = {}
    order: list[str] = []

    def observe(what: str, particulars: Mapping[str, Any]) -> None:
        if what == "sent":
            order.append(particulars["job"])
        marks.setdefault(particulars["job"], {}).setdefault(what, time.monotonic())

    providers = processes.serve({**terms, "timed": True})
    wallet = processes.wallets["customer"]
    gaps: dict[str, list[float]] = {}
    with running(folder, relay=processes.relay, wallet=wallet, providers=providers, observe=observe) as asker:
        for number in range(first, first + jobs // 2):
            asker.ask(number)
        with _timing() as parts:
            for number in range(first + jobs, first + 2 * jobs):
                order.clear()
                began = time.monotonic()
                asker.ask(number)
                mine = marks[order[0]]
                mine["began"], mine["returned"] = began, time.monotonic()
    for job, noted in processes.times().items():
        mine = marks.get(job, {})
        if "began" not in mine:
            continue
        mine |= {name: at for name, at in noted.items() if name != "last" or noted["last"] > noted["first"]}
        known = sorted((at, name) for name, at in mine.items() if name in STEPS or name == "began")
        for (before, _), (at, name) in pairwise(known):
            gaps.setdefault(name, []).append(1000 * (at - before))
    found = {name: median(gaps[name]) for name in sorted(gaps, key=list(STEPS).index)}
    return found | {name: 1000 * median(values) for name, values in parts.items() if values}


@contextmanager
def _timing() -> Iterator[dict[str, list[float]]]:
    """How long each of PARTS takes, in seconds, while the block runs."""
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    with ExitStack() as stack:
        for name, owner, attribute in (
            ("sign", Keys, "sign"),
            ("verify", belief, "verify"),
            ("line", Journal, "append"),
            ("intent", Accounts, "intend"),
            ("pay", ClnWallet, "pay"),
        ):
            whole = getattr(owner, attribute)
            stack.callback(setattr, owner, attribute, whole)
            setattr(owner, attribute, _timed(whole, parts[name], awaited=name == "pay"))
        yield parts


def _timed(whole: Callable[..., Any], into: list[float], *, awaited: bool) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return whole(*arguments, **named)
        finally:
            into.append(time.perf_counter() - began)

    async def timed_await(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return await whole(*arguments, **named)
        finally:
            into.append(time.perf_counter() - began)

    return timed_await if awaited else timed
