"""The embedded ledger's book: money only moves, invoices are paid once, and a restart changes nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from oa_compile.errors import DigestMismatch, StorageError, UsageError
from oa_compile.swarm.lightning import bolt11
from oa_compile.swarm.lightning.ledger_book import Bill, Code, LedgerRefusal, Pay
from oa_compile.swarm.lightning.ledger_node import FILE_NAME, Ledger

FUNDS = 10_000


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def opened(folder: Path, **settings: Any) -> Iterator[Ledger]:
    ledger = Ledger(folder, {"alice": FUNDS, "bob": 0, "carol": 500}, **settings)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path, clock=Clock()) as ledger:
        yield ledger


def bill(ledger: Ledger, msat: int | None = 100, node: str = "bob", **other: Any) -> Bill:
    label = other.pop("label", str(len(ledger.nodes[node].bills)))
    return ledger.invoice(node, msat, label=label, description="a job", **other)


def refused(do: Callable[[], object]) -> Code:
    with pytest.raises(LedgerRefusal) as caught:
        do()
    return caught.value.code


def balances(ledger: Ledger) -> dict[str, int]:
    return {name: node.balance_msat for name, node in ledger.nodes.items()}


def told(ledger: Ledger) -> dict[str, Any]:
    """All a ledger knows, in comparable form."""

    def pay(one: Pay) -> tuple[Any, ...]:
        return one.sent, one.bill.issued, one.created_index, one.status, one.ended_at

    def owed(one: Bill) -> tuple[Any, ...]:
        return one.issued, one.created_index, one.pay_index, one.received_msat, one.paid_at

    return {
        name: (
            node.key.id,
            node.balance_msat,
            {hash_: owed(one) for hash_, one in node.bills.items()},
            {label: one.issued.payment_hash for label, one in node.labels.items()},
            [one.issued.payment_hash for one in node.paid],
            {hash_: [pay(one) for one in tries] for hash_, tries in node.pays.items() if tries},
            node.attempts,
        )
        for name, node in ledger.nodes.items()
    } | {"fees": ledger.fees_msat, "total": ledger.total_msat}


def test_an_invoice_is_a_real_one(ledger: Ledger) -> None:
    issued = bill(ledger, 100, expiry_seconds=60).issued
    invoice = bolt11.decode(issued.bolt11)
    assert invoice.payee == ledger.nodes["bob"].key.id
    assert (invoice.amount_msat, invoice.network, invoice.expires_at) == (100, "regtest", issued.expires_at)
    assert hashlib.sha256(bytes.fromhex(issued.preimage)).hexdigest() == invoice.payment_hash
    assert invoice.payment_secret == issued.payment_secret


def test_a_payment_moves_money_and_gives_the_preimage(ledger: Ledger) -> None:
    one = bill(ledger)
    pay = ledger.pay("alice", one.issued.bolt11)
    assert (pay.status, pay.total_msat, pay.bill.issued.preimage) == ("complete", 100, one.issued.preimage)
    assert balances(ledger) == {"alice": FUNDS - 100, "bob": 100, "carol": 500}
    assert (one.pay_index, one.received_msat, one.paid_at) == (1, 100, 1_800_000_000)


def test_a_fee_leaves_the_book_and_is_bounded(ledger: Ledger) -> None:
    ledger.fee_msat = 3
    one = bill(ledger)
    total = ledger.total_msat
    assert refused(lambda: ledger.pay("alice", one.issued.bolt11, max_fee_msat=2)) == Code.ROUTE_NOT_FOUND
    assert ledger.pay("alice", one.issued.bolt11, max_fee_msat=3).total_msat == 103
    assert (balances(ledger)["alice"], balances(ledger)["bob"], ledger.fees_msat) == (FUNDS - 103, 100, 3)
    assert ledger.total_msat == total


def test_an_invoice_is_paid_once_whoever_pays(ledger: Ledger) -> None:
    text = bill(ledger).issued.bolt11
    ledger.pay("alice", text)
    assert refused(lambda: ledger.pay("alice", text)) == Code.ALREADY_PAID
    assert refused(lambda: ledger.pay("alice", text.upper())) == Code.ALREADY_PAID
    assert refused(lambda: ledger.pay("carol", text)) == Code.DESTINATION_FAILED
    assert balances(ledger) == {"alice": FUNDS - 100, "bob": 100, "carol": 500}


def test_what_cannot_be_paid_is_refused_in_lightningds_words(ledger: Ledger, tmp_path: Path) -> None:
    assert refused(lambda: ledger.pay("alice", "lnbcrt1nonsense")) == Code.INVALID_PARAMS
    assert refused(lambda: ledger.pay("carol", bill(ledger, 501).issued.bolt11)) == Code.ROUTE_NOT_FOUND
    assert refused(lambda: ledger.pay("alice", bill(ledger, None).issued.bolt11)) == Code.INVALID_PARAMS
    priced = bill(ledger).issued.bolt11
    assert refused(lambda: ledger.pay("alice", priced, amount_msat=1)) == Code.INVALID_PARAMS
    with opened(tmp_path / "else", clock=Clock()) as other:
        assert refused(lambda: ledger.pay("alice", bill(other).issued.bolt11)) == Code.ROUTE_NOT_FOUND
    with opened(tmp_path / "main", clock=Clock(), network="bitcoin") as other:
        assert refused(lambda: ledger.pay("alice", bill(other).issued.bolt11)) == Code.INVALID_PARAMS
    key, known = ledger.nodes["bob"].key, bill(ledger).issued
    forged = bolt11.encode(
        key,
        payment_hash=known.payment_hash,
        payment_secret="00" * 32,
        amount_msat=1,
        network="regtest",
        created_at=known.created_at,
    )
    assert refused(lambda: ledger.pay("alice", forged.bolt11)) == Code.DESTINATION_FAILED
    assert balances(ledger) == {"alice": FUNDS, "bob": 0, "carol": 500}


def test_an_invoice_without_an_amount_takes_the_payers(ledger: Ledger) -> None:
    assert ledger.pay("alice", bill(ledger, None).issued.bolt11, amount_msat=77).total_msat == 77
    assert balances(ledger)["bob"] == 77


def test_an_expired_invoice_is_refused(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as ledger:
        text = bill(ledger, expiry_seconds=60).issued.bolt11
        clock.now += 60
        last = bill(ledger, expiry_seconds=0).issued.bolt11
        ledger.pay("alice", last)
        clock.now += 1
        assert refused(lambda: ledger.pay("alice", text)) == Code.INVOICE_EXPIRED


def test_labels_and_preimages_are_used_once(ledger: Ledger) -> None:
    bill(ledger, label="a", preimage="11" * 32)
    assert refused(lambda: bill(ledger, label="a")) == Code.LABEL_EXISTS
    assert refused(lambda: bill(ledger, label="b", preimage="11" * 32)) == Code.PREIMAGE_EXISTS
    assert refused(lambda: bill(ledger, node="carol", label="a", preimage="11" * 32)) == Code.PREIMAGE_EXISTS
    bill(ledger, node="carol", label="a")
    assert refused(lambda: bill(ledger, 0, label="c")) == Code.INVALID_PARAMS
    assert refused(lambda: ledger.invoice("bob", 1, label="d", description="x" * 640)) == Code.INVALID_PARAMS


@pytest.mark.parametrize("settle", [True, False])
def test_a_frozen_payee_holds_the_money(tmp_path: Path, settle: bool) -> None:
    with opened(tmp_path) as ledger:
        ledger.frozen.add("bob")
        text = bill(ledger).issued.bolt11
        assert ledger.pay("alice", text).status == "pending"
        assert balances(ledger) == {"alice": FUNDS - 100, "bob": 0, "carol": 500}
        assert refused(lambda: ledger.pay("alice", text)) == Code.PAY_IN_PROGRESS
        assert refused(lambda: ledger.pay("carol", text)) == Code.DESTINATION_FAILED
    with opened(tmp_path) as ledger:  # what is held survives, the freeze does not
        heard: list[tuple[str, str]] = []
        ledger.listen(lambda payee, hash_: heard.append((payee, hash_)))
        (pay,) = (pay for tries in ledger.nodes["alice"].pays.values() for pay in tries)
        ledger.thaw("bob", settle=settle)
        assert pay.status == ("complete" if settle else "failed")
        assert balances(ledger)["bob"] == (100 if settle else 0)
        assert heard == [("bob", pay.sent.payment_hash)]
        if not settle:
            assert ledger.pay("alice", text).status == "complete"


def test_balances_come_from_the_log_and_new_nodes_from_the_arguments(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        ledger.pay("alice", bill(ledger).issued.bolt11)
        ids = {name: node.key.id for name, node in ledger.nodes.items()}
    again = Ledger(tmp_path, {"alice": 5, "dave": 7}, network="bitcoin")
    assert balances(again) == {"alice": FUNDS - 100, "bob": 100, "carol": 500, "dave": 7}
    assert {name: again.nodes[name].key.id for name in ids} == ids
    assert again.network == "regtest"
    again.close()


def test_a_torn_last_line_never_happened(tmp_path: Path) -> None:
    """Killed at any byte of the log, the ledger opens with the books of the last whole line."""
    with opened(tmp_path) as ledger:
        ledger.fee_msat = 2
        states = {}
        for msat in (10, 20):
            one = bill(ledger, msat)
            states[ledger._log.size] = told(ledger)
            ledger.pay("alice", one.issued.bolt11)
            states[ledger._log.size] = told(ledger)
    raw = (tmp_path / FILE_NAME).read_bytes()
    starts = [0, *(at + 1 for at, byte in enumerate(raw) if byte == 10)]
    for cut in range(min(states), len(raw) + 1, 7):
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / FILE_NAME).write_bytes(raw[:cut])
        whole = max(start for start in starts if start <= cut)
        with opened(copy) as again:
            assert told(again) == states[whole]
            again.pay("alice", bill(again, 5).issued.bolt11)
            assert again.total_msat == FUNDS + 500
        with opened(copy) as again:
            assert again.nodes["bob"].paid[-1].received_msat == 5
        shutil.rmtree(copy)


@pytest.mark.parametrize("damage", ["nonsense\n", '{"did":"began","version":9,"network":"regtest"}\n'])
def test_a_damaged_log_is_refused_with_its_line(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path):
        pass
    path = tmp_path / FILE_NAME
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], damage, *lines[1:]]))
    with pytest.raises(DigestMismatch, match=r"ledger\.jsonl:2"):
        Ledger(tmp_path, {})
    path.write_text("".join(lines))
    with opened(tmp_path):  # the refusal let go of the lock
        pass


def test_a_payment_of_nobodys_invoice_in_the_log_is_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        ledger.pay("alice", bill(ledger).issued.bolt11)
    path = tmp_path / FILE_NAME
    kept = [line for line in path.read_text().splitlines(keepends=True) if '"issued"' not in line]
    path.write_text("".join(kept))
    with pytest.raises(DigestMismatch, match="not a line"):
        Ledger(tmp_path, {})


def test_one_process_keeps_a_ledger_and_its_log_is_private(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(UsageError, match="another process"):
        Ledger(tmp_path, {})
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", "../up", "a/b", "Alice", "a" * 33, "-a"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Ledger(tmp_path, {name: 1})


@pytest.mark.parametrize("fails", ["short", "error"])
def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    with opened(tmp_path) as ledger:
        one = bill(ledger)
        before = told(ledger)
        write = os.write

        def full(fd: int, data: bytes) -> int:
            if fails == "error":
                raise OSError(28, "No space left on device")
            return write(fd, data[:10])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageError):
            ledger.pay("alice", one.issued.bolt11)
        monkeypatch.undo()
        assert told(ledger) == before
        ledger.pay("alice", one.issued.bolt11)
        after = told(ledger)
    with opened(tmp_path) as ledger:
        assert told(ledger) == after


LIMITS = st.none() | st.integers(0, 50)


class Conservation(RuleBasedStateMachine):
    """Whatever is done, in whatever order, with restarts in between: no msat is made or lost."""

    texts = Bundle("texts")
    nodes = st.sampled_from(["alice", "bob", "carol"])

    @initialize()
    def begin(self) -> None:

        self.folder = Path(tempfile.mkdtemp(prefix="oac-ledger-"))
        self.clock = Clock()
        self.ledger = self.open()
        self.paid: set[str] = set()

    def open(self) -> Ledger:
        return Ledger(self.folder, {"alice": FUNDS, "bob": 0, "carol": 500}, clock=self.clock)

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    @rule(target=texts, node=nodes, msat=st.integers(1, FUNDS) | st.none(), expiry=st.integers(0, 100))
    def invoice(self, node: str, msat: int | None, expiry: int) -> str:
        return bill(self.ledger, msat, node, expiry_seconds=expiry).issued.bolt11

    @rule(
        text=texts, node=nodes, fee=st.integers(0, 50), most=st.none() | st.integers(0, 50), own=st.booleans()
    )
    def pay(self, text: str, node: str, fee: int, most: int | None, own: bool) -> None:
        self.ledger.fee_msat = fee
        before = balances(self.ledger)
        try:
            pay = self.ledger.pay(node, text, max_fee_msat=most, amount_msat=40 if own else None)
        except LedgerRefusal:
            assert balances(self.ledger) == before
            return
        hash_ = pay.sent.payment_hash
        assert hash_ not in self.paid
        if pay.status == "complete":
            self.paid.add(hash_)
        assert most is None or pay.sent.fee_msat <= most

    @rule(node=nodes)
    def freeze(self, node: str) -> None:
        self.ledger.frozen.add(node)

    @rule(node=nodes, settle=st.booleans())
    def thaw(self, node: str, settle: bool) -> None:
        held = {
            hash_
            for payer in self.ledger.nodes.values()
            for hash_, tries in payer.pays.items()
            if tries and tries[-1].status == "pending" and tries[-1].bill.issued.node == node
        }
        self.ledger.thaw(node, settle=settle)
        if settle:
            assert not held & self.paid
            self.paid |= held

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @precondition(lambda self: hasattr(self, "ledger"))
    @rule()
    def restart(self) -> None:
        before = told(self.ledger)
        self.ledger.close()
        self.ledger = self.open()
        assert told(self.ledger) == before

    @invariant()
    def money_is_conserved(self) -> None:
        if hasattr(self, "ledger"):
            assert self.ledger.total_msat == FUNDS + 500
            assert min(balances(self.ledger).values()) >= 0
            bills = [one for node in self.ledger.nodes.values() for one in node.bills.values()]
            assert {one.issued.payment_hash for one in bills if one.pay_index} == self.paid


TestConservation = Conservation.TestCase
TestConservation.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
