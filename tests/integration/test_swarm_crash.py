"""kill -9 of the customer, of its wallet, or of both, at any moment of paid jobs: what the wallet says it
paid is what the journal says was paid, nothing is paid twice, and no cap is passed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyln.client import LightningRpc

from oa_compile.errors import ExitCode
from oa_compile.events import Attempt, Line, PaymentIntended, Reserved, SegmentStarted
from oa_compile.journal import read
from oa_compile.lanes.runtime import caps_of
from oa_compile.ledger import Ledger
from tests.support.swarm_process import (
    BID,
    FEE,
    MAX_FEE,
    PRICE,
    THREADS,
    Child,
    Keeper,
    Moment,
    Nursery,
    Run,
    World,
    config_of,
    provider_names,
    short_folder,
    spin,
)

pytestmark = pytest.mark.crash

CALLS = 40
KILLS = 8
"""Of the customer in each run that is battered at random: with six such runs, 48 in all."""
LATER = (0, 3e-4, 3e-3, 2e-2)
"""Seconds after a tick: a tab's payment is some round trips after the last answer."""
WORST = BID + MAX_FEE
WAYS = ("result-first", "pay-first", "tab")
MOST_LIVES = 60


@dataclass
class Battered:
    """A run that is killed again and again, and the world it pays."""

    nursery: Nursery
    folder: Path
    way: str
    calls: int = CALLS
    budget: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    wallet_kills: int = 0
    torn: int = 0
    seen: int = 0
    """Lines of the journal before the last customer's life."""
    ledger: Child = field(init=False)
    relay: str = field(init=False)

    def __post_init__(self) -> None:
        self.start_wallet()
        tab = self.way == "tab"
        world = World(
            str(self.folder / "ledger"),
            order="result-first" if tab else self.way,  # type: ignore[arg-type]
            tab_limit_msat=10_000 if tab else 0,
        )
        self.relay = self.nursery.start(world, self.folder / "world.log").line()

    @property
    def journal(self) -> Path:
        return self.folder / "run" / "journal.jsonl"

    # -- lives and deaths

    def start_wallet(self) -> None:
        self.ledger = self.nursery.start(Keeper(str(self.folder / "ledger")), self.folder / "ledger.log")
        self.ledger.line()

    def kill_wallet(self) -> None:
        self.ledger.kill()
        self.ledger.end()
        self.wallet_kills += 1

    def customer(self, **how: Any) -> Child:
        """A customer that takes up the run."""
        self.seen = len(self.lines())
        run = Run(
            folder=str(self.folder / "run"),
            wallet=str(self.folder / "ledger" / "customer" / "lightning-rpc"),
            relay=self.relay,
            calls=self.calls,
            tab_jobs=2 if self.way == "tab" else 0,
            budget=self.budget,
            **how,
        )
        return self.nursery.start(run, self.folder / "customer.log")

    def live(self, *, kill_after: int = 0, spin_for: float = 0.0, **how: Any) -> int:
        """One life of the customer; its exit code, minus the signal that killed it."""
        customer = self.customer(**how)
        count = 0
        while customer.read():
            count += 1
            if count == kill_after:
                spin(spin_for)
                customer.kill()
        return self._ended(customer)

    def _ended(self, customer: Child) -> int:
        code = customer.end()
        self.kills += code < 0
        assert code in {0, ExitCode.BUDGET, ExitCode.LANE, -9}, self.log()
        return code

    def live_on(self) -> None:
        """Live without being disturbed, until all is done."""
        for _ in range(MOST_LIVES):
            if self.live() == 0:
                return
        raise AssertionError(f"it does not come to an end: {self.log()}")

    def lose_wallet(self, chance: random.Random, *, stays: bool, both: bool = False) -> int:
        """One life, in which the wallet is killed at some moment. It is back at once, or only after the
        customer's end; and maybe the customer is killed, too.
        """
        wallet_dies, customer_dies = chance.randint(1, 40), chance.randint(1, 60) if both else 0
        customer = self.customer(deadline=2.0)  # who is paid as the ledger dies may not see it
        count = 0
        while customer.read():
            count += 1
            if count == wallet_dies:
                spin(chance.uniform(0, 2e-3))
                self.kill_wallet()
                if not stays:
                    self.start_wallet()
            if count == customer_dies:
                spin(chance.uniform(0, 2e-3))
                customer.kill()
        code = self._ended(customer)
        if stays and count >= wallet_dies:
            self.start_wallet()
        return code

    def tear(self, chance: random.Random) -> None:
        """Leave half a line at the journal's end, as a write that is cut short does."""
        data = self.journal.read_bytes()
        start = data[:-1].rfind(b"\n") + 1
        if not data.endswith(b"\n") or data.count(b"\n") <= self.seen:
            return
        length = chance.randint(1, len(data) - start - 1)
        # What was reserved or intended went on only once it was written: the line after it is cut short.
        whole = b'"type":"attempt"' not in data[start:]
        self.journal.write_bytes(data[: len(data) if whole else start] + data[start : start + length])
        self.torn += 1

    # -- what there is to see

    def lines(self) -> list[Line]:
        return list(read(self.journal)) if self.journal.exists() else []

    def pays(self) -> list[dict[str, Any]]:
        """What the wallet says it paid, or tried to."""
        rpc = LightningRpc(str(self.folder / "ledger" / "customer" / "lightning-rpc"))
        return list(rpc.listpays()["pays"])

    def received(self) -> int:
        """What the providers say they were paid."""
        nodes = [
            LightningRpc(str(self.folder / "ledger" / name / "lightning-rpc")) for name in provider_names()
        ]
        bills = [bill for node in nodes for bill in node.listinvoices()["invoices"]]
        return sum(bill.get("amount_received_msat", 0) for bill in bills)

    def log(self) -> str:
        return (self.folder / "customer.log").read_text()[-4000:]


