"""The swarm's lane within a run: budgets under pressure, tabs, what was on its way when a process died.

Real relay, real providers, a real ledger on loopback; what was paid is read from the ledger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.errors import BudgetExhausted, LaneError, StopRun
from oa_compile.events import AnyEvent, Attempt, PaymentIntended, Reserved, RunStarted
from oa_compile.journal import Journal, JournalWriteError, events, read
from oa_compile.lanes.lane import RequestRefused
from oa_compile.lanes.pylon import PylonLane
from oa_compile.lanes.runtime import Runtime
from oa_compile.ledger import Totals
from oa_compile.money import Rate
from oa_compile.spec.config import Config, WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec
from oa_compile.swarm import connect
from oa_compile.swarm.lightning.bolt11 import decode
from oa_compile.swarm.lightning.cln import ClnWallet
from oa_compile.swarm.lightning.wallet import PaymentAlarm
from oa_compile.swarm.loop import shared_loop
from tests.support.pylon_lane import PRICE, PylonWorld, pylon_world

STARTED = RunStarted(command="optimize", run="r1", program="p", inputs={}, lanes={}, settings={}, versions={})
BID = 20
FEE = 5


def config(**budget: Any) -> Config:
    return Config.model_validate(
        {
            "lanes": {"swarm": {"kind": "embedded", "adapter": "chat"}},
            "stages": {"compile": {"task": "swarm"}},
            "budget": budget,
        }
    )


@contextmanager
def running(path: Path, lane: PylonLane, **budget: Any) -> Iterator[Runtime]:
    runtime = Runtime(path, started=STARTED, config=config(**budget), lanes={"swarm": lane})
    try:
        yield runtime
    finally:
        runtime.close()


def ask(runtime: Runtime, text: str) -> ChatAnswer:
    request = ChatRequest((ChatMessage("user", text),), max_tokens=8, temperature=0.0)
    lane = runtime.lanes["swarm"]
    return runtime.calls.complete(request, lane=lane, stage="compile", role="task", rollout=None, sample=0)


def journal_of(path: Path) -> list[AnyEvent]:
    return list(events(read(path)))


def paid_in(lines: list[AnyEvent]) -> int:
    """What the journal's receipts say left the wallet."""
    return sum(event.receipt.get("paid_msat", 0) for event in lines if isinstance(event, Attempt))


def charged_in(lines: list[AnyEvent]) -> int:
    return sum(event.msat for event in lines if isinstance(event, Attempt))


@pytest.mark.parametrize("order", ["result-first", "pay-first"])
def test_sixty_four_quotes_racing_for_the_budget_stay_within_it(tmp_path: Path, order: Any) -> None:
    """Room for ten answers at their worst case; what is not spent of it makes room for more."""
    cap = 10 * (BID + FEE)
    path = tmp_path / "journal.jsonl"
    with pylon_world(order=order) as world, running(path, world.lane(), cost=cap) as runtime:

        def one(number: int) -> bool:
            try:
                ask(runtime, f"question {number}")
            except StopRun:
                return False
            return True

        with ThreadPoolExecutor(64) as pool:
            answered = sum(pool.map(one, range(64)))
        assert 0 < answered < 64
        assert isinstance(runtime.calls.stopped_by, BudgetExhausted)
        assert world.spent_msat <= cap
        spent = world.spent_msat
    assert paid_in(journal_of(path)) == charged_in(journal_of(path)) == spent


def test_every_payment_has_its_intent_before_it_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world() as world, running(path, world.lane()) as runtime:
        ask(runtime, "one")
        ask(runtime, "two")
    lines = journal_of(path)
    intended = [event.payment_hash for event in lines if isinstance(event, PaymentIntended)]
    receipts = [event.receipt for event in lines if isinstance(event, Attempt)]
    assert [receipt["payment_hash"] for receipt in receipts] == intended
    assert all(receipt["paid_msat"] == PRICE for receipt in receipts)


