"""Tabs: what is owed to each service provider for answers that are not paid yet.

Owns the sums and when a tab is due; paying it is the customer's. A fold over receipts, so that a run that
is taken up again owes what it owed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from oa_compile.swarm.receipt import Receipt

MOST_JOBS = 400
"""Jobs settled together at most: their ids must fit into one event."""


@dataclass(frozen=True, slots=True)
class TabTerms:
    """When a tab is settled: at `jobs` or at `msat`, whichever comes first; `limit_msat` is the most that
    may be owed. `jobs` of 0: no tabs.
    """

    jobs: int = 0
    msat: int = 0
    limit_msat: int = 0


class Due(NamedTuple):
    """Jobs to be settled together, and their sum."""

    jobs: tuple[str, ...]
    msat: int


@dataclass(slots=True)
class _Tab:
    owed: dict[str, int] = field(default_factory=dict)
    expected: int = 0
    """Prices of jobs under way that ask for the tab."""
    settling: dict[str, int] = field(default_factory=dict)

    @property
    def at_stake(self) -> int:
        return sum(self.owed.values()) + sum(self.settling.values()) + self.expected


class Tabs:
    """All tabs of one customer. Lives on the loop."""

    def __init__(
        self,
        terms: TabTerms,
        *,
        receipts: Iterable[Receipt] = (),
        settling: Iterable[str] = (),
    ) -> None:
        """`receipts` are those of the run so far; `settling` are jobs whose settlement has not ended."""
        self._terms = terms
        self._tabs: dict[str, _Tab] = {}
        settled: set[str] = set()
        for receipt in receipts:
            if receipt.why == "settlement":
                settled.update(receipt.settles if receipt.paid_msat else ())
            elif receipt.order == "tab":
                tab = self._tabs.setdefault(receipt.provider, _Tab())
                tab.owed[receipt.job] = receipt.price_msat
        begun = set(settling)
        for tab in self._tabs.values():
            tab.owed = {job: msat for job, msat in tab.owed.items() if job not in settled}
            tab.settling = {job: tab.owed.pop(job) for job in list(tab.owed) if job in begun}

    def wanted(self, provider: str, *, price_msat: int, offers_msat: int) -> bool:
        """Whether a job of that price may go on the tab, of which the provider offers `offers_msat`."""
        if not self._terms.jobs:
            return False
        stake = self._tabs.setdefault(provider, _Tab()).at_stake
        return stake + price_msat <= min(self._terms.limit_msat, offers_msat)

    def expect(self, provider: str, price_msat: int) -> None:
        """A job that asks for the tab is under way."""
        self._tabs.setdefault(provider, _Tab()).expected += price_msat

    def expected(self, provider: str, price_msat: int) -> None:
        """That job has ended, one way or another."""
        self._tabs[provider].expected -= price_msat

    def owe(self, provider: str, *, job: str, msat: int) -> None:
        """An answer came on the tab."""
        self._tabs.setdefault(provider, _Tab()).owed[job] = msat

    def due(self, provider: str, *, at_end: bool = False) -> Due | None:
        """What to settle with the provider now, None if nothing is due or a settlement is under way. Until
        `settled` or `put_back` it is neither owed nor paid.
        """
        tab = self._tabs.get(provider)
        if tab is None or tab.settling or not tab.owed:
            return None
        msat = sum(tab.owed.values())
        if not at_end and len(tab.owed) < self._terms.jobs and msat < self._terms.msat:
            return None
        jobs = list(tab.owed)
        tab.settling = {job: tab.owed.pop(job) for job in jobs[:MOST_JOBS]}
        return Due(tuple(tab.settling), sum(tab.settling.values()))

    def settled(self, provider: str) -> None:
        """What was due is paid."""
        self._tabs[provider].settling = {}

    def put_back(self, provider: str) -> None:
        """What was due could not be paid, and is owed again."""
        tab = self._tabs[provider]
        tab.owed, tab.settling = tab.settling | tab.owed, {}

    @property
    def providers(self) -> list[str]:
        """Everybody something is owed to."""
        return [provider for provider, tab in self._tabs.items() if tab.owed or tab.settling]

    def owed_msat(self, provider: str) -> int:
        """What is owed to one provider, a settlement under way included."""
        tab = self._tabs.get(provider)
        return 0 if tab is None else sum(tab.owed.values()) + sum(tab.settling.values())
