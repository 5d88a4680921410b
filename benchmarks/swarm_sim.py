"""Policies of the swarm's customer compared over a simulated network of 10,000 service providers.

    python benchmarks/swarm_sim.py [--providers 10000] [--jobs 5000] [--in-flight 64] [--seed 1]
                                   [--policies market,audit-5] [--small]

What is real: the customer (errands, exchanges, payments, settlements, tabs), the market and its settings,
NIP-90 events with true keys and signatures, BOLT11 invoices and preimages. What is simulated: time, which is
virtual, the relay, the providers and Lightning; the kinds of providers and all distributions are told in
`benchmarks/sim/world.py`, `relay.py` and `lightning.py`. Every policy meets the same providers, and the same
seed gives the same figures to the last digit.

Left out: encryption (its time, not its meaning), several relays, prompts of different length and difficulty,
answers that differ and are both right, routing fees beyond 2 msat, providers that come, go or change their
prices during a run, and a record of providers from earlier runs: every policy begins knowing nobody.

Books are held against the wallet in every run: each attempt ends exactly once, receipts and wallet agree on
every invoice, no payment hash is paid twice. Where they do not the program ends with `Broken`.

The last line is one JSON object: seed, sizes, and all figures by policy. `msat/right` is what left the wallet
for each right answer; `lost` was paid for no answer at all; `wrong` answers were taken for right ones; `time`
is when the last answer was there, `p50` and `p99` are the seconds of one call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from rich.console import Console
from rich.table import Table

from benchmarks.sim.policies import POLICIES
from benchmarks.sim.run import Figures, simulate
from benchmarks.sim.world import World

_COLUMNS = (
    "policy", "right", "wrong", "no answer", "msat/right", "lost", "time", "p50", "p99",
    "retries", "hedges", "audits", "payments", "asked",
)  # fmt: skip


def main() -> None:
    """Run the policies, print the table and the line."""
    options = _options()
    names = options.policies.split(",") if options.policies else list(POLICIES)
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        sys.exit(f"no policy {', '.join(unknown)}; there are {', '.join(POLICIES)}")
    world = World(providers=options.providers, seed=options.seed)
    made: list[Figures] = []
    for name in names:
        began = time.perf_counter()
        made.append(simulate(world, POLICIES[name], jobs=options.jobs, in_flight=options.in_flight))
        print(f"{name}: {POLICIES[name].about} ({time.perf_counter() - began:.1f} s)", file=sys.stderr)
    _show(made)
    print(
        json.dumps(
            {
                "seed": options.seed,
                "providers": options.providers,
                "jobs": options.jobs,
                "in_flight": options.in_flight,
                "policies": {figures.policy: figures.as_dict() for figures in made},
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="policies over a simulated swarm")
    parser.add_argument("--providers", type=int)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--in-flight", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policies", help=f"some of {','.join(POLICIES)}")
    parser.add_argument("--small", action="store_true", help="200 providers, 200 jobs, 16 in flight")
    options = parser.parse_args()
    sizes = (200, 200, 16) if options.small else (10_000, 5_000, 64)
    for name, size in zip(("providers", "jobs", "in_flight"), sizes, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, size)
    return options


def _show(made: list[Figures]) -> None:
    table = Table(*_COLUMNS, box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in made:
        table.add_row(
            one.policy,
            f"{one.right:,}",
            f"{one.wrong:,}",
            f"{one.unanswered:,}",
            f"{one.msat_per_right:.2f}",
            f"{one.lost_msat:,}",
            f"{one.seconds:,.0f} s",
            f"{one.p50:.1f} s",
            f"{one.p99:.1f} s",
            f"{one.retries:,}",
            f"{one.hedges:,}",
            f"{one.audits:,}",
            f"{one.payments:,}",
            f"{one.providers:,}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
