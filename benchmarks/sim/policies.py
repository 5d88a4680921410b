"""The policies that are compared: settings of the real market and terms, and two markets without a memory.

A policy differs from `market`, which is what a config gets that says nothing, by what its line says.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.sim.world import BID, NETWORK
from oa_compile.swarm.customer.tab import TabTerms
from oa_compile.swarm.market.choice import Choice, JobOutcome, Offer, Outlook
from oa_compile.swarm.market.market import Market
from oa_compile.swarm.protocol.nip89 import Handler

Orders = frozenset[str]
_RESULT_FIRST: Orders = frozenset({"result-first", "tab"})
_PAY_FIRST: Orders = frozenset({"pay-first"})
_NO_LIMITS = {"newcomer_jobs": 64, "newcomer_bids": 1e9, "risk_bids": 1e9, "newcomer_share": 1.0}


@dataclass(frozen=True, slots=True)
class Policy:
    """How a customer chooses and asks. `orders`: only providers that announce one of these are known."""

    name: str
    about: str
    market: str = "market"
    terms: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)
    tab: TabTerms | None = None
    orders: Orders | None = None

    def build(self, seed: int) -> Market:
        """The market of a new run."""
        choice = Choice(**self.choice)
        if self.market == "market":
            made = Market(bid_msat=BID, seed=seed, network=NETWORK, choice=choice)
        else:
            made = Forgetful(seed=seed, choice=choice, at_random=self.market == "random")
        if self.orders is not None:
            _only(made, self.orders)
        return made


def _only(market: Market, orders: Orders) -> None:
    """Let the market take up no other announcements."""
    take_up = market.offer

    def offer(handler: Handler) -> bool:
        return handler.order in orders and take_up(handler)

    market.offer = offer  # type: ignore[method-assign]


class Forgetful(Market):
    """The cheapest provider, or anyone: what others do is never learned from."""

    def __init__(self, *, seed: int, choice: Choice, at_random: bool) -> None:
        super().__init__(bid_msat=BID, seed=seed, network=NETWORK, choice=choice)
        self._lot = random.Random(seed)
        self._at_random = at_random
        self._known: dict[str, Handler] = {}
        self._order: list[tuple[int, float, str]] = []

    def offer(self, handler: Handler) -> bool:
        price = handler.price_msat
        if handler.provider in self._known or price is None or price > BID:
            return False
        self._known[handler.provider] = handler
        insort(self._order, (price, self._lot.random(), handler.provider))
        return True

    def choose(
        self,
        *,
        now: float,
        model: str = "",
        without: Collection[str] = (),
        other_operators_than: Collection[str] = (),
        witness: bool = False,
    ) -> Offer | None:
        barred = {*without, *other_operators_than}
        for number in range(len(self._order)):
            place = self._lot.randrange(len(self._order)) if self._at_random else number
            price, _, pubkey = self._order[place]
            if pubkey not in barred:
                return Offer(
                    pubkey, self._known[pubkey], pubkey, price, price, True, self.hedge_after(pubkey)
                )
        return None

    def outlook(self, **_asked: Any) -> Outlook:
        return Outlook(False, None, "everybody was asked")

    def began(self, pubkey: str, now: float) -> None:
        pass

    def ended(self, pubkey: str, outcome: JobOutcome, now: float) -> None:
        pass

    def judged(self, pubkey: str, now: float, *, agreed: bool) -> None:
        pass

    def vouched(self, pubkey: str) -> bool:
        return True

    def hedge_after(self, pubkey: str) -> float:
        return self.choice.hedge_ceiling_seconds

    @property
    def is_empty(self) -> bool:
        return not self._order


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("cheapest", "by the announced price alone", market="cheapest"),
        Policy("random", "anybody", market="random"),
        Policy("market", "our market, as a config gets it that says nothing"),
        Policy("no-hedge", "nobody is asked beside a straggler", terms={"hedge_after": 0.0}),
        Policy("audit-5", "5 % of the calls are audited", terms={"audit": 0.05}),
        Policy("audit-20", "20 % of the calls are audited", terms={"audit": 0.2}),
        Policy(
            "tabs", "a tab of 10 jobs or 50 msat", tab=TabTerms(jobs=10, msat=5 * BID, limit_msat=10 * BID)
        ),
        Policy("result-first", "only who announces to answer first", orders=_RESULT_FIRST),
        Policy("pay-first", "only who announces to be paid first", orders=_PAY_FIRST),
        Policy("no-limits", "newcomers are trusted like everybody", choice=_NO_LIMITS),
        Policy(
            "no-limits-pay", "the same among pay-first providers only", choice=_NO_LIMITS, orders=_PAY_FIRST
        ),
    )
}