def test_a_tab_pays_many_answers_with_one_invoice_and_the_rest_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world(count=1, tab_limit_msat=10_000) as world:
        lane = world.lane(tab={"jobs": 5, "limit": "10000msat"})
        with running(path, lane) as runtime:
            for number in range(12):
                ask(runtime, f"question {number}")
        assert world.spent_msat == 12 * PRICE
        assert world.ledger.nodes["provider-0"].balance_msat == 12 * PRICE
    lines = journal_of(path)
    settlements = [event for event in lines if isinstance(event, Attempt) and not event.calls]
    sizes = [len(event.receipt["settles"]) for event in settlements]
    assert sum(sizes) == 12
    assert 2 <= len(sizes) <= 3  # what came while a settlement was under way goes with the next
    assert sum(event.calls for event in lines if isinstance(event, Attempt)) == 12
    assert charged_in(lines) == paid_in(lines) == 12 * PRICE


def test_what_is_owed_survives_the_process_and_is_paid_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world(count=1, tab_limit_msat=10_000) as world:
        tab = {"jobs": 50, "limit": "10000msat"}
        runtime = Runtime(path, started=STARTED, config=config(), lanes={"swarm": world.lane(tab=tab)})
        for number in range(3):
            ask(runtime, f"question {number}")
        runtime.journal.close()  # the process dies here: nothing is settled
        assert world.spent_msat == 0
        with running(path, world.lane(tab=tab)) as again:
            ask(again, "one more")
        assert world.spent_msat == 4 * PRICE
    assert paid_in(journal_of(path)) == 4 * PRICE


def _reserved(*, hold: int, calls: int) -> Reserved:
    return Reserved(
        hold=hold, key="sha256:aa", lane="swarm", stage="compile", role="task", msat=25, tokens=9, calls=calls
    )


def _abandon(path: Path, *, intent: PaymentIntended | None, calls: int = 1) -> None:
    """A journal as a process leaves it that died with an attempt under way."""
    with Journal(path) as journal:
        journal.append(STARTED)
        journal.append(_reserved(hold=1, calls=calls))
        if intent is not None:
            journal.append(intent, sync=True)


def _intent(world: PylonWorld, *, pay: bool, settles: tuple[str, ...] = (), hold: int = 1) -> PaymentIntended:
    """An intent to pay a real invoice of the first provider, paid or not."""
    issued = world.ledger.invoice("provider-0", PRICE, label="x", description="job").issued
    if pay:
        loop = shared_loop()

        async def paying() -> None:
            world.ledger.pay("customer", issued.bolt11)

        loop.run(paying(), seconds=5)
    return PaymentIntended(
        hold=hold,
        payment_hash=decode(issued.bolt11).payment_hash,
        bolt11=issued.bolt11,
        msat=PRICE,
        max_fee_msat=FEE,
        wallet="ledger",
        provider=world.keys[0].public,
        job="ab" * 32,
        settles=list(settles),
    )


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time in which a node may still be at a dead process's payment is over."""
    monkeypatch.setattr(connect, "may_come", lambda *_args, **_options: 0.0)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("pay", [True, False])
def test_a_resumed_run_asks_the_wallet_what_became_of_a_payment(tmp_path: Path, *, pay: bool) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world() as world:
        _abandon(path, intent=_intent(world, pay=pay))
        with running(path, world.lane()) as runtime:
            assert runtime.ledger.totals().msat == (PRICE if pay else 0)
            assert runtime.ledger.totals().reserved_msat == 0
        lost = [event for event in journal_of(path) if isinstance(event, Attempt)]
        assert [event.outcome for event in lost] == ["lost"]
        assert lost[0].receipt.get("lost", False) is pay
        assert paid_in(journal_of(path)) == world.spent_msat


def test_what_the_wallet_does_not_know_yet_stays_reserved_until_it_cannot_come_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world() as world:
        _abandon(path, intent=_intent(world, pay=False))
        with running(path, world.lane()) as runtime:
            monkeypatch.setattr(connect, "CLOSING_SECONDS", 0.05)
            assert runtime.ledger.totals().reserved_msat == 25
        assert not any(isinstance(event, Attempt) for event in journal_of(path))
        monkeypatch.setattr(connect, "may_come", lambda *_args, **_options: 0.0)
        with running(path, world.lane()) as runtime:
            assert runtime.ledger.totals() == Totals(calls=1)


