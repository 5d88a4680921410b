"""What the journal and the ledger cost: ours against plain DSPy, in one run, on an instant engine.

    python benchmarks/overhead.py [--calls 4000] [--threads 16] [--rounds 5]

Peers, all with `dspy.Predict` on 16 threads and distinct inputs:
  plain       no cache, no journal: what DSPy itself takes
  dspy disk   DSPy's own disk cache, every call a miss
  ours        the durable journal (reservation and answer as events) and the ledger with caps

The last line is one JSON object: throughput_vs_dspy_disk (ours / dspy disk, higher is better) and
time_vs_plain_predict (ours / plain, lower is better), medians over the rounds.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, Usage

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.chat import Usage as OurUsage
from oa_compile.events import RunStarted
from oa_compile.lanes.lane import Account, Quote, Spent
from oa_compile.lanes.metered import Retry, Sent, complete
from oa_compile.lanes.runtime import Runtime
from oa_compile.spec.config import Config

ANSWER = "[[ ## answer ## ]]\nblue\n\n[[ ## completed ## ]]"
CONFIG = {
    "lanes": {"instant": {"kind": "embedded", "adapter": "chat", "budget": {"calls": 10**9}}},
    "stages": {"compile": {"task": "instant", "budget": {"tokens": 10**12}}},
    "budget": {"cost": "1btc", "calls": 10**9, "seconds": 10**6},
    "run": {"threads": 16},
}


class InstantEngine:
    """Answers at once."""

    def complete(self, request: Request) -> Response:
        message = Message.assistant(ANSWER)
        return Response(
            id=None, model=request.model, message=message, finish_reason="stop", usage=Usage(50, 5)
        )


class InstantLane:
    """The same as one of our lanes, priced so that the ledger has something to do."""

    name, kind, identity, concurrency = "instant", "instant", "instant:1", 64

    def quote(self, request: ChatRequest) -> Quote:
        return Quote(10, 2_000)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        return complete(self, request, account, Retry())

    def send(self, request: ChatRequest, key: str) -> Sent:
        return Sent(ChatAnswer(ANSWER, OurUsage(50, 5), model="instant"), Spent(10, 55))

    def close(self) -> None:
        pass


def work(calls: int, threads: int, offset: int) -> float:
    """Seconds for `calls` distinct predictions."""
    predict = dspy.Predict("question, context -> answer")
    context = "A paragraph of some length that stands for what a real prompt carries. " * 4

    def one(index: int) -> None:
        assert predict(question=f"what colour is thing {index}?", context=context).answer == "blue"

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(copy_context().run, one, offset + i) for i in range(calls)]:
            future.result()
    return time.perf_counter() - start


@contextmanager
def plain() -> Iterator[None]:
    with dspy.context(lm=dspy.LM("instant", engine=InstantEngine(), cache=False), adapter=dspy.ChatAdapter()):
        yield


@contextmanager
def dspy_disk(folder: Path) -> Iterator[None]:
    dspy.configure_cache(enable_disk_cache=True, enable_memory_cache=False, disk_cache_dir=str(folder))
    with dspy.context(lm=dspy.LM("instant", engine=InstantEngine(), cache=True), adapter=dspy.ChatAdapter()):
        yield


@contextmanager
def ours(folder: Path) -> Iterator[None]:
    config = Config.model_validate(CONFIG)
    started = RunStarted(
        command="optimize",
        run="bench",
        program="bench",
        inputs={},
        lanes={},
        settings=config.model_dump(mode="json"),
        versions={},
    )
    runtime = Runtime(
        folder / "journal.jsonl", started=started, config=config, lanes={"instant": InstantLane()}
    )
    try:
        with runtime.context(runtime.lm("compile", "task")):
            yield
    finally:
        runtime.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    peers: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
        "plain": lambda _folder: plain(),
        "dspy disk": dspy_disk,
        "ours": ours,
    }
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    with tempfile.TemporaryDirectory() as root:
        with plain():
            work(500, options.threads, 0)  # imports and first-use costs belong to nobody
        for round_ in range(options.rounds):
            for name, peer in peers.items():
                folder = Path(root) / f"{name}-{round_}".replace(" ", "-")
                folder.mkdir()
                gc.collect()  # nobody pays for another's garbage
                with peer(folder):
                    seconds[name].append(work(options.calls, options.threads, round_ * options.calls))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{options.calls} calls, {options.threads} threads, median of {options.rounds} rounds")
    print(f"{'peer':<12}{'calls/s':>10}{'ms/call':>10}")
    for name, value in median.items():
        print(f"{name:<12}{options.calls / value:>10,.0f}{1000 * value / options.calls:>10.3f}")
    # Ratios within a round, so that a machine that slows down slows all three.
    print(
        json.dumps(
            {
                "throughput_vs_dspy_disk": round(
                    statistics.median(
                        d / o for d, o in zip(seconds["dspy disk"], seconds["ours"], strict=True)
                    ),
                    3,
                ),
                "time_vs_plain_predict": round(
                    statistics.median(o / p for o, p in zip(seconds["ours"], seconds["plain"], strict=True)),
                    3,
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
