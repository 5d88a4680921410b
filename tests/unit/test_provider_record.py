"""Providers' record: an exact sum over the receipts in journals."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.chat import ChatAnswer
from oa_compile.events import Attempt, Line, Noted
from oa_compile.money import MAX_MSAT
from oa_compile.swarm.market.record import Latencies, ProviderRecord, merge, records_of, take

ALICE, BOB = "a" * 64, "b" * 64


def attempt(outcome: Any = "ok", *, latency_ms: int = 100, fault: str = "", **receipt: Any) -> Attempt:
    return Attempt(
        hold=1,
        key="k",
        lane="swarm",
        stage="compile",
        role="task",
        outcome=outcome,
        latency_ms=latency_ms,
        fault=fault,
        answer=ChatAnswer("yes") if outcome == "ok" else None,
        receipt={"provider": ALICE, **receipt},
    )


def lines(*attempts: Attempt, start: int = 1_000) -> list[Line]:
    return [Line(v=1, seq=seq, at=start + seq, event=event) for seq, event in enumerate(attempts, 1)]


def record(*attempts: Attempt) -> ProviderRecord:
    return records_of(lines(*attempts))[ALICE]


def test_answers_count_the_unused_among_them() -> None:
    seen = record(attempt(), attempt("unused", why="hedge"), attempt("fault", fault="timeout"))
    assert (seen.answered, seen.unused, seen.failed) == (2, 1, {"timeout": 1})
    assert (seen.first_seen_ms, seen.last_seen_ms) == (1_001, 1_003)


def test_each_provider_has_a_record_of_its_own() -> None:
    seen = records_of(lines(attempt(), attempt(provider=BOB), attempt(provider=BOB)))
    assert {pubkey: one.answered for pubkey, one in seen.items()} == {ALICE: 1, BOB: 2}
    assert seen[BOB].provider == BOB


def test_money_paid_and_money_lost() -> None:
    seen = record(
        attempt(order="pay-first", price_msat=10, paid_msat=11, fee_msat=1),
        attempt("fault", fault="timeout", order="pay-first", price_msat=12, paid_msat=12, lost=True),
    )
    assert (seen.paid_msat, seen.lost_count, seen.lost_msat, seen.price_msat) == (23, 1, 12, 12)
    assert seen.failures == 1


def test_an_attempt_that_died_with_us_says_nothing_against_the_provider() -> None:
    seen = record(attempt("lost", order="pay-first", paid_msat=10), attempt("refused"))
    assert (seen.cut_off, seen.refused, seen.failures, seen.answered, seen.lost_count) == (1, 1, 0, 0, 0)
    assert seen.paid_msat == 10


def test_a_fault_of_no_known_form_is_other() -> None:
    seen = record(attempt("fault", fault="\x1b[2Jbad"), attempt("fault"), attempt("fault", fault="server"))
    assert seen.failed == {"other": 2, "server": 1}


def test_comparisons_count_only_where_there_was_an_answer() -> None:
    seen = record(
        attempt("unused", why="audit"),
        attempt("unused", why="audit", disagreed=True),
        attempt(disagreed=True),
        attempt(compared=True),
        attempt("fault", why="audit", fault="timeout"),
        attempt(),
    )
    assert (seen.compared, seen.disagreed) == (4, 2)


def test_a_tab_is_owed_until_a_settlement_pays_for_its_jobs() -> None:
    seen = record(
        attempt(order="tab", price_msat=10, job="j1"),
        attempt("unused", order="tab", price_msat=20, job="j2"),
        attempt(order="tab", price_msat=30, job="j3"),
        attempt("fault", fault="timeout", order="tab", price_msat=40, job="j4"),
        attempt("fault", why="settlement", settles=["j3"]),
        attempt(why="settlement", order="tab", price_msat=30, paid_msat=31, settles=["j1", "j2"]),
    )
    assert (seen.owed_msat, seen.owed_jobs, seen.paid_msat) == (30, ["j3"], 31)
    assert seen.answered == 3
    assert seen.failed == {"timeout": 1}
    assert seen.price_msat == 40, "the sum of a settlement is no price"


def test_a_settlement_may_stand_before_its_job_in_what_is_read() -> None:
    seen = record(
        attempt(why="settlement", paid_msat=10, settles=["j1"]), attempt(order="tab", price_msat=10, job="j1")
    )
    assert seen.owed_msat == 0


def test_the_price_is_the_latest_one_seen_and_free_is_a_price() -> None:
    assert record(attempt(price_msat=10), attempt(price_msat=8), attempt("fault")).price_msat == 8
    assert record(attempt(price_msat=10), attempt(order="free")).price_msat == 0
    assert record(attempt("fault")).price_msat is None


def test_quotes_are_counted_free_ones_too_and_a_settlement_is_none() -> None:
    seen = record(
        attempt(price_msat=10),
        attempt("fault", price_msat=900),
        attempt(order="free"),
        attempt("fault"),
        attempt(why="settlement", price_msat=10, paid_msat=10),
    )
    assert seen.quotes == 3
    assert seen.charged_msat == 10


@pytest.mark.parametrize(
    "receipt",
    [
        {},
        {"provider": 7},
        {"provider": "A" * 64},
        {"provider": "a" * 64 + "\n"},
        {"provider": ALICE, "paid_msat": -1},
        {"provider": ALICE, "paid_msat": True},
        {"provider": ALICE, "paid_msat": 1.5},
        {"provider": ALICE, "price_msat": MAX_MSAT + 1},
        {"provider": ALICE, "price_msat": 10**40},
        {"provider": ALICE, "settles": "j1"},
        {"provider": ALICE, "lost": "yes"},
        {"provider": ALICE, "why": None},
    ],
)
def test_a_receipt_that_makes_no_sense_is_passed_over(receipt: dict[str, Any]) -> None:
    broken = Attempt(
        hold=1, key="k", lane="swarm", stage="compile", role="task", outcome="ok", receipt=receipt
    )
    assert records_of(lines(broken, attempt())) == records_of(lines(attempt(), start=1_001))
    assert take({}, broken, at=1) is None


def test_what_a_later_version_adds_to_a_receipt_does_no_harm() -> None:
    assert record(attempt(colour="red", why="courtesy")).answered == 1


def test_other_events_are_no_business_of_providers() -> None:
    assert records_of([Line(v=1, seq=1, at=1, event=Noted(code="x", message="y"))]) == {}


def test_taking_one_by_one_is_the_fold() -> None:
    journal = lines(attempt(), attempt("fault", fault="server"), attempt(provider=BOB))
    records: dict[str, ProviderRecord] = {}
    for line in journal:
        assert isinstance(line.event, Attempt)
        take(records, line.event, at=line.at)
    assert records == records_of(journal)


@given(st.lists(st.integers(0, 24 * 3600 * 1000), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_at_most_five_percent_above_the_true_one(times: list[int], share: float) -> None:
    counted = Latencies()
    for time in times:
        counted.add(time)
    ranked = sorted(times)
    true = next(time for n, time in enumerate(ranked, 1) if n >= share * len(times))
    found = counted.quantile(share)
    assert found is not None
    assert true <= found <= max(true * 1.05, true + 1)


def test_latencies_stay_bounded_and_quantiles_ordered() -> None:
    counted = Latencies()
    for time in range(0, 10_000_000, 997):
        counted.add(time)
    assert len(counted.counts) < 400
    quantiles = [counted.quantile(share / 20) or 0 for share in range(21)]
    assert all(low <= high for low, high in pairwise(quantiles))
    counted.add(-5)
    counted.add(10**30)
    assert counted.quantile(1.0) is not None
    assert Latencies().quantile(0.5) is None


attempts = st.builds(
    attempt,
    st.sampled_from(["ok", "refused", "fault", "lost", "unused"]),
    latency_ms=st.integers(-10, 10**9),
    fault=st.sampled_from(["", "timeout", "server"]),
    provider=st.sampled_from([ALICE, BOB, "mallory"]),
    job=st.sampled_from(["", "j1", "j2", "j3"]),
    why=st.sampled_from(["first", "hedge", "audit", "settlement"]),
    order=st.sampled_from(["", "tab", "pay-first", "free"]),
    price_msat=st.integers(0, 50),
    paid_msat=st.integers(0, 3),
    settles=st.lists(st.sampled_from(["j1", "j2", "j3"]), max_size=2),
    lost=st.booleans(),
    disagreed=st.booleans(),
)


@given(st.lists(attempts, max_size=30), st.integers(0, 30), st.booleans())
def test_parts_merged_in_any_order_are_the_whole(made: list[Attempt], cut: int, swapped: bool) -> None:
    journal = lines(*made)
    whole = records_of(journal)
    one, two = records_of(journal[:cut]), records_of(journal[cut:])
    if swapped:
        one, two = two, one
    merge(one, two)
    assert one == whole
    for pubkey, seen in whole.items():
        assert seen.owed_msat == one[pubkey].owed_msat >= 0
        assert seen.lost_msat <= seen.paid_msat


def test_merging_leaves_the_other_record_alone() -> None:
    one: dict[str, ProviderRecord] = {}
    two = records_of(lines(attempt(order="tab", price_msat=5, job="j1"), attempt("fault", fault="server")))
    merge(one, two)
    take(one, attempt("fault", fault="server", price_msat=1), at=9_999)
    take(one, attempt(order="tab", price_msat=7, job="j2"), at=9_999)
    assert (two[ALICE].answered, two[ALICE].failed, two[ALICE].owed_msat) == (1, {"server": 1}, 5)
