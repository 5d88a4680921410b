"""How a service provider is paid: the contract of its till, and the tabs its customers run up.

Owns what is owed and the file that remembers it; makes no invoice of its own and speaks no protocol. All
of it runs on the asyncio loop of the provider.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from oa_compile.errors import StorageError, UsageError
from oa_compile.swarm.lightning.own_invoice import OwnInvoice


class Till(Protocol):
    """Makes invoices and sees them paid: the receiving half of a Lightning node. Blocks nothing."""

    async def invoice(self, msat: int, *, label: str, description: str, expiry_seconds: int) -> OwnInvoice:
        """A new invoice over `msat`. `label` is the provider's own and never used twice. Raises WalletError
        when the node cannot be asked or will not.
        """

    async def wait_paid(self, payment_hash: str, *, seconds: float) -> bool:
        """Whether the invoice is paid, waiting at most `seconds` for it. Raises WalletError."""

    async def close(self) -> None:
        """Let go of connections. Safe to call twice."""


class Owed(msgspec.Struct, frozen=True, tag_field="type", tag="owed"):
    """A job went on a customer's tab."""

    customer: str
    job: str
    msat: int


class Voided(msgspec.Struct, frozen=True, tag_field="type", tag="voided"):
    """It came off again unpaid: its result never went out."""

    customer: str
    job: str


class Billed(msgspec.Struct, frozen=True, tag_field="type", tag="billed"):
    """An invoice was made for these jobs; it can be paid until `expires_at` (Unix seconds)."""

    customer: str
    jobs: list[str]
    msat: int
    payment_hash: str
    expires_at: int


class Settled(msgspec.Struct, frozen=True, tag_field="type", tag="settled"):
    """That invoice was paid."""

    payment_hash: str


class Lapsed(msgspec.Struct, frozen=True, tag_field="type", tag="lapsed"):
    """That invoice can no longer be paid, and was not."""

    payment_hash: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Owed | Voided | Billed | Settled | Lapsed)


class NotOwed(Exception):
    """Jobs that are not on the customer's tab: never were, or settled already."""

    def __init__(self, jobs: Sequence[str]) -> None:
        super().__init__(", ".join(jobs))
        self.jobs = tuple(jobs)


class Tabs:
    """What every customer owes, job by job, in msat.

    With a `path` it is also kept in a file of JSON lines, each written before the call that causes it
    returns, so that a provider that was killed still knows what it is owed (a power cut may take the last
    lines: they are not synced, the sums are small). Raises UsageError for a file that is not such a list,
    StorageError when the disk will not take a line.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._debts: dict[str, dict[str, int]] = {}
        self._promised: Counter[str] = Counter()
        self._credit: Counter[str] = Counter()
        self._bills: dict[str, Billed] = {}
        self._path = path
        self._file = None if path is None else self._open(path)

    def owed(self, customer: str) -> int:
        """What counts against a customer's limit: jobs done and promised, less what was paid twice."""
        debts = sum(self._debts.get(customer, {}).values())
        return debts + self._promised[customer] - self._credit[customer]

    def total(self) -> int:
        """What all customers owe for jobs done."""
        return sum(sum(jobs.values()) for jobs in self._debts.values())

    def reserve(self, customer: str, msat: int, *, limit: int) -> bool:
        """Set `msat` aside for a job about to be done, unless the customer would then owe more than
        `limit`. `add` or `release` ends it.
        """
        if self.owed(customer) + msat > limit:
            return False
        self._promised[customer] += msat
        return True

    def release(self, customer: str, msat: int) -> None:
        """Give a reservation back: the job came to nothing."""
        self._promised[customer] -= msat
        if not self._promised[customer]:
            del self._promised[customer]

    def add(self, customer: str, job: str, msat: int) -> None:
        """Make a reservation a debt. A failing disk leaves it a reservation."""
        self._write(Owed(customer, job, msat))
        self.release(customer, msat)
        self._debts.setdefault(customer, {})[job] = msat

    def void(self, customer: str, job: str) -> None:
        """Take a job off the tab that the customer never got."""
        if job in self._debts.get(customer, {}):
            self._write(Voided(customer, job))
            self._remove(customer, job)

    def due(self, customer: str, jobs: Sequence[str]) -> int:
        """The sum of exactly these jobs, each counted once. Raises NotOwed, with those that are not on
        this customer's tab.
        """
        debts = self._debts.get(customer, {})
        unknown = [job for job in dict.fromkeys(jobs) if job not in debts]
        if unknown:
            raise NotOwed(unknown)
        return sum(debts[job] for job in dict.fromkeys(jobs))

    def bill(self, bill: Billed) -> None:
        """An invoice for these jobs is about to go out."""
        self._write(bill)
        self._bills[bill.payment_hash] = bill

    def bills(self) -> list[Billed]:
        """Invoices that went out and whose end is not known."""
        return list(self._bills.values())

    def end(self, payment_hash: str, *, paid: bool) -> None:
        """A bill was paid, and its jobs come off the tab; or it expired, and they stay on it. Telling it
        twice changes nothing. A failing disk may forget it for the next start, this process does not.

        Jobs that another bill has settled meanwhile were paid twice: what is too much counts in the
        customer's favour.
        """
        if payment_hash in self._bills:
            self._fold(Settled(payment_hash) if paid else Lapsed(payment_hash))
            self._write(Settled(payment_hash) if paid else Lapsed(payment_hash))

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file, self._path = None, None

    def _remove(self, customer: str, job: str) -> int:
        debts = self._debts.get(customer, {})
        msat = debts.pop(job, 0)
        if not debts:
            self._debts.pop(customer, None)
        return msat

    def _write(self, entry: Owed | Voided | Billed | Settled | Lapsed) -> None:
        if self._file is None:
            return
        line = _encoder.encode(entry) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise StorageError(f"{self._path}: the tabs cannot be kept: {error.strerror}") from error
        if written != len(line):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise StorageError(f"{self._path}: the tabs cannot be kept: the disk is full")

    def _open(self, path: Path) -> int:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):  # a line the process died in
                os.truncate(file, whole)
        except OSError as error:
            raise StorageError(f"{path}: the tabs cannot be read: {error.strerror}") from error
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                self._fold(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
                os.close(file)
                raise UsageError(
                    f"{path}:{number}: not a line of a provider's tabs: {error}",
                    hint="name another file, or move this one away and lose what it says is owed",
                ) from error
        return file

    def _fold(self, entry: Owed | Voided | Billed | Settled | Lapsed) -> None:
        match entry:
            case Owed():
                self._debts.setdefault(entry.customer, {})[entry.job] = entry.msat
            case Voided():
                self._remove(entry.customer, entry.job)
            case Billed():
                self._bills[entry.payment_hash] = entry
            case Settled():
                bill = self._bills.pop(entry.payment_hash)
                surplus = bill.msat - sum(self._remove(bill.customer, job) for job in bill.jobs)
                if surplus:
                    self._credit[bill.customer] += surplus
            case Lapsed():
                del self._bills[entry.payment_hash]
