"""What a job of the swarm takes: our lane, unpaid and paid, against nostr-sdk's Client and a bare websocket.

    python benchmarks/swarm.py [--jobs 1000] [--rounds 5] [--cores 2] [--small]

All on loopback, in one run: a relay (nostr-sdk's LocalRelay), a ledger and service providers with instant
answers in processes of their own, three of ours and three built on nostr-sdk; the customer in this one; every
answer is verified.

  ours                our providers, and the pylon lane as a run uses it: the desk of calls, a journal, the
                      ledger with its caps
  ours encrypted      the same with NIP-44 both ways
  result-first        the same as `ours`, each job paid by itself: the invoice comes with the result
  pay-first           the same, the invoice comes before the work
  tab                 the same, one payment for 50 jobs
  nostr-sdk           its Client at both ends, customer and providers: one standing subscription each, no
                      journal and no budget; the settings found to be its fastest (see swarm_parts/sdk.py)
  nostr-sdk customer  that customer, and our providers
  echo                a bare websocket that sends back a message of a job's size

Rounds are interleaved and every ratio is taken within a round, so that a machine that slows down slows all.
With few cores it is the CPU time of all processes together that bounds the jobs/s; `--cores 1` leaves nothing
else to bound them.

The last line is one JSON object: vs_nostr_sdk_client (ours / nostr-sdk at both ends, in jobs/s, 64 in
flight), vs_nostr_sdk_customer (ours / its customer over our providers, so that our providers are in both),
p50_ms_1 (ours, 1 in flight), paid_vs_unpaid (the slower of the two orders / ours, 64 in flight),
tab_vs_unpaid, encrypted_vs_unpaid, and jobs/s, p50 and p99 of each.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from swarm_parts.drive import Measured, Plan, drive, median, used
from swarm_parts.echo import websocket_echo
from swarm_parts.lane import check_journal, running
from swarm_parts.processes import PRICE_MSAT, TAB_LIMIT_MSAT, Processes
from swarm_parts.sdk import ask_providers
from swarm_parts.where import PARTS, STEPS, split

from oa_compile.swarm.loop import shared_loop

AT_ONCE = (1, 64)
SINGLES = 100
"""Jobs one by one: enough for a median."""
SLOW_SINGLES = 25
"""The same for nostr-sdk, which waits 44 ms for every message from this relay."""
TAB_JOBS = 50
FREE: dict[str, Any] = {"price_msat": 0}
PAID: dict[str, dict[str, Any]] = {
    "result-first": {"price_msat": PRICE_MSAT, "order": "result-first"},
    "pay-first": {"price_msat": PRICE_MSAT, "order": "pay-first"},
    "tab": {"price_msat": PRICE_MSAT, "tab_limit_msat": TAB_LIMIT_MSAT},
}
PEERS = [
    "ours",
    "ours encrypted",
    "result-first",
    "pay-first",
    "tab",
    "nostr-sdk",
    "nostr-sdk customer",
    "echo",
]
KINDS = ["customer", "relay", "provider", "ledger"]

Round = dict[str, list[Measured]]
"""By peer, a measure for each of AT_ONCE."""


class Bench:
    """The swarm, and how much is asked of it."""

    def __init__(self, processes: Processes, folder: Path, *, jobs: int, warm: int) -> None:
        self._processes = processes
        self._folder = folder
        self._warm = warm
        # First uses are nobody's, and newcomers must earn the trust to get many jobs at once.
        self._plan: Plan = [(warm, AT_ONCE[-1]), (min(warm, SINGLES), AT_ONCE[0]), (jobs, AT_ONCE[-1])]
        self._peers_plan: Plan = [self._plan[0], (min(warm, SLOW_SINGLES), AT_ONCE[0]), self._plan[2]]
        self._runs = 0
        self.beside = 0
        """Attempts made beside slow ones: what they cost is in the figures."""

    def round(self) -> Round:
        """Every peer once."""
        measured: Round = {}
        free = self._processes.serve(FREE)
        relay = self._processes.relay
        measured["nostr-sdk"] = self._peer(ask_providers, relay, self._processes.sdk_providers)
        measured["nostr-sdk customer"] = self._peer(ask_providers, relay, free)
        measured["ours"] = self._ours(free)
        measured["ours encrypted"] = self._ours(free, encrypt=True)
        for name, terms in PAID.items():
            tab = TAB_JOBS if name == "tab" else 0
            measured[name] = self._ours(self._processes.serve(terms), price=PRICE_MSAT, tab_jobs=tab)
        measured["echo"] = self._peer(websocket_echo, self._processes.echo)
        return measured

    def where(self) -> dict[str, dict[str, float]]:
        """One job's time, by peer and step."""
        modes = {"ours": FREE, "result-first": PAID["result-first"], "pay-first": PAID["pay-first"]}
        return {
            name: split(self._processes, self._new_folder(), terms=terms, jobs=self._warm, first=0)
            for name, terms in modes.items()
        }

    def _new_folder(self) -> Path:
        self._runs += 1
        return self._folder / f"run-{self._runs}"

    def _ours(
        self, providers: tuple[str, ...], *, encrypt: bool = False, price: int = 0, tab_jobs: int = 0
    ) -> list[Measured]:
        folder = self._new_folder()
        wallet, meter = self._processes.wallets["customer"], self._processes.cpu_seconds
        asked, found = 0, []
        with running(
            folder,
            relay=self._processes.relay,
            wallet=wallet,
            providers=providers,
            encrypt=encrypt,
            tab_jobs=tab_jobs,
        ) as asker:
            for jobs, at_once in self._plan:
                gc.collect()
                before = meter()
                measured = drive(asker.ask, jobs=jobs, at_once=at_once, first=asked)
                measured.cpu = used(before, meter())
                found.append(measured)
                asked += jobs
        self.beside += check_journal(folder, jobs=asked, price=price, tab=bool(tab_jobs))
        return found[1:]

    def _peer(self, peer: Callable[..., Coroutine[Any, Any, list[Measured]]], *where: Any) -> list[Measured]:
        gc.collect()
        return shared_loop().run(peer(*where, plan=self._peers_plan, meter=self._processes.cpu_seconds))[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000, help="a peer and round, 64 in flight")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=0, help="leave it so many of this machine's cores")
    parser.add_argument("--small", action="store_true", help="a few seconds: that it runs, not how fast")
    options = parser.parse_args()
    jobs, rounds, warm = (80, 1, 20) if options.small else (options.jobs, options.rounds, 200)
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory(prefix="oac-bench-") as folder, Processes(Path(folder)) as processes:
        bench = Bench(processes, Path(folder), jobs=jobs, warm=warm)
        measured = [bench.round() for _ in range(rounds)]
        where = bench.where()
    cores = len(os.sched_getaffinity(0))
    print(f"{jobs} jobs at {AT_ONCE[-1]} in flight, median of {rounds} rounds, {cores} cores")
    print_peers(measured)
    print(f"\nattempts made beside slow ones: {bench.beside}")
    print_cpu(measured)
    print_where(where)
    figures = figures_of(measured)
    print_verdict(figures, measured)
    print(json.dumps(figures))


