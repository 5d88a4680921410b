"""The market: which service provider gets the next job.

Owns the announcements, who may be asked at all, and the choice. What one provider's next job is expected to
cost is `standing`'s matter; asking it, and waiting, are the customer's.

Pure and deterministic: the same seed and the same calls make the same choices. It has no clock (times are
seconds of the caller's, never running back) and is not thread-safe: it lives on the customer's loop.

Providers that have answered compete by the expected cost of an answer. The others (newcomers, and those on
trial after failures) get a small share of the jobs: one is tried when a draw from what it may turn out to
be is cheaper than the best that is known (Thompson sampling). Half of the trials look among the cheapest,
half among all, so that a crowd of cheap keys does not shut out everybody else. Where nobody has answered
yet, newcomers get all jobs. Everything that changes with an outcome is one provider's own, so that its
place in the order is all that must be found anew: 10,000 providers cost little more than ten.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from oa_compile.money import check_msat
from oa_compile.swarm.market.choice import Choice, JobOutcome, Offer, OutcomeKind, Outlook, Row
from oa_compile.swarm.market.record import ProviderRecord
from oa_compile.swarm.market.risk import Risk
from oa_compile.swarm.market.roster import Roster
from oa_compile.swarm.market.shelf import Shelf, Shelves, serves
from oa_compile.swarm.market.standing import Pace, Standing
from oa_compile.swarm.protocol.nip89 import Handler

__all__ = ["Choice", "JobOutcome", "Market", "Offer", "OutcomeKind", "Outlook", "Row"]

_TRIED_AT_ONCE = 4
"""Of how many providers on trial the most promising is taken."""
_LOOKED_AT = 256
"""How many of those on trial are looked at for one job: where none of them may be asked, a later job's lots
find others.
"""
_RISK = "newcomers have as much at stake together as they may"
_WHOLE = 1.0 - 1e-9
"""A trial's worth of credit, in spite of floating point."""


class _Barred(NamedTuple):
    """Who must not be asked this time."""

    pubkeys: Collection[str]
    operators: Collection[str]

    def __call__(self, handler: Handler) -> bool:
        if handler.provider in self.pubkeys:
            return True
        return bool(self.operators) and (handler.operator or handler.provider) in self.operators


