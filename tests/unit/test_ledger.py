"""The ledger: at every interleaving, settled plus reserved stays within every cap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from oa_compile.errors import BudgetExhausted, DigestMismatch
from oa_compile.events import AnyEvent, Attempt, Reserved, Stage
from oa_compile.ledger import RUN, Caps, CapWarning, Hold, Ledger

STAGES: tuple[Stage, ...] = ("compile", "validate")
LANES = ("swarm", "premium")
SCOPES = (RUN, *(f"stage {stage}" for stage in STAGES), *(f"lane {lane}" for lane in LANES))
UNITS = ("msat", "calls", "tokens")


def reserve(ledger: Ledger, **changes: Any) -> Hold:
    """A hold of 10 msat and 10 tokens on the swarm lane in the compile stage, unless told otherwise."""
    asked = {"key": "k", "lane": "swarm", "stage": "compile", "role": "task", "msat": 10, "tokens": 10}
    return ledger.reserve(**{**asked, "wait": False, **changes})


def reserved(hold: Hold) -> Reserved:
    return Reserved(
        hold=hold.number,
        key=hold.key,
        lane=hold.lane,
        stage=hold.stage,
        role=hold.role,
        msat=hold.msat,
        tokens=hold.tokens,
    )


def settled(hold: Hold, *, msat: int, tokens: int, outcome: Any = "ok") -> Attempt:
    return Attempt(
        hold=hold.number,
        key=hold.key,
        lane=hold.lane,
        stage=hold.stage,
        role=hold.role,
        outcome=outcome,
        msat=msat,
        tokens=tokens,
    )


# -- the state machine --------------------------------------------------------------------------------

AMOUNTS = st.integers(0, 40)
LIMITS = st.none() | st.integers(0, 120)


class LedgerMachine(RuleBasedStateMachine):
    """Calls come, end in every way and are lost in crashes; a naive sum over all of them is the model."""

    @initialize(limits=st.tuples(*[st.tuples(LIMITS, st.none() | st.integers(0, 8), LIMITS)] * len(SCOPES)))
    def begin(self, limits: tuple[tuple[int | None, int | None, int | None], ...]) -> None:
        self.caps = {
            scope: Caps(msat=msat, calls=calls, tokens=tokens)
            for scope, (msat, calls, tokens) in zip(SCOPES, limits, strict=True)
        }
        self.journal: list[AnyEvent] = []
        self.open: list[Hold] = []
        self.spent: list[tuple[Hold, int, int]] = []
        self.warnings: list[tuple[str, int]] = []
        self.ledger = self.new_ledger()

    def new_ledger(self) -> Ledger:
        return Ledger(self.caps, on_warning=lambda told: self.warnings.append((told.cap, told.percent)))

    def model(self, scope: str, unit: str) -> tuple[int, int]:
        """Settled and reserved."""

        def counts(hold: Hold) -> bool:
            return scope in (RUN, f"stage {hold.stage}", f"lane {hold.lane}")

        def amount(hold: Hold) -> int:
            return 1 if unit == "calls" else int(getattr(hold, unit))

        done = [
            {"msat": msat, "calls": 1, "tokens": tokens}[unit]
            for hold, msat, tokens in self.spent
            if counts(hold)
        ]
        return sum(done), sum(amount(hold) for hold in self.open if counts(hold))

    def room(self, lane: str, stage: str, asked: dict[str, int]) -> bool:
        for scope, unit in product((RUN, f"stage {stage}", f"lane {lane}"), UNITS):
            limit = getattr(self.caps[scope], unit)
            if limit is not None and sum(self.model(scope, unit)) + asked[unit] > limit:
                return False
        return True

    def take(self, data: st.DataObject) -> Hold:
        return self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))

    def end(self, hold: Hold, outcome: str, msat: int, tokens: int, *, told: bool) -> None:
        self.journal.append(settled(hold, msat=msat, tokens=tokens, outcome=outcome))
        self.spent.append((hold, msat, tokens))
        if told:
            assert self.ledger.settle(hold, msat=msat, tokens=tokens) is True

    @rule(
        lane=st.sampled_from(LANES),
        stage=st.sampled_from(STAGES),
        msat=AMOUNTS,
        tokens=AMOUNTS,
        crash=st.booleans() | st.just(value=False),
    )
    def reserve(self, lane: str, stage: Stage, msat: int, tokens: int, crash: bool) -> None:
        fits = self.room(lane, stage, {"msat": msat, "calls": 1, "tokens": tokens})
        try:
            hold = reserve(self.ledger, lane=lane, stage=stage, msat=msat, tokens=tokens)
        except BudgetExhausted:
            assert not fits
            return
        assert fits
        if crash:  # before the reservation was written: it never was
            self.resume()
            return
        self.journal.append(reserved(hold))
        self.open.append(hold)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), crash=st.booleans() | st.just(value=False))
    def answer(self, data: st.DataObject, crash: bool) -> None:
        hold = self.take(data)
        msat, tokens = data.draw(st.integers(0, hold.msat)), data.draw(st.integers(0, hold.tokens))
        self.end(hold, "ok", msat, tokens, told=not crash)
        if crash:  # the answer was written, and the ledger never heard of it
            self.resume()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), billed=st.booleans())
    def fail(self, data: st.DataObject, billed: bool) -> None:
        hold = self.take(data)
        msat, tokens = (hold.msat, hold.tokens) if billed else (0, 0)
        self.end(hold, "fault", msat, tokens, told=True)

    @rule()
    def resume(self) -> None:
        """The process dies; another takes up the journal and books what was under way at its worst."""
        self.ledger = self.new_ledger()
        self.ledger.replay(self.journal)
        assert {hold.number for hold in self.ledger.open_holds()} == {hold.number for hold in self.open}
        self.open = []
        for hold in self.ledger.open_holds():
            self.end(hold, "lost", hold.msat, hold.tokens, told=True)

    @precondition(lambda self: self.spent)
    @rule(data=st.data())
    def settle_twice(self, data: st.DataObject) -> None:
        hold, msat, tokens = data.draw(st.sampled_from(self.spent))
        with pytest.raises(KeyError):
            self.ledger.settle(hold, msat=msat, tokens=tokens)

    @invariant()
    def totals_are_the_model_s_and_within_every_cap(self) -> None:
        for scope, unit in product(SCOPES, UNITS):
            totals = self.ledger.totals(scope)
            done, held = self.model(scope, unit)
            assert (getattr(totals, unit), getattr(totals, f"reserved_{unit}")) == (done, held)
            assert totals.used(unit) == done + held
            limit = getattr(self.caps[scope], unit)
            assert limit is None or totals.used(unit) <= limit, (scope, unit)

    @invariant()
    def no_number_is_given_twice(self) -> None:
        numbers = [event.hold for event in self.journal if isinstance(event, Reserved)]
        assert len(numbers) == len(set(numbers))

    @invariant()
    def no_warning_is_given_twice(self) -> None:
        assert len(self.warnings) == len(set(self.warnings))


def test_no_interleaving_of_calls_and_crashes_passes_a_cap() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=80,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


# -- reserving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "caps", "named"),
    [
        (RUN, Caps(msat=25), "run.msat"),
        (RUN, Caps(calls=2), "run.calls"),
        (RUN, Caps(tokens=25), "run.tokens"),
        ("stage compile", Caps(msat=25), "stage compile.msat"),
        ("stage compile", Caps(calls=2), "stage compile.calls"),
        ("lane swarm", Caps(tokens=25), "lane swarm.tokens"),
    ],
)
def test_the_cap_that_refuses_is_named(scope: str, caps: Caps, named: str) -> None:
    ledger = Ledger({scope: caps})
    for hold in (reserve(ledger), reserve(ledger)):
        ledger.settle(hold, msat=10, tokens=10)
    with pytest.raises(BudgetExhausted) as caught:
        reserve(ledger)
    assert caught.value.cap == named
    assert f"the cap {named} (" in caught.value.message
    assert "--resume" in caught.value.hint
    assert ledger.totals().used("msat") == 20  # a refusal books nothing
    other = "validate" if scope == "stage compile" else "compile"
    lane = "premium" if scope == "lane swarm" else "swarm"
    if scope != RUN:  # the caps of one stage or lane are not another's
        reserve(ledger, stage=other, lane=lane)


def test_a_cap_can_be_used_to_the_last_msat_and_not_past_it() -> None:
    ledger = Ledger({RUN: Caps(msat=10)})
    ledger.settle(reserve(ledger), msat=10, tokens=0)
    ledger.settle(reserve(ledger, msat=0), msat=0, tokens=0)
    with pytest.raises(BudgetExhausted):
        reserve(ledger, msat=1)


@pytest.mark.parametrize("unit", UNITS)
def test_a_cap_of_nothing_refuses_everything_that_costs(unit: str) -> None:
    with pytest.raises(BudgetExhausted):
        reserve(Ledger({RUN: Caps(**{unit: 0})}))


@pytest.mark.parametrize("asked", [{"msat": -1}, {"msat": True}, {"msat": 1.5}, {"tokens": -1}], ids=repr)
def test_a_reservation_is_a_sane_amount(asked: dict[str, Any]) -> None:
    ledger = Ledger()
    with pytest.raises(ValueError, match=r"must|range"):
        reserve(ledger, **asked)
    assert ledger.open_holds() == []


@pytest.mark.parametrize("spent", [{"msat": -1}, {"msat": True}, {"tokens": -1}], ids=repr)
def test_a_settlement_is_a_sane_amount(spent: dict[str, Any]) -> None:
    ledger = Ledger()
    hold = reserve(ledger)
    with pytest.raises(ValueError, match=r"must|range"):
        ledger.settle(hold, **{"msat": 0, "tokens": 0, **spent})
    assert ledger.open_holds() == [hold]


def test_wall_seconds_are_the_run_s() -> None:
    now = [0.0]
    ledger = Ledger({RUN: Caps(seconds=60)}, elapsed=lambda: now[0])
    now[0] = 59.9
    hold = reserve(ledger)
    now[0] = 60.0
    with pytest.raises(BudgetExhausted) as caught:
        reserve(ledger, wait=True)  # waiting would not turn back the clock
    assert caught.value.cap == "run.seconds"
    assert ledger.settle(hold, msat=10, tokens=10)  # what is under way still settles
    assert reserve(ledger, calls=0)  # and what it came to is paid


def test_nobody_waits_for_what_pends() -> None:
    ledger = Ledger({RUN: Caps(msat=20), "lane other": Caps(msat=10)})
    first, second = reserve(ledger), reserve(ledger)
    ledger.pend(first)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reserve, ledger, wait=True)
        assert ledger.settle(second, msat=1, tokens=1)
        with pytest.raises(BudgetExhausted):
            waiting.result(timeout=20)
    assert ledger.settle(first, msat=0, tokens=0)
    assert reserve(ledger, wait=True)


def test_what_pends_counts_in_its_own_scopes_only() -> None:
    ledger = Ledger({"lane other": Caps(msat=10)})
    ledger.pend(reserve(ledger))
    held = reserve(ledger, lane="other")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reserve, ledger, lane="other", wait=True)
        assert ledger.settle(held, msat=0, tokens=0)
        assert waiting.result(timeout=20)


# -- settling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "kept"), [((10, 10), True), ((0, 0), True), ((11, 10), False), ((10, 11), False)]
)
def test_a_broken_ceiling_is_told_and_booked_as_it_is(spent: tuple[int, int], kept: bool) -> None:
    ledger = Ledger({RUN: Caps(msat=10)})
    assert ledger.settle(reserve(ledger), msat=spent[0], tokens=spent[1]) is kept
    assert (ledger.totals().msat, ledger.totals().tokens) == spent
    assert ledger.totals().used("calls") == 1


def test_a_released_hold_leaves_nothing() -> None:
    ledger = Ledger({RUN: Caps(calls=1)})
    hold = reserve(ledger)
    ledger.release(hold)
    assert (ledger.open_holds(), ledger.totals().used("calls"), ledger.totals().used("msat")) == ([], 0, 0)
    with pytest.raises(KeyError):
        ledger.release(hold)
    assert reserve(ledger).number != hold.number


def test_totals_by_lane() -> None:
    ledger = Ledger()
    ledger.settle(reserve(ledger), msat=3, tokens=4)
    reserve(ledger, lane="premium", msat=7)
    lanes = ledger.lanes()
    assert {name: (totals.msat, totals.reserved_msat) for name, totals in lanes.items()} == {
        "swarm": (3, 0),
        "premium": (0, 7),
    }


# -- warnings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "told"),
    [(1, [(50, 50), (80, 80)]), (30, [(50, 60), (80, 90)]), (85, [(80, 85)]), (100, [(80, 100)])],
)
def test_each_cap_warns_once_at_50_and_80_percent(step: int, told: list[tuple[int, int]]) -> None:
    heard: list[CapWarning] = []
    ledger = Ledger({RUN: Caps(msat=100), "lane swarm": Caps(calls=1000)}, on_warning=heard.append)
    while ledger.totals().msat + step <= 100:
        ledger.settle(reserve(ledger, msat=step), msat=step, tokens=0)
    assert heard == [CapWarning("run.msat", percent, used, 100) for percent, used in told]


def test_what_a_journal_warned_of_is_not_warned_of_again() -> None:
    holds = [Hold(number, "k", "swarm", "compile", "task", 10, 10) for number in range(1, 7)]
    journal = [event for hold in holds for event in (reserved(hold), settled(hold, msat=10, tokens=10))]
    heard: list[CapWarning] = []
    ledger = Ledger({RUN: Caps(msat=100)}, on_warning=heard.append)
    ledger.replay(journal)
    ledger.settle(reserve(ledger), msat=10, tokens=10)
    assert heard == []
    ledger.settle(reserve(ledger), msat=10, tokens=10)
    assert [warning.percent for warning in heard] == [80]


def test_a_warning_may_ask_the_ledger() -> None:
    seen: list[int] = []
    ledger = Ledger({RUN: Caps(msat=10)}, on_warning=lambda _told: seen.append(ledger.totals().msat))
    ledger.settle(reserve(ledger), msat=10, tokens=0)
    assert seen == [10]


# -- resuming -----------------------------------------------------------------------------------------


def test_numbers_go_on_after_the_highest_of_the_journal() -> None:
    ledger = Ledger()
    hold = Hold(41, "k", "swarm", "compile", "task", 10, 10)
    ledger.replay([reserved(hold)])
    assert ledger.open_holds() == [hold]
    assert reserve(ledger).number == 42


@pytest.mark.parametrize("twice", ["reserved", "settled"])
def test_a_journal_that_does_not_add_up_is_refused(twice: str) -> None:
    hold = Hold(7, "k", "swarm", "compile", "task", 10, 10)
    end = settled(hold, msat=10, tokens=10)
    journal = [reserved(hold), *([reserved(hold)] if twice == "reserved" else [end, end])]
    with pytest.raises(DigestMismatch, match="does not add up: hold 7 is"):
        Ledger().replay(journal)


def test_caps_may_be_raised_or_lowered_between_segments() -> None:
    hold = Hold(1, "k", "swarm", "compile", "task", 10, 10)
    journal = [reserved(hold), settled(hold, msat=10, tokens=10)]
    for cap, room in ((5, False), (10, False), (20, True)):
        ledger = Ledger({RUN: Caps(msat=cap)})
        ledger.replay(journal)
        if room:
            reserve(ledger)
        else:
            with pytest.raises(BudgetExhausted):
                reserve(ledger)


# -- threads ------------------------------------------------------------------------------------------


class Waiting(threading.Condition):
    """Tells when a thread waits, and wakes for a notification only: a lost one fails the test."""

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__(lock)
        self.waits = threading.Semaphore(0)
        self.lost = False

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.release()
        woken = super().wait(20)
        self.lost = self.lost or not woken
        return woken


class Caller(threading.Thread):
    """Reserves in a thread of its own."""

    def __init__(self, ask: Callable[[], Hold]) -> None:
        super().__init__()
        self.ask = ask
        self.hold: Hold | None = None
        self.error: BudgetExhausted | None = None
        self.start()

    def run(self) -> None:
        try:
            self.hold = self.ask()
        except BudgetExhausted as error:
            self.error = error


@pytest.fixture
def tight() -> tuple[Ledger, Waiting]:
    """A ledger with room for one call of 10 msat at a time, twice."""
    ledger = Ledger({RUN: Caps(msat=15)})
    ledger._room = waiting = Waiting(ledger._lock)
    return ledger, waiting


def test_who_waits_gets_the_room_a_settlement_leaves(tight: tuple[Ledger, Waiting]) -> None:
    ledger, waiting = tight
    first = reserve(ledger)
    caller = Caller(lambda: reserve(ledger, wait=True))
    waiting.waits.acquire()
    assert caller.hold is None
    ledger.settle(first, msat=5, tokens=0)
    caller.join()
    assert caller.hold is not None
    assert not waiting.lost


def test_those_who_waited_together_hold_what_is_their_own() -> None:
    """Two wait while one holds all; both are let in, and each settles its own."""
    ledger = Ledger({RUN: Caps(msat=20)})
    ledger._room = waiting = Waiting(ledger._lock)
    first = reserve(ledger, msat=20)
    callers = [Caller(lambda: reserve(ledger, wait=True)) for _ in range(2)]
    for _ in callers:
        waiting.waits.acquire()
    ledger.settle(first, msat=0, tokens=0)
    for caller in callers:
        caller.join()
    numbers = {caller.hold.number for caller in callers if caller.hold is not None}
    assert len(numbers) == 2
    for caller in callers:
        assert caller.hold is not None
        ledger.settle(caller.hold, msat=1, tokens=0)
    assert ledger.totals().reserved_msat == 0


def test_who_waits_gets_the_room_a_release_leaves(tight: tuple[Ledger, Waiting]) -> None:
    ledger, waiting = tight
    first = reserve(ledger)
    caller = Caller(lambda: reserve(ledger, wait=True))
    waiting.waits.acquire()
    ledger.release(first)
    caller.join()
    assert caller.hold is not None
    assert not waiting.lost


def test_who_waits_is_refused_when_the_room_is_spent(tight: tuple[Ledger, Waiting]) -> None:
    ledger, waiting = tight
    first = reserve(ledger)
    caller = Caller(lambda: reserve(ledger, wait=True))
    waiting.waits.acquire()
    ledger.settle(first, msat=10, tokens=0)
    caller.join()
    assert caller.error is not None
    assert caller.error.cap == "run.msat"
    assert not waiting.lost


def test_who_waits_is_refused_when_the_run_ends(tight: tuple[Ledger, Waiting]) -> None:
    ledger, waiting = tight
    first = reserve(ledger)
    caller = Caller(lambda: reserve(ledger, wait=True))
    waiting.waits.acquire()
    ledger.stop_waiting()
    caller.join()
    assert caller.error is not None
    assert not waiting.lost
    with pytest.raises(BudgetExhausted):
        reserve(ledger, wait=True)
    assert ledger.settle(first, msat=5, tokens=0)


def test_without_waiting_open_holds_refuse() -> None:
    ledger = Ledger({RUN: Caps(msat=15)})
    reserve(ledger)
    with pytest.raises(BudgetExhausted) as caught:
        reserve(ledger, wait=False)
    assert caught.value.cap == "run.msat"


def test_sixteen_threads_use_the_caps_up_and_never_pass_them() -> None:
    """Held against sums of its own, taken after a reservation and before a settlement: never too high."""
    caps = {
        RUN: Caps(msat=2_000, calls=400),
        "lane premium": Caps(tokens=900),
        "stage validate": Caps(msat=600),
    }
    heard: list[CapWarning] = []
    ledger = Ledger(caps, on_warning=heard.append)
    lock, barrier = threading.Lock(), threading.Barrier(16)
    used: dict[tuple[str, str], int] = {}
    passed: list[tuple[str, str]] = []

    def book(scopes: tuple[str, ...], msat: int, calls: int, tokens: int) -> None:
        with lock:
            for scope, (unit, amount) in product(
                scopes, (("msat", msat), ("calls", calls), ("tokens", tokens))
            ):
                total = used[scope, unit] = used.get((scope, unit), 0) + amount
                limit = getattr(caps.get(scope, Caps()), unit)
                if limit is not None and total > limit:
                    passed.append((scope, unit))

    def work(thread: int) -> None:
        lane, stage = LANES[thread % 2], STAGES[thread // 2 % 2]
        scopes = (RUN, f"lane {lane}", f"stage {stage}")
        barrier.wait()
        for number in range(200):
            asked = 5 + (thread + number) % 20
            try:
                hold = reserve(ledger, lane=lane, stage=stage, msat=asked, tokens=asked, wait=True)
            except BudgetExhausted:
                return
            book(scopes, asked, 1, asked)
            spent = asked * (number % 3) // 2
            book(scopes, spent - asked, 0, spent - asked)
            ledger.settle(hold, msat=spent, tokens=spent)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == []
    assert ledger.open_holds() == []
    totals = ledger.totals()
    assert (totals.reserved_msat, totals.reserved_calls, totals.reserved_tokens) == (0, 0, 0)
    for (scope, unit), amount in used.items():
        assert getattr(ledger.totals(scope), unit) == amount
    assert totals.msat > 2_000 - 25 or totals.calls == 400  # refused at the end only, not while others held
    told = [(warning.cap, warning.percent) for warning in heard]
    assert len(told) == len(set(told))