def print_peers(rounds: list[Round]) -> None:
    """Jobs/s and latencies."""
    print(f"\n{'peer':<20}{'in flight':>10}{'jobs/s':>10}{'p50 ms':>10}{'p99 ms':>10}")
    for name in PEERS:
        for index, at_once in enumerate(AT_ONCE):
            them = [one[name][index] for one in rounds]
            speed = median([one.per_second for one in them])
            p50, p99 = (median([one.quantile_ms(share) for one in them]) for share in (0.5, 0.99))
            print(f"{name:<20}{at_once:>10}{speed:>10,.0f}{p50:>10.2f}{p99:>10.2f}")


def print_cpu(rounds: list[Round]) -> None:
    """Who works how much for a job: with few cores this, not the waiting, bounds the jobs/s."""
    print(f"\nCPU ms a job, {AT_ONCE[-1]} in flight, by process (the providers together)")
    print(f"{'peer':<20}" + "".join(f"{kind:>10}" for kind in [*KINDS, "all"]))
    for name in PEERS[:-1]:
        used = [median([one[name][-1].cpu_ms(kind) for one in rounds]) for kind in KINDS]
        print(f"{name:<20}" + "".join(f"{value:>10.2f}" for value in [*used, sum(used)]))


def print_where(where: dict[str, dict[str, float]]) -> None:
    """One job's way, and what its dearer parts take by themselves."""
    print(
        f"\nwhere one job's time goes, 1 in flight, median ms\n{'':<76}" + "".join(f"{n:>14}" for n in where)
    )
    for rows in (STEPS, PARTS):
        for key, what in rows.items():
            cells = "".join(f"{them[key]:>14.3f}" if key in them else f"{'':>14}" for them in where.values())
            print(f"{what:<76}{cells}")
        print("of which" if rows is STEPS else "")


