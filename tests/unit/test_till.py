"""Tabs: what adds up, what a new process knows, what a file must be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import StorageError, UsageError
from oa_compile.swarm.provider.till import Billed, NotOwed, Tabs

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "void", "bill", "paid", "lapsed", "reopen"]), st.integers(0, 7)),
    max_size=40,
)


@given(operations=OPERATIONS)
def test_tabs_add_up_and_a_new_life_knows_the_same(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int]]
) -> None:
    """Whatever happens: what is owed is what was added less what was settled, never settled twice."""
    path = tmp_path_factory.mktemp("tabs") / "tabs.jsonl"
    tabs, owed, bills, paid, added = Tabs(path), {}, {}, 0, 0
    for number, (operation, pick) in enumerate(operations):
        job, hash_ = f"job{pick}", f"hash{pick}"
        if operation == "add" and job not in owed:
            assert tabs.reserve("c", pick + 1, limit=10**6)
            tabs.add("c", job, pick + 1)
            owed[job] = pick + 1
            added += pick + 1
        elif operation == "void" and job in owed:
            tabs.void("c", job)
            added -= owed.pop(job)
        elif operation == "bill" and owed and hash_ not in bills:
            jobs = sorted(owed)[: 1 + number % 3]
            bills[hash_] = jobs
            tabs.bill(Billed("c", jobs, tabs.due("c", jobs), hash_, 0))
        elif operation in {"paid", "lapsed"}:
            for _ in range(2):  # telling it twice changes nothing
                tabs.end(hash_, paid=operation == "paid")
            jobs = bills.pop(hash_, [])
            if operation == "paid" and jobs:
                paid += sum(int(one[3:]) + 1 for one in jobs)
                owed = {one: msat for one, msat in owed.items() if one not in jobs}
        elif operation == "reopen":
            tabs.close()
            tabs = Tabs(path)
        assert tabs.total() == sum(owed.values())
        assert tabs.owed("c") == added - paid  # what was paid twice counts for the customer
        assert {bill.payment_hash for bill in tabs.bills()} == set(bills)
        with pytest.raises(NotOwed):
            tabs.due("c", ["unknown"])
        assert tabs.due("c", list(owed)) == sum(owed.values())
    tabs.close()


def test_what_was_paid_twice_counts_for_the_customer(tmp_path: Path) -> None:
    tabs = Tabs(tmp_path / "tabs.jsonl")
    for job, msat in (("one", 10), ("two", 5)):
        assert tabs.reserve("c", msat, limit=15)
        tabs.add("c", job, msat)
    tabs.bill(Billed("c", ["one", "two"], 15, "first", 0))
    tabs.bill(Billed("c", ["one"], 10, "second", 0))
    for hash_ in ("first", "second"):
        tabs.end(hash_, paid=True)
    tabs.close()
    for life in (tabs, Tabs(tmp_path / "tabs.jsonl")):
        assert (life.total(), life.owed("c")) == (0, -10)


def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tabs.jsonl"
    path.write_text(json.dumps({"type": "owed", "customer": "c", "job": "j", "msat": 1}) + "\nhello\n")
    with pytest.raises(UsageError, match=r"tabs\.jsonl:2"):
        Tabs(path)
    with pytest.raises(StorageError):
        Tabs(tmp_path)


def test_a_customers_promises_count_until_they_are_given_back() -> None:
    tabs = Tabs()
    assert tabs.reserve("c", 10, limit=15)
    assert not tabs.reserve("c", 10, limit=15)
    assert tabs.reserve("d", 10, limit=15)
    tabs.release("c", 10)
    assert tabs.reserve("c", 10, limit=15)


def test_a_line_the_disk_took_half_of_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tabs.jsonl"
    tabs = Tabs(path)
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: whole(file, data[:10]))
        assert tabs.reserve("c", 1, limit=9)
        with pytest.raises(StorageError, match="full"):
            tabs.add("c", "half", 1)
    tabs.release("c", 1)
    assert tabs.reserve("c", 2, limit=9)
    tabs.add("c", "whole", 2)
    tabs.close()
    assert Tabs(path).total() == tabs.total() == 2
