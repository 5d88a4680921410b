"""Receipts: what is written is what is read, in records and on tabs alike."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.money import MAX_MSAT
from oa_compile.swarm.customer.tab import Tabs, TabTerms
from oa_compile.swarm.receipt import Order, Receipt, Why, read_receipt

ALICE = "a" * 64

msats = st.integers(0, MAX_MSAT)
receipts = st.builds(
    Receipt,
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.text(),
    st.sampled_from(get_args(Why)),
    order=st.sampled_from(get_args(Order)),
    price_msat=msats,
    paid_msat=msats,
    fee_msat=msats,
    settles=st.lists(st.text(min_size=1)).map(tuple),
    lost=st.booleans(),
    superseded=st.booleans(),
    compared=st.booleans(),
    disagreed=st.booleans(),
)


@given(receipts)
def test_what_is_written_is_what_is_read(receipt: Receipt) -> None:
    assert read_receipt(msgspec.json.decode(msgspec.json.encode(receipt.as_dict()))) == receipt


def test_a_receipt_of_the_first_journals_is_read() -> None:
    """As a customer wrote it from the beginning."""
    line = (
        b'{"provider":"' + ALICE.encode() + b'","job":"0f","why":"hedge","order":"result-first",'
        b'"price_msat":10,"paid_msat":11,"fee_msat":1,"payment_hash":"ab","preimage":"cd","wallet":"ledger",'
        b'"superseded":true}'
    )
    receipt = read_receipt(msgspec.json.decode(line))
    assert receipt == Receipt(
        ALICE,
        "0f",
        "hedge",
        order="result-first",
        price_msat=10,
        paid_msat=11,
        fee_msat=1,
        payment_hash="ab",
        preimage="cd",
        wallet="ledger",
        superseded=True,
    )
    assert receipt.charged_msat == 11


@pytest.mark.parametrize(
    "other", [{"id": "x", "model": "m", "provider": "openai", "usd": "0.1"}, {"id": "x"}, {}]
)
def test_another_kind_of_lane_has_no_receipt_of_a_provider(other: dict[str, str]) -> None:
    assert read_receipt(other) is None


def test_a_tab_taken_up_again_owes_what_no_settlement_has_paid() -> None:
    def answer(job: str, price: int) -> Receipt:
        return Receipt(ALICE, job, order="tab", price_msat=price)

    tabs = Tabs(
        TabTerms(jobs=10, msat=1_000, limit_msat=1_000),
        receipts=[
            answer("j1", 10),
            answer("j2", 20),
            answer("j3", 40),
            Receipt(ALICE, "s1", "settlement", price_msat=10, paid_msat=11, fee_msat=1, settles=("j1",)),
            Receipt(ALICE, "s2", "settlement", price_msat=20, settles=("j2",)),  # nothing was paid
        ],
        settling=("j3",),
    )
    assert tabs.owed_msat(ALICE) == 60
    assert tabs.due(ALICE, at_end=True) is None, "one settlement of a dead process has not ended"
    tabs.put_back(ALICE)
    due = tabs.due(ALICE, at_end=True)
    assert due is not None
    assert (sorted(due.jobs), due.msat) == (["j2", "j3"], 60)