def figures_of(rounds: list[Round]) -> dict[str, float]:
    """The figures for the JSON line."""

    def ratio(name: str, to: str) -> float:
        return round(median([one[name][-1].per_second / one[to][-1].per_second for one in rounds]), 3)

    def least_paid(one: Round) -> float:
        return min(one[name][-1].per_second for name in ("result-first", "pay-first"))

    figures = {
        "vs_nostr_sdk_client": ratio("ours", "nostr-sdk"),
        "vs_nostr_sdk_customer": ratio("ours", "nostr-sdk customer"),
        "p50_ms_1": round(median([one["ours"][0].quantile_ms(0.5) for one in rounds]), 3),
        "paid_vs_unpaid": round(median([least_paid(one) / one["ours"][-1].per_second for one in rounds]), 3),
        "tab_vs_unpaid": ratio("tab", "ours"),
        "encrypted_vs_unpaid": ratio("ours encrypted", "ours"),
    }
    for name in PEERS:
        key = name.replace(" ", "_").replace("-", "_")
        for index, at_once in enumerate(AT_ONCE):
            them = [one[name][index] for one in rounds]
            figures[f"{key}_jobs_per_s_{at_once}"] = round(median([one.per_second for one in them]), 1)
            figures[f"{key}_p50_ms_{at_once}"] = round(median([one.quantile_ms(0.5) for one in them]), 3)
            figures[f"{key}_p99_ms_{at_once}"] = round(median([one.quantile_ms(0.99) for one in them]), 3)
    return figures


def print_verdict(figures: dict[str, float], rounds: list[Round]) -> None:
    """What is asked of the lane, whether it holds here, and what stands in the way where it does not."""

    def cpu(name: str) -> float:
        return sum(median([one[name][-1].cpu_ms(kind) for one in rounds]) for kind in KINDS)

    unpaid = cpu("ours")
    with_result, before_work = cpu("result-first") - unpaid, cpu("pay-first") - unpaid
    why = {
        "vs_nostr_sdk_client": f"CPU ms a job: ours {unpaid:.2f}, nostr-sdk {cpu('nostr-sdk'):.2f}. Ours "
        "besides journals it, holds its budget and hands it from thread to thread: one interpreter's lock, "
        "which these threads and the loop take turns at, is what it waits for",
        "p50_ms_1": "see the steps above",
        "paid_vs_unpaid": f"CPU ms a job: unpaid {unpaid:.2f}, its payment {with_result:.2f} with the result "
        f"and {before_work:.2f} before the work. That is a share of an fsync, an invoice signed and read, 2 "
        "or 3 calls to the ledger, and before the work one event more: signed, carried and verified",
    }
    goals = [
        ("vs_nostr_sdk_client", figures["vs_nostr_sdk_client"] >= 3, "at least 3"),
        ("p50_ms_1", figures["p50_ms_1"] < 3, "under 3"),
        ("paid_vs_unpaid", figures["paid_vs_unpaid"] >= 0.5, "at least 0.5"),
    ]
    for name, holds, wanted in goals:
        print(f"{name:<24}{figures[name]:>8.3f}   {wanted}: {'yes' if holds else 'MISSED'}")
        if not holds:
            print(f"    {why[name]}")


if __name__ == "__main__":
    main()
