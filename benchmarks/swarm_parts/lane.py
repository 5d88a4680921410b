"""Our lane as a run uses it: behind the desk of calls, with a journal on the disk and caps in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.events import Attempt, PaymentIntended, RunStarted
from oa_compile.journal import events, read
from oa_compile.lanes.pylon import PylonLane
from oa_compile.lanes.runtime import Runtime
from oa_compile.money import Rate
from oa_compile.spec.config import Config, WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec
from oa_compile.swarm.customer.exchange import unobserved
from swarm_parts.processes import PRICE_MSAT

SYSTEM = "Answer the question with one short sentence. " * 4
CONFIG = {
    "lanes": {"swarm": {"kind": "embedded", "adapter": "chat", "budget": {"calls": 10**9}}},
    "stages": {"compile": {"task": "swarm", "budget": {"tokens": 10**12}}},
    "budget": {"cost": "1btc", "calls": 10**9, "seconds": 10**6},
}


def question(number: int) -> ChatRequest:
    """A prompt of usual shape, every one another."""
    messages = (ChatMessage("system", SYSTEM), ChatMessage("user", f"question {number}"))
    return ChatRequest(messages, max_tokens=32, temperature=0.0)


@dataclass(frozen=True, slots=True)
class Asker:
    """A run on the lane. `ask` raises AssertionError for a wrong answer."""

    runtime: Runtime

    def ask(self, number: int) -> None:
        answer = self.runtime.calls.complete(
            question(number),
            lane=self.runtime.lanes["swarm"],
            stage="compile",
            role="task",
            rollout=None,
            sample=0,
        )
        assert answer.text == f"answer to question {number}", answer.text


@contextmanager
def running(
    folder: Path,
    *,
    relay: str,
    wallet: str,
    providers: tuple[str, ...],
    encrypt: bool = False,
    tab_jobs: int = 0,
    observe: Callable[[str, Mapping[str, Any]], None] = unobserved,
) -> Iterator[Asker]:
    """A run in `folder` whose lane asks those providers."""
    spec = PylonLaneSpec.model_validate(
        {
            "kind": "pylon",
            "relays": [relay],
            "providers": providers,
            "network": "regtest",
            "privacy": "open",
            "encrypt": encrypt,
            "audit": 0.0,
            "bid": f"{PRICE_MSAT}msat",
            "tab": {"jobs": tab_jobs, "cost": "1000sat", "limit": "1000sat"},
            "concurrency": 64,
        }
    )
    started = RunStarted(
        command="optimize", run="bench", program="bench", inputs={}, lanes={}, settings={}, versions={}
    )
    lane = PylonLane(
        "swarm",
        spec,
        wallet=WalletSpec(kind="ledger", rpc=wallet),
        rate=Rate(Decimal(100_000)),
        secrets=lambda _name: None,
        home=folder / "lane",
        observe=observe,
    )
    config = Config.model_validate(CONFIG)
    runtime = Runtime(folder / "journal.jsonl", started=started, config=config, lanes={"swarm": lane})
    try:
        yield Asker(runtime)
    finally:
        runtime.close()


def check_journal(folder: Path, *, jobs: int, price: int, tab: bool) -> int:
    """Hold the run's journal against what was asked: every job answered once and charged its price, each
    payment with its intent. Returns how many attempts were made beside slow ones.
    """
    lines = list(events(read(folder / "journal.jsonl")))
    attempts = [event for event in lines if isinstance(event, Attempt)]
    answered = [event for event in attempts if event.outcome == "ok" and event.calls]
    assert len(answered) == jobs, (len(answered), jobs)
    assert all(event.msat == price for event in answered)
    intents = {event.payment_hash for event in lines if isinstance(event, PaymentIntended)}
    paid = [event.receipt for event in attempts if event.receipt.get("paid_msat")]
    assert {receipt["payment_hash"] for receipt in paid} <= intents
    assert sum(receipt["paid_msat"] for receipt in paid) == sum(
        event.receipt.get("price_msat", 0) for event in attempts if event.calls
    ), "what was paid is not what was charged"
    if price:
        assert (len(paid) < jobs) == tab
    return len([event for event in attempts if event.calls]) - jobs
