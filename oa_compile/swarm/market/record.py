"""Providers' record: what journals say each service provider has done, and what it took.

Owns the fold over receipts. A record is an exact sum: of several journals, of parts of
one, in any order, it comes out the same. What a record means for the next job is the market's matter.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from oa_compile.events import Attempt, Line
from oa_compile.swarm.receipt import Receipt, read_receipt


def _edges() -> tuple[int, ...]:
    """Upper edges of the latency classes in ms, each about 5 % above the last, up to a day."""
    edges = [0]
    while edges[-1] < 24 * 3600 * 1000:
        edges.append(max(edges[-1] + 1, edges[-1] * 105 // 100))
    return tuple(edges)


_EDGES = _edges()


@dataclass(slots=True)
class Latencies:
    """How long answers took, counted in fixed classes: bounded, and two of them add up exactly."""

    counts: dict[int, int] = field(default_factory=dict)
    """Answers by class, a class being an index into the fixed edges."""

    def add(self, ms: int) -> None:
        """Count one answer; a negative time counts as 0, more than a day as a day."""
        index = min(bisect_left(_EDGES, ms), len(_EDGES) - 1)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: Latencies) -> None:
        """Take over `other`'s counts."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def quantile(self, share: float) -> int | None:
        """The time in ms that `share` (0 … 1) of the answers kept to, at most 5 % (or 1 ms) above the
        true one; None without answers.
        """
        total = sum(self.counts.values())
        below = 0
        for index in sorted(self.counts):
            below += self.counts[index]
            if below >= share * total:
                return _EDGES[index]
        return None


_KIND = re.compile(r"[a-z][a-z_-]{0,31}")


@dataclass(slots=True)
class ProviderRecord:
    """What one service provider (`provider`, hex pubkey) has done. Amounts in msat, times in Unix ms.

    `quotes` counts prices told, free ones among them. `answered` counts all answers, `unused` those of them
    that came second or were asked for to compare. `failed` counts faults by kind. `refused` requests and
    attempts cut off by our own death (`cut_off`) say nothing against a provider. `lost_msat` was paid for no
    answer, and is in `paid_msat` too. `price_msat` is the latest price seen, None before the first.
    """

    provider: str
    quotes: int = 0
    answered: int = 0
    unused: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    cut_off: int = 0
    lost_count: int = 0
    lost_msat: int = 0
    paid_msat: int = 0
    compared: int = 0
    disagreed: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    price_msat: int | None = None
    first_seen_ms: int | None = None
    last_seen_ms: int | None = None
    _priced_ms: int = field(default=0, repr=False)
    _tab: dict[str, int] = field(default_factory=dict, repr=False)
    _settled: set[str] = field(default_factory=set, repr=False)

    @property
    def failures(self) -> int:
        """Faults of every kind."""
        return sum(self.failed.values())

    @property
    def owed_msat(self) -> int:
        """What jobs on its tab cost that no settlement has paid for yet."""
        return sum(price for job, price in self._tab.items() if job not in self._settled)

    @property
    def charged_msat(self) -> int:
        """What it took: what was paid, fees included, and what is owed still."""
        return self.paid_msat + self.owed_msat

    @property
    def owed_jobs(self) -> list[str]:
        """Those jobs, oldest journal line first as far as one journal tells."""
        return [job for job in self._tab if job not in self._settled]

    def latency_ms(self, share: float = 0.5) -> int | None:
        """The latency that `share` of the answers kept to; None before the first."""
        return self.latencies.quantile(share)

    def _take(self, attempt: Attempt, receipt: Receipt, *, at: int) -> None:
        """Count one attempt with this provider, journaled at `at` (Unix ms)."""
        self._see(at, at)
        self.paid_msat += receipt.paid_msat
        if receipt.lost:
            self.lost_count += 1
            self.lost_msat += receipt.paid_msat
        if receipt.why == "settlement":
            if receipt.paid_msat:
                self._settled.update(receipt.settles)
            return
        if receipt.price_msat or receipt.order == "free":
            self.quotes += 1
            self._price(receipt.price_msat, at)
        if receipt.compared or receipt.disagreed or receipt.why == "audit":
            self._compare(attempt, receipt)
        match attempt.outcome:
            case "ok" | "unused":
                self._answer(attempt, receipt)
            case "fault":
                kind = attempt.fault if _KIND.fullmatch(attempt.fault) else "other"
                self.failed[kind] = self.failed.get(kind, 0) + 1
            case "refused":
                self.refused += 1
            case "lost":
                self.cut_off += 1

    def _answer(self, attempt: Attempt, receipt: Receipt) -> None:
        self.answered += 1
        self.unused += attempt.outcome == "unused"
        self.latencies.add(attempt.latency_ms)
        if receipt.order == "tab" and receipt.job and not receipt.paid_msat:
            self._owe(receipt.job, receipt.price_msat)

    def _compare(self, attempt: Attempt, receipt: Receipt) -> None:
        if attempt.outcome in {"ok", "unused"}:  # an audit that got no answer compared nothing
            self.compared += 1
            self.disagreed += receipt.disagreed

    def _owe(self, job: str, price: int) -> None:
        # Ids are unique in our own journals; what a foreign one repeats must not depend on the order.
        self._tab[job] = max(price, self._tab.get(job, 0))

    def _price(self, price: int, at: int) -> None:
        if self.price_msat is None or (at, price) > (self._priced_ms, self.price_msat):
            self._priced_ms, self.price_msat = at, price

    def _see(self, first: int, last: int) -> None:
        self.first_seen_ms = first if self.first_seen_ms is None else min(first, self.first_seen_ms)
        self.last_seen_ms = last if self.last_seen_ms is None else max(last, self.last_seen_ms)

    def merge(self, other: ProviderRecord) -> None:
        """Add what another record says of the same provider."""
        for name in (
            "quotes",
            "answered",
            "unused",
            "refused",
            "cut_off",
            "lost_count",
            "lost_msat",
            "paid_msat",
            "compared",
            "disagreed",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, count in other.failed.items():
            self.failed[kind] = self.failed.get(kind, 0) + count
        self.latencies.merge(other.latencies)
        if other.price_msat is not None:
            self._price(other.price_msat, other._priced_ms)
        if other.first_seen_ms is not None and other.last_seen_ms is not None:
            self._see(other.first_seen_ms, other.last_seen_ms)
        for job, price in other._tab.items():
            self._owe(job, price)
        self._settled |= other._settled


Records = dict[str, ProviderRecord]
"""Records by hex pubkey."""


def take(records: Records, attempt: Attempt, *, at: int) -> Receipt | None:
    """Count `attempt` (journaled at `at`, Unix ms) in `records`; returns the receipt it was counted by, None
    for an attempt of no service provider and for a receipt that makes no sense. Never raises.
    """
    receipt = read_receipt(attempt.receipt)
    if receipt is not None:
        record = records.setdefault(receipt.provider, ProviderRecord(receipt.provider))
        record._take(attempt, receipt, at=at)
    return receipt


def records_of(lines: Iterable[Line]) -> Records:
    """The records of all service providers in `lines`, of one journal or of several one after the other."""
    records: Records = {}
    for line in lines:
        if isinstance(line.event, Attempt):
            take(records, line.event, at=line.at)
    return records


def merge(records: Records, others: Mapping[str, ProviderRecord]) -> None:
    """Add `others` to `records`: the same as folding the lines of both at once."""
    for pubkey, other in others.items():
        records.setdefault(pubkey, ProviderRecord(pubkey)).merge(other)