def test_a_settlement_that_may_yet_be_made_is_not_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are neither owed nor paid until it is known; then they are owed again, and paid."""
    monkeypatch.setattr(connect, "CLOSING_SECONDS", 0.05)
    path = tmp_path / "journal.jsonl"
    with pylon_world(count=1, tab_limit_msat=10_000) as world:
        tab = {"jobs": 2, "limit": "10000msat"}
        first = Runtime(path, started=STARTED, config=config(), lanes={"swarm": world.lane(tab=tab)})
        ask(first, "one")
        first.journal.close()  # the process dies here
        job = next(event.receipt["job"] for event in journal_of(path) if isinstance(event, Attempt))
        intent = _intent(world, pay=False, settles=(job,), hold=2)
        with Journal(path) as journal:
            journal.append(_reserved(hold=2, calls=0))
            journal.append(intent, sync=True)
        with running(path, world.lane(tab=tab)) as again:
            ask(again, "two")
            ask(again, "three")
        assert world.spent_msat == 0
        monkeypatch.setattr(connect, "CLOSING_SECONDS", 15.0)
        monkeypatch.setattr(connect, "may_come", lambda *_args, **_options: 0.0)
        with running(path, world.lane(tab=tab)):
            pass
        assert world.spent_msat == 3 * PRICE
    assert paid_in(journal_of(path)) == 3 * PRICE


def test_a_run_with_nothing_more_to_ask_pays_what_it_owes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    tab = {"jobs": 50, "limit": "10000msat"}
    with pylon_world(count=1, tab_limit_msat=10_000) as world:
        first = Runtime(path, started=STARTED, config=config(), lanes={"swarm": world.lane(tab=tab)})
        ask(first, "one")
        first.journal.close()  # the process dies here
        with running(path, world.lane()) as again:  # and keeps no tabs any more
            ask(again, "one")
        assert world.spent_msat == PRICE


@pytest.mark.parametrize("end", ["budget", "interrupt", "fault"])
def test_what_is_owed_is_paid_however_a_run_ends_unless_something_broke(tmp_path: Path, end: str) -> None:
    tab = {"jobs": 50, "limit": "10000msat"}
    with (
        pylon_world(count=1, tab_limit_msat=10_000) as world,
        running(tmp_path / "journal.jsonl", world.lane(tab=tab)) as runtime,
    ):
        ask(runtime, "one")
        if end == "interrupt":
            runtime.calls.interrupt()
        else:
            errors = {"budget": BudgetExhausted("enough", cap="run.msat"), "fault": LaneError("broken")}
            runtime.calls.stop(errors[end])
        runtime.close()
        assert world.spent_msat == (0 if end == "fault" else PRICE)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_payment_that_never_ends_counts_as_spent_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, resumed: bool
) -> None:
    """Whoever takes a payment and holds on to it could else keep a run waiting for days."""
    monkeypatch.setattr(connect, "CLOSING_SECONDS", 0.05)
    path = tmp_path / "journal.jsonl"
    cap = 2 * (BID + FEE) - 1
    with pylon_world(count=1) as world:
        world.ledger.frozen.add("provider-0")
        if resumed:
            _abandon(path, intent=_intent(world, pay=True))
        with running(path, world.lane(pay_seconds=0.05), cost=cap) as runtime:
            with pytest.raises(StopRun) as stop:
                ask(runtime, "one")
            assert isinstance(stop.value.error, BudgetExhausted)
            assert runtime.ledger.totals().reserved_msat == BID + FEE


@pytest.fixture
def lying_wallet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wallet that takes the money and proves nothing."""

    async def pay(*_args: object, **_options: object) -> None:
        raise PaymentAlarm("its preimage does not prove it")

    monkeypatch.setattr(ClnWallet, "pay", pay)