Battle = Callable[..., AbstractContextManager[Battered]]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as process:
        yield process


@pytest.fixture
def battle(nursery: Nursery) -> Battle:
    @contextlib.contextmanager
    def begin(way: str, **how: Any) -> Iterator[Battered]:
        with short_folder() as folder:
            yield Battered(nursery, folder, way, **how)

    return begin


def paid(attempt: Attempt) -> int:
    return int(attempt.receipt.get("paid_msat", 0))


def check_money(run: Battered) -> None:
    """The journal against the wallet's books."""
    lines = run.lines()
    events = [line.event for line in lines]
    attempts = [event for event in events if isinstance(event, Attempt)]
    complete = {pay["payment_hash"]: pay for pay in run.pays() if pay["status"] == "complete"}
    sent = [int(pay["amount_sent_msat"]) for pay in run.pays() if pay["status"] == "complete"]
    assert len(sent) == len(complete), "no invoice is paid twice"
    assert all(pay["status"] != "pending" for pay in run.pays())
    assert sum(sent) == sum(map(paid, attempts)), "what left the wallet is in receipts"
    assert sum(sent) == run.received() + FEE * len(sent)

    intended = {e.payment_hash: line.at for line in lines if isinstance(e := line.event, PaymentIntended)}
    assert len(intended) == sum(isinstance(event, PaymentIntended) for event in events), "intended once"
    for hash_, pay in complete.items():
        assert intended[hash_] // 1000 <= pay["created_at"], "intended before"
    proofs = Counter(attempt.receipt["payment_hash"] for attempt in attempts if paid(attempt))
    assert proofs == dict.fromkeys(complete, 1), "each payment in one receipt"
    for attempt in attempts:
        receipt = attempt.receipt
        if paid(attempt):
            assert paid(attempt) == complete[receipt["payment_hash"]]["amount_sent_msat"]
            assert receipt["preimage"] == complete[receipt["payment_hash"]]["preimage"]
            bought = attempt.outcome in {"ok", "unused"} or bool(receipt.get("settles"))
            assert receipt.get("lost", False) is not bought, "a loss is named"


def check_tabs(run: Battered) -> None:
    """What was owed is paid, once."""
    attempts = [e for line in run.lines() if isinstance(e := line.event, Attempt)]
    owed = {a.receipt["job"] for a in attempts if a.receipt.get("order") == "tab"}
    settled = Counter(job for a in attempts if paid(a) for job in a.receipt.get("settles", ()))
    assert settled == dict.fromkeys(owed, 1)


def check_caps(run: Battered) -> None:
    """Settled and reserved stay below the caps in every prefix of the journal, and nothing is left open."""
    caps = caps_of(config_of(run.budget))
    ledger = Ledger(caps)
    for line in run.lines():
        ledger.replay([line.event])
        if isinstance(line.event, Reserved | Attempt):
            for scope, cap in caps.items():
                totals = ledger.totals(scope)
                for unit in ("msat", "calls", "tokens"):
                    limit = getattr(cap, unit)
                    assert limit is None or totals.used(unit) <= limit, (scope, unit, line.seq)
    assert ledger.open_holds() == []


