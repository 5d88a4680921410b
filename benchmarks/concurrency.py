"""How many calls a compile keeps under way: ours against stock DSPy, with the same search and program.

    python benchmarks/concurrency.py [--latency 0.05] [--threads 16] [--examples 100] [--steps 2]
                                     [--optimizers miprov2 copro gepa]

Peers, each on `--steps` predictors, a model that takes 50 ms, and at most 16 calls under way:
  stock   DSPy's optimizer with its settings and that many threads, its cache off
  ours    the same optimizer as a run, which asks early what it is going to ask

The mean concurrency is the sum of all calls' durations over the time from the first call's start to the last
one's end, as the lane saw them. The model answers by a rule from the request and the number of the sample, so
that both search alike; a pair that does not end with the same program is an error. The last line is one JSON
object: <optimizer> and stock_<optimizer>.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.lanes.metered import Sent

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.calls import OPTIMIZERS, BenchLane, Unfiled, stock
from tests.support.world import make_config, new_run, plan_of, run


class Clock:
    """Makes each call take `latency` seconds, and knows when each was under way."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.spans: list[tuple[float, float]] = []

    def take(self) -> None:
        start = time.perf_counter()
        threading.Event().wait(self.latency)
        self.spans.append((start, time.perf_counter()))

    @property
    def mean(self) -> float:
        """The mean number of calls under way."""
        wall = max(end for _, end in self.spans) - min(start for start, _ in self.spans)
        return sum(end - start for start, end in self.spans) / wall

    @property
    def most(self) -> int:
        """The most calls under way at once."""
        steps = sorted([(start, 1) for start, _ in self.spans] + [(end, -1) for _, end in self.spans])
        count = most = 0
        for _, step in steps:
            count += step
            most = max(most, count)
        return most


class SlowLane(BenchLane):
    """The rule as a lane."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def send(self, request: ChatRequest, key: str) -> Sent:
        self.clock.take()
        return super().send(request, key)


class SlowDesk(Unfiled):
    """The rule where stock asks."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def complete(self, request: ChatRequest, **named: Any) -> ChatAnswer:
        self.clock.take()
        return super().complete(request, **named)


class Came(NamedTuple):
    """What a search came to."""

    clock: Clock
    program: str


def compare(
    root: Path, optimizer: str, *, steps: int, examples: int, threads: int, latency: float, **settings: Any
) -> tuple[Came, Came]:
    """Stock and ours, on `examples` to train and as many to choose by."""
    config = make_config(
        **{
            "optimizer": {"name": optimizer, "preflight": False, "miprov2": {"auto": "light"}, **settings},
            "run": {"threads": threads},
        }
    )
    folder = new_run(root, config=config, sizes=(examples, examples, 4), steps=steps)
    clock = Clock(latency)
    first = Came(clock, stock(plan_of(folder), log=root / "stock.log", desk=SlowDesk(clock)).program)
    clock = Clock(latency)
    outcome = run(folder, SlowLane(clock))
    if outcome.manifest is None or outcome.error is not None:
        raise SystemExit(f"the run came to nothing: {outcome.error}")
    return first, Came(clock, outcome.manifest.program.state)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--steps", type=int, choices=(1, 2), default=2)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    options = parser.parse_args()
    figures: dict[str, float] = {}
    different = []
    print(f"{'optimizer':<10} {'peer':<6} {'calls':>7} {'seconds':>8} {'mean':>6} {'most':>5}  same program")
    for optimizer in options.optimizers:
        with tempfile.TemporaryDirectory() as root:
            pair = compare(
                Path(root),
                optimizer,
                steps=options.steps,
                examples=options.examples,
                threads=options.threads,
                latency=options.latency,
            )
        alike = pair[0].program == pair[1].program
        different += [] if alike else [optimizer]
        for peer, came in zip(("stock", "ours"), pair, strict=True):
            clock = came.clock
            figures[optimizer if peer == "ours" else f"stock_{optimizer}"] = round(clock.mean, 2)
            seconds = sum(end - start for start, end in clock.spans) / clock.mean
            print(
                f"{optimizer:<10} {peer:<6} {len(clock.spans):>7,} {seconds:>8.1f} {clock.mean:>6.2f} "
                f"{clock.most:>5}  {'yes' if alike else 'NO'}",
                flush=True,
            )
    print(json.dumps(figures))
    if different:
        raise SystemExit("the searches did not end with the same program: the figures say nothing")


if __name__ == "__main__":
    main()