@pytest.mark.usefixtures("lying_wallet")
@pytest.mark.parametrize("jobs", [1, 50])
def test_an_alarm_while_a_tab_is_settled_stops_the_run(tmp_path: Path, jobs: int) -> None:
    """At the next call, or if there is none, at its end."""
    path = tmp_path / "journal.jsonl"
    with pylon_world(count=1, tab_limit_msat=10_000) as world:
        lane = world.lane(tab={"jobs": jobs, "limit": "10000msat"})
        runtime = Runtime(path, started=STARTED, config=config(), lanes={"swarm": lane})
        ask(runtime, "one")
        if jobs == 1:
            with pytest.raises(StopRun):
                deque((ask(runtime, f"question {number}") for number in range(1000)), maxlen=0)
            assert isinstance(runtime.calls.stopped_by, PaymentAlarm)
        with pytest.raises(PaymentAlarm):
            runtime.close()
    with pytest.raises(JournalWriteError):  # all else was closed all the same
        runtime.journal.append(STARTED)


def test_an_attempt_without_an_intent_has_paid_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world() as world:
        _abandon(path, intent=None)
        with running(path, world.lane()) as runtime:
            assert runtime.ledger.totals().msat == 0
            assert runtime.ledger.totals().calls == 1


def test_a_settlement_that_was_paid_as_the_process_died_is_not_paid_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    job = "ab" * 32
    with pylon_world(count=1, tab_limit_msat=10_000) as world:
        _abandon(path, intent=_intent(world, pay=True, settles=(job,)), calls=0)
        with Journal(path) as journal:
            owed = {"provider": world.keys[0].public, "job": job, "order": "tab", "price_msat": PRICE}
            journal.append(_tab_answer(owed, hold=2, reserve=True))
            journal.append(_tab_answer(owed, hold=2, reserve=False))
        with running(path, world.lane(tab={"jobs": 50, "limit": "10000msat"})) as runtime:
            ask(runtime, "something")
        assert world.spent_msat == 2 * PRICE  # the settlement then, and the new job now
    assert paid_in(journal_of(path)) == 2 * PRICE


def _tab_answer(receipt: dict[str, Any], *, hold: int, reserve: bool) -> Reserved | Attempt:
    common: dict[str, Any] = {
        "hold": hold,
        "key": "sha256:bb",
        "lane": "swarm",
        "stage": "compile",
        "role": "task",
        "msat": PRICE,
        "tokens": 1,
    }
    if reserve:
        return Reserved(**common)
    return Attempt(outcome="ok", answer=ChatAnswer("x"), receipt=receipt, **common)


def test_a_prompt_too_long_for_the_policy_is_refused_and_does_not_leave(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pylon_world() as world, running(path, world.lane(max_prompt_bytes=300)) as runtime:
        with pytest.raises(RequestRefused, match="too long"):
            ask(runtime, "x" * 301)
        assert sum(provider.tally.jobs for provider in world.providers) == 0
    assert [event.outcome for event in journal_of(path) if isinstance(event, Attempt)] == ["refused"]


def test_what_a_policy_hides_does_not_leave_and_stands_in_the_answer_again(tmp_path: Path) -> None:
    seen: list[str] = []

    def echo(request: ChatRequest, _key: str) -> ChatAnswer:
        seen.append(request.messages[-1].content)
        return ChatAnswer(f"look at {request.messages[-1].content}")

    path = tmp_path / "journal.jsonl"
    secret = "sk-" + "a1B2" * 8
    text = f"open src/billing/invoice.py with {secret}"
    with pylon_world(answer=echo) as world, running(path, world.lane(privacy="paths")) as runtime:
        answer = ask(runtime, text)
    assert answer.text == f"look at {text}"
    assert "billing" not in seen[0]
    assert secret not in seen[0]


@pytest.mark.parametrize(("settings", "mode"), [({}, "paths"), ({"privacy": "full"}, "full")])
def test_the_policy_in_force_is_in_what_journal_and_artifact_say_of_the_lane(
    settings: dict[str, Any], mode: str
) -> None:
    """On relays that are named the default is not to leave a prompt as it is."""
    spec = PylonLaneSpec.model_validate({"kind": "pylon", "relays": ["wss://relay.example"], **settings})
    lane = PylonLane(
        "swarm",
        spec,
        wallet=WalletSpec(kind="cln", rpc="lightning-rpc"),
        rate=Rate(Decimal(100_000)),
        secrets=lambda _name: None,
    )
    assert lane.identity == f"pylon:any privacy:{mode}@2"
    lane.close()