class Market:
    """Who gets the next job, from announcements, records and outcomes."""

    def __init__(
        self,
        *,
        bid_msat: int,
        seed: int,
        allow: frozenset[str] = frozenset(),
        records: Mapping[str, ProviderRecord] | None = None,
        network: str = "",
        choice: Choice | None = None,
    ) -> None:
        """`bid_msat` is the most a job may cost; with `allow` (hex pubkeys) nobody else is asked; `network`
        is the Lightning network of our wallet (``bitcoin``, ``regtest``), empty to take any.
        """
        self.bid_msat = check_msat(bid_msat)
        self.choice = choice or Choice()
        self._unit = max(bid_msat, 1)
        self._roster = Roster(bid_msat=bid_msat, allow=allow, network=network, most=self.choice.most_offers)
        self._records = records or {}
        self._random = random.Random(seed)
        self._standings: dict[str, Standing] = {}
        self._shelves = Shelves(salt=self._random.randbytes(16))
        self._resting: list[tuple[float, str]] = []
        self._usual = Pace()
        self._now = -math.inf
        self._risk = Risk(
            limit_msat=self.choice.risk_bids * self._unit,
            per_minute_msat=self.choice.risk_bids_per_minute * self._unit,
        )
        self._trials = 0.0
        self._wide = False

    def offer(self, handler: Handler) -> bool:
        """Take up an announcement, unless a newer one of that provider is known. Whether it may be asked."""
        pubkey, before = handler.provider, self._roster.get(handler.provider)
        if before is not None and before.created_at >= handler.created_at:
            return pubkey in self._roster.fit
        self.withdraw(pubkey)
        if self._roster.full and not self._roster.objection(handler) and not self._make_room():
            return False
        if before is not None and before.price_msat != handler.price_msat and pubkey in self._standings:
            self._standings[pubkey].charged_msat = None
        fit = self._roster.put(handler)
        if fit:
            self._place(pubkey)
        return fit

    def withdraw(self, pubkey: str) -> None:
        """The provider is not to be asked any more; what is known of it is kept."""
        self._roster.drop(pubkey)
        self._shelves.drop(pubkey)

    def _make_room(self) -> bool:
        """Forget one newcomer nobody has asked, by lot: a flood of keys must not keep out later ones."""
        shelf = self._shelves.of("").others
        for _ in range(_TRIED_AT_ONCE if len(shelf) else 0):
            pubkey = shelf.at(self._random.randrange(len(shelf)))
            if pubkey not in self._standings and pubkey not in self._records:
                self.withdraw(pubkey)
                return True
        return False

    def _standing(self, pubkey: str) -> Standing:
        """The provider's standing; one that was never asked has a passing one."""
        standing = self._standings.get(pubkey)
        if standing is not None:
            return standing
        record = self._records.get(pubkey)
        if record is None:
            return Standing(self.choice, self._unit)
        return Standing.from_record(record, choice=self.choice, bid_msat=self._unit)

    def price(self, pubkey: str) -> int:
        """What a job is expected to cost there: as announced, or as charged last if that was more; where
        neither is known as in earlier runs, and at worst the bid.
        """
        handler, standing = self._roster.fit.get(pubkey), self._standing(pubkey)
        announced = None if handler is None else handler.price_msat
        prices = [price for price in (announced, standing.charged_msat) if price is not None]
        record = self._records.get(pubkey)
        if not prices and record is not None and record.price_msat is not None:
            prices = [record.price_msat]
        return min(max(prices, default=self.bid_msat), self.bid_msat)

    def _stake(self, pubkey: str, price: int) -> int:
        """What may be paid there before the answer: nothing only where the customer holds the provider to
        answering first. Who offers a tab may ask for money first beyond it.
        """
        handler = self._roster.fit.get(pubkey)
        return price if handler is None or handler.order != "result-first" else 0

    def _cost(self, pubkey: str, standing: Standing) -> float:
        price = self.price(pubkey)
        seconds = standing.seconds(usual=self.choice.latency_seconds)
        return standing.cost(price, self._stake(pubkey, price), success=standing.success, seconds=seconds)

    def _place(self, pubkey: str) -> None:
        """Put the provider where it belongs now."""
        handler = self._roster.fit.get(pubkey)
        if handler is None:
            return
        standing = self._standing(pubkey)
        if standing.wakes > self._now:
            self._shelves.drop(pubkey)
            heapq.heappush(self._resting, (standing.wakes, pubkey))
        else:
            self._shelves.put(pubkey, handler.models, known=standing.known, cost=self._cost(pubkey, standing))

    def _turn(self, now: float) -> None:
        """Let time pass: who has rested is back."""
        self._risk.turn(now)
        self._now = max(now, self._now)
        while self._resting and self._resting[0][0] <= self._now:
            _, pubkey = heapq.heappop(self._resting)
            self._place(pubkey)

    def choose(
        self,
        *,
        now: float,
        model: str = "",
        without: Collection[str] = (),
        other_operators_than: Collection[str] = (),
        witness: bool = False,
    ) -> Offer | None:
        """The provider for one job, or None (then see `outlook`). `without` are pubkeys,
        `other_operators_than` operators as offers name them. Nothing is counted until `began`.

        A `witness` against others' answers is drawn by lot: by what they cost, a ring that undercuts
        everybody would judge itself.
        """
        self._turn(now)
        known, others = self._shelves.of(model)
        barred = _Barred(without, other_operators_than)
        if witness and (drawn := self._witness(known, others, barred)) is not None:
            return self._offer_of(drawn)
        best = next(self._free(known, barred), None)
        if best is None or self._trials >= _WHOLE:
            # Spent on the draw, not on the job: the better the best, the rarer the trials.
            self._trials = max(self._trials - 1, -1.0)
            best = self._trial(others, known, barred, best)
        if best is None:  # better a silent one than nobody: it may be the only one there is
            best = next(self._free(known, barred, silent=True), None)
        return None if best is None else self._offer_of(best)

    def _free(self, pubkeys: Iterable[str], barred: _Barred, *, silent: bool = False) -> Iterator[str]:
        """Those that may be asked now, with `silent` also those that should have been heard of by now."""
        for pubkey in pubkeys:
            if barred(self._roster.fit[pubkey]):
                continue
            standing = self._standing(pubkey)
            if self._hindrance(pubkey, standing) or (
                not silent and standing.silent(self._now, usual=self._usual)
            ):
                continue
            yield pubkey

    def _trial(self, others: Shelf, known: Shelf, barred: _Barred, best: str | None) -> str | None:
        """Somebody to try instead of `best`, if a draw says it may well be cheaper; else `best`."""
        self._wide = not self._wide
        some = self._lots(others, barred) if self._wide else []
        some = some or list(islice(self._free(islice(others, _LOOKED_AT), barred), _TRIED_AT_ONCE))
        some += self._lots(known, barred)  # what is known may be out of date
        drawn = min(((self._draw(pubkey), pubkey) for pubkey in some if pubkey != best), default=None)
        if drawn is None or (best is not None and drawn[0] >= self._cost(best, self._standing(best))):
            return best
        return drawn[1]

    def _witness(self, known: Shelf, others: Shelf, barred: _Barred) -> str | None:
        """Somebody by lot, if there is one: others have borne it out, or nobody knows it yet."""
        some = self._lots(known, barred)
        vouched = [pubkey for pubkey in some if self._standing(pubkey).vouched]
        return next(iter(vouched or self._lots(others, barred) or some), None)

    def vouched(self, pubkey: str) -> bool:
        """Whether its answers may be taken without another one beside them, but for an audit by lot."""
        return self._standing(pubkey).vouched

    def _lots(self, shelf: Shelf, barred: _Barred) -> list[str]:
        """A few of a shelf by lot, those of them that may be asked."""
        drawn = (self._random.randrange(len(shelf)) for _ in range(_TRIED_AT_ONCE if len(shelf) else 0))
        return list(self._free([shelf.at(index) for index in drawn], barred))

    def _draw(self, pubkey: str) -> float:
        """The cost of an answer of somebody who may be as good or as bad as what we know allows."""
        standing, price = self._standing(pubkey), self.price(pubkey)
        usual = self._usual.mean or self.choice.latency_seconds
        return standing.cost(
            price,
            self._stake(pubkey, price),
            success=self._random.betavariate(*standing.odds),
            seconds=standing.seconds(usual=usual) * self._random.expovariate(1.0),
        )

    def _hindrance(self, pubkey: str, standing: Standing) -> str:
        """Why an eligible provider gets no job at this moment; empty if it may."""
        stake = self._stake(pubkey, self.price(pubkey))
        hindrance = standing.hindrance(self._now, stake)
        if not hindrance and stake and not standing.trusted and not self._risk.allows(stake):
            return _RISK
        return hindrance

    def _offer_of(self, pubkey: str) -> Offer:
        handler, standing, price = self._roster.fit[pubkey], self._standing(pubkey), self.price(pubkey)
        return Offer(
            pubkey,
            handler,
            handler.operator or pubkey,
            price,
            self._stake(pubkey, price),
            standing.trusted,
            standing.hedge_after(usual=self._usual),
        )

    def began(self, pubkey: str, now: float) -> None:
        """A job was sent there."""
        self._turn(now)
        standing = self._standings.setdefault(pubkey, self._standing(pubkey))
        self._trials = min(self._trials + self.choice.newcomer_share, 1.0)
        job = standing.begin(now, self._stake(pubkey, self.price(pubkey)))
        if not job.trusted:
            self._risk.stake(job.stake_msat)
        self._place(pubkey)

    def ended(self, pubkey: str, outcome: JobOutcome, now: float) -> None:
        """That job ended. Raises ValueError when none is in flight there."""
        self._turn(now)
        standing = self._standing(pubkey)
        job = standing.end(outcome, now, usual=self._usual)
        if not job.trusted and outcome.kind not in {"lost", "disagreed"}:
            self._risk.honoured(job.stake_msat)
        if outcome.kind == "answered":
            self._usual.learn(outcome.latency_seconds)
        self._place(pubkey)

    def judged(self, pubkey: str, now: float, *, agreed: bool) -> None:
        """An answer of its that ended well was held against others' since."""
        self._turn(now)
        self._standings.setdefault(pubkey, self._standing(pubkey)).judge(agreed=agreed, now=now)
        self._place(pubkey)

    def hedge_after(self, pubkey: str) -> float:
        """Seconds after which a job there is a straggler, and another provider should be asked as well:
        what nearly all its answers keep to at its present load.
        """
        return self._standing(pubkey).hedge_after(usual=self._usual)

    def outlook(
        self,
        *,
        now: float,
        model: str = "",
        without: Collection[str] = (),
        other_operators_than: Collection[str] = (),
    ) -> Outlook:
        """Why `choose` had nobody, and whether waiting helps."""
        self._turn(now)
        barred = _Barred(without, other_operators_than)
        reasons: Counter[str] = Counter()
        waits, at = False, math.inf
        for pubkey, handler in self._roster.fit.items():
            if not serves(handler.models, model):
                reasons[f"does not serve {model}"] += 1
                continue
            if barred(handler):
                reasons["was asked already, or is run by who was"] += 1
                continue
            standing = self._standing(pubkey)
            if standing.wakes > now:
                at = min(at, standing.wakes)
                reasons["rests after failures"] += 1
                continue
            waits = waits or standing.in_flight > 0
            hindrance = self._hindrance(pubkey, standing)
            if hindrance == _RISK:
                at = min(at, self._risk.allows_at(self._stake(pubkey, self.price(pubkey))))
            reasons[hindrance or "may be asked"] += 1
        reasons.update(reason for _, reason in self._roster.unfit.values())
        told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
        return Outlook(waits, None if at == math.inf else at, told or "nobody has announced itself")

    @property
    def is_empty(self) -> bool:
        """Whether nobody has announced himself, to be asked or not."""
        return not self._roster.fit and not self._roster.unfit

    def explain(self) -> list[Row]:
        """Everybody who announced himself: those that may be asked by expected cost, then the others."""
        rows = [self._row(pubkey, handler, "") for pubkey, handler in self._roster.fit.items()]
        rows += [self._row(pubkey, handler, why) for pubkey, (handler, why) in self._roster.unfit.items()]
        return sorted(rows, key=lambda row: (row.state == "not eligible", row.cost_msat, row.provider))

    def _row(self, pubkey: str, handler: Handler, objection: str) -> Row:
        standing = self._standing(pubkey)
        return Row(
            provider=pubkey,
            name=handler.name,
            price_msat=handler.price_msat,
            state="not eligible" if objection else standing.state(self._now),
            why_not=objection or self._hindrance(pubkey, standing),
            in_flight=standing.in_flight,
            answered=standing.answered,
            success=standing.success,
            disagreement=standing.disagreement,
            latency_seconds=standing.pace.mean,
            cost_msat=self._cost(pubkey, standing),
        )
