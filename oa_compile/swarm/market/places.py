"""Where everybody stands: who has announced itself and may be asked, at what price, at what expected cost.

Owns that each provider is in its place in the order, whatever changes about it. Who is taken is the market's
matter.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Mapping

from oa_compile.swarm.market.choice import Choice
from oa_compile.swarm.market.record import ProviderRecord
from oa_compile.swarm.market.risk import Risk
from oa_compile.swarm.market.roster import Roster
from oa_compile.swarm.market.shelf import Shelves
from oa_compile.swarm.market.standing import Pace, Standing
from oa_compile.swarm.protocol.nip89 import Handler

RISKY = "newcomers have as much at stake together as they may"
"""The hindrance that passes by itself, as risk is taken minute by minute."""
_LOOKED_OVER = 4
"""Of how many newcomers one that nobody has asked is looked for, to be forgotten."""


class Places:
    """All providers of one market. Deterministic, for one loop; times are the caller's seconds."""

    def __init__(
        self,
        *,
        bid_msat: int,
        choice: Choice,
        chance: random.Random,
        allow: frozenset[str],
        records: Mapping[str, ProviderRecord],
        network: str,
    ) -> None:
        """As `Market`; `chance` is drawn from."""
        self.bid_msat = bid_msat
        self.choice = choice
        self.roster = Roster(bid_msat=bid_msat, allow=allow, network=network, most=choice.most_offers)
        self.shelves = Shelves(salt=chance.randbytes(16))
        self.usual = Pace()
        """How long an answer takes, whoever gives it."""
        self.now = -math.inf
        self._unit = max(bid_msat, 1)
        self.risk = Risk(
            limit_msat=choice.risk_bids * self._unit,
            per_minute_msat=choice.risk_bids_per_minute * self._unit,
        )
        self._chance = chance
        self._records = records
        self._standings: dict[str, Standing] = {}
        self._resting: list[tuple[float, str]] = []

    def offer(self, handler: Handler) -> bool:
        """Take up an announcement, unless a newer one of that provider is known. Whether it may be asked."""
        pubkey, before = handler.provider, self.roster.get(handler.provider)
        if before is not None and before.created_at >= handler.created_at:
            return pubkey in self.roster.fit
        self.withdraw(pubkey)
        if self.roster.full and not self.roster.objection(handler) and not self._make_room():
            return False
        if before is not None and before.price_msat != handler.price_msat and pubkey in self._standings:
            self._standings[pubkey].charged_msat = None
        fit = self.roster.put(handler)
        if fit:
            self.place(pubkey)
        return fit

    def withdraw(self, pubkey: str) -> None:
        """The provider is not to be asked any more; what is known of it is kept."""
        self.roster.drop(pubkey)
        self.shelves.drop(pubkey)

    def _make_room(self) -> bool:
        """Forget one newcomer nobody has asked, by lot: a flood of keys must not keep out later ones."""
        shelf = self.shelves.of("").others
        for _ in range(_LOOKED_OVER if len(shelf) else 0):
            pubkey = shelf.at(self._chance.randrange(len(shelf)))
            if pubkey not in self._standings and pubkey not in self._records:
                self.withdraw(pubkey)
                return True
        return False

    def standing(self, pubkey: str) -> Standing:
        """The provider's standing; one that was never asked has a passing one."""
        standing = self._standings.get(pubkey)
        if standing is not None:
            return standing
        record = self._records.get(pubkey)
        if record is None:
            return Standing(self.choice, self._unit)
        return Standing.from_record(record, choice=self.choice, bid_msat=self._unit)

    def keep(self, pubkey: str) -> Standing:
        """Its standing, to be kept from now on."""
        return self._standings.setdefault(pubkey, self.standing(pubkey))

    def price(self, pubkey: str) -> int:
        """What a job is expected to cost there: as announced, or as charged last if that was more; where
        neither is known as in earlier runs, and at worst the bid.
        """
        handler, standing = self.roster.fit.get(pubkey), self.standing(pubkey)
        announced = None if handler is None else handler.price_msat
        prices = [price for price in (announced, standing.charged_msat) if price is not None]
        record = self._records.get(pubkey)
        if not prices and record is not None and record.price_msat is not None:
            prices = [record.price_msat]
        return min(max(prices, default=self.bid_msat), self.bid_msat)

    def stake(self, pubkey: str, price: int) -> int:
        """What may be paid there before the answer: nothing only where the customer holds the provider to
        answering first. Who offers a tab may ask for money first beyond it.
        """
        handler = self.roster.fit.get(pubkey)
        return price if handler is None or handler.order != "result-first" else 0

    def cost(self, pubkey: str, standing: Standing) -> float:
        """What an answer is expected to cost there, in msat: by it providers are in order."""
        price = self.price(pubkey)
        seconds = standing.seconds(usual=self.choice.latency_seconds)
        return standing.cost(price, self.stake(pubkey, price), success=standing.success, seconds=seconds)

    def place(self, pubkey: str) -> None:
        """Put the provider where it belongs now."""
        handler = self.roster.fit.get(pubkey)
        if handler is None:
            return
        standing = self.standing(pubkey)
        if standing.wakes > self.now:
            self.shelves.drop(pubkey)
            heapq.heappush(self._resting, (standing.wakes, pubkey))
        else:
            self.shelves.put(pubkey, handler.models, known=standing.known, cost=self.cost(pubkey, standing))

    def turn(self, now: float) -> None:
        """Let time pass: who has rested is back."""
        self.risk.turn(now)
        self.now = max(now, self.now)
        while self._resting and self._resting[0][0] <= self.now:
            _, pubkey = heapq.heappop(self._resting)
            self.place(pubkey)

    def hindrance(self, pubkey: str, standing: Standing) -> str:
        """Why an eligible provider gets no job at this moment; empty if it may."""
        stake = self.stake(pubkey, self.price(pubkey))
        hindrance = standing.hindrance(self.now, stake)
        if not hindrance and stake and not standing.trusted and not self.risk.allows(stake):
            return RISKY
        return hindrance