def check_calls(run: Battered) -> None:
    """Every call is answered rightly, once, and not asked again after that."""
    answered: set[str] = set()
    for line in run.lines():
        event = line.event
        if isinstance(event, Reserved) and event.calls:
            assert event.key not in answered, "an answered call is asked again"
        if isinstance(event, Attempt) and event.outcome == "ok" and event.calls:
            assert event.key not in answered
            answered.add(event.key)
            assert event.request is not None
            assert event.answer is not None
            assert event.answer.text == f"answer to {event.request.messages[-1].content}"
    assert len(answered) == run.calls


def check(run: Battered) -> None:
    check_money(run)
    check_tabs(run)
    check_caps(run)
    check_calls(run)


def room(calls: int) -> dict[str, int]:
    """A budget for all calls and for what killed processes had under way, and no more."""
    most = calls + KILLS * THREADS
    return {"cost": most * WORST, "calls": most}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("torn", [False, True])
def test_a_customer_killed_at_random_moments_pays_nothing_twice(way: str, torn: bool, battle: Battle) -> None:
    chance = random.Random(f"{way} {torn}")
    with battle(way, budget=room(CALLS)) as run:
        while run.kills < KILLS:
            if run.live(kill_after=chance.randint(1, 30), spin_for=chance.choice(LATER)) == 0:
                run.calls += CALLS // 2  # it was done before it was killed: something more to do
                run.budget = room(run.calls)
            elif torn:
                run.tear(chance)
        run.live_on()
        segments = [e for line in run.lines() if isinstance(e := line.event, SegmentStarted)]
        assert sum(segment.torn_bytes > 0 for segment in segments) == run.torn
        check(run)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["reserved", "intended", "asked", "paid", "attempt"])
def test_a_customer_that_dies_at_a_certain_moment_of_a_payment(
    way: str, moment: Moment, battle: Battle
) -> None:
    chance = random.Random(f"{way} {moment}")
    with battle(way) as run:
        lives = 1 if way == "tab" else 3  # payments are few on a tab
        for _ in range(lives):
            assert run.live(die_at=(moment, chance.randint(1, lives))) == -9
        run.live_on()
        check(run)
        lost = [e for line in run.lines() if isinstance(e := line.event, Attempt) and e.outcome == "lost"]
        if moment == "paid":
            assert sum(map(paid, lost)) >= lives * (PRICE + FEE)


@pytest.mark.parametrize("way", WAYS)
def test_a_payment_that_is_made_after_the_wallet_was_asked_about_it_is_found(
    way: str, battle: Battle
) -> None:
    """A busy wallet: the request of the customer that died is in its socket, the question of the next one
    behind it, and it answers the question first.
    """
    with battle(way) as run:
        assert run.live(die_at=("asked", 1), freeze=run.ledger.pid) == -9
        customer = run.customer()
        while customer.read() != b"q":
            pass
        os.kill(run.ledger.pid, signal.SIGCONT)
        assert customer.end() == 0
        check(run)
        lost = [e for line in run.lines() if isinstance(e := line.event, Attempt) and e.outcome == "lost"]
        assert sum(map(paid, lost)) >= PRICE + FEE


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stays", [False, True])
def test_a_wallet_killed_while_it_pays(way: str, stays: bool, battle: Battle) -> None:
    """The customer goes on, or stops with a fault that a resume is for."""
    chance = random.Random(f"{way} {stays}")
    with battle(way) as run:
        for _ in range(3):
            run.lose_wallet(chance, stays=stays)
        run.live_on()
        assert run.wallet_kills
        check(run)


@pytest.mark.parametrize("way", WAYS)
def test_customer_and_wallet_killed_together(way: str, battle: Battle) -> None:
    chance = random.Random(way)
    with battle(way) as run:
        for _ in range(4):
            run.lose_wallet(chance, stays=chance.random() < 0.5, both=True)
        run.live_on()
        check(run)


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_holds_over_kills(way: str, battle: Battle) -> None:
    """What is lost is charged: killed again and again, a run stops early rather than spend more."""
    chance = random.Random(f"budget {way}")
    cost = 20 * WORST
    with battle(way, calls=4 * CALLS, budget={"cost": cost}) as run:
        for _ in range(8):
            run.live(kill_after=chance.randint(5, 30))
        assert run.live() == ExitCode.BUDGET
        check_money(run)
        check_caps(run)
        assert sum(int(pay["amount_sent_msat"]) for pay in run.pays()) <= cost
