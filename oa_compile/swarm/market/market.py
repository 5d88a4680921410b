"""The market: which service provider gets the next job.

Owns the choice. Who may be asked, and in which order by what a job is expected to cost, is `places`' matter;
asking, and waiting, are the customer's.

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

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from oa_compile.money import check_msat
from oa_compile.swarm.market.choice import Choice, JobOutcome, Offer, OutcomeKind, Outlook, Row
from oa_compile.swarm.market.places import RISKY, Places
from oa_compile.swarm.market.record import ProviderRecord
from oa_compile.swarm.market.shelf import Shelf, serves
from oa_compile.swarm.protocol.nip89 import Handler

__all__ = ["Choice", "JobOutcome", "Market", "Offer", "OutcomeKind", "Outlook", "Row"]

_TRIED_AT_ONCE = 4
"""Of how many providers on trial the most promising is taken."""
_LOOKED_AT = 256
"""How many of those on trial are looked at for one job: where none of them may be asked, a later job's lots
find others.
"""
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
        self.choice = choice or Choice()
        self._chance = random.Random(seed)
        self._places = Places(
            bid_msat=check_msat(bid_msat),
            choice=self.choice,
            chance=self._chance,
            allow=allow,
            records=records or {},
            network=network,
        )
        self._trials = 0.0
        self._wide = False

    def offer(self, handler: Handler) -> bool:
        """Take up an announcement, unless a newer one of that provider is known. Whether it may be asked."""
        return self._places.offer(handler)

    def withdraw(self, pubkey: str) -> None:
        """The provider is not to be asked any more; what is known of it is kept."""
        self._places.withdraw(pubkey)

    def price(self, pubkey: str) -> int:
        """What a job is expected to cost there, in msat."""
        return self._places.price(pubkey)

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
        self._places.turn(now)
        known, others = self._places.shelves.of(model)
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
            if barred(self._places.roster.fit[pubkey]):
                continue
            standing = self._places.standing(pubkey)
            if self._places.hindrance(pubkey, standing) or (
                not silent and standing.silent(self._places.now, usual=self._places.usual)
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
        if drawn is None:
            return best
        if best is not None and drawn[0] >= self._places.cost(best, self._places.standing(best)):
            return best
        return drawn[1]

    def _witness(self, known: Shelf, others: Shelf, barred: _Barred) -> str | None:
        """Somebody by lot, if there is one: others have borne it out, or nobody knows it yet."""
        some = self._lots(known, barred)
        vouched = [pubkey for pubkey in some if self._places.standing(pubkey).vouched]
        return next(iter(vouched or self._lots(others, barred) or some), None)

    def vouched(self, pubkey: str) -> bool:
        """Whether its answers may be taken without another one beside them, but for an audit by lot."""
        return self._places.standing(pubkey).vouched

    def _lots(self, shelf: Shelf, barred: _Barred) -> list[str]:
        """A few of a shelf by lot, those of them that may be asked."""
        drawn = (self._chance.randrange(len(shelf)) for _ in range(_TRIED_AT_ONCE if len(shelf) else 0))
        return list(self._free([shelf.at(index) for index in drawn], barred))

    def _draw(self, pubkey: str) -> float:
        """The cost of an answer of somebody who may be as good or as bad as what we know allows."""
        standing, price = self._places.standing(pubkey), self._places.price(pubkey)
        usual = self._places.usual.mean or self.choice.latency_seconds
        return standing.cost(
            price,
            self._places.stake(pubkey, price),
            success=self._chance.betavariate(*standing.odds),
            seconds=standing.seconds(usual=usual) * self._chance.expovariate(1.0),
        )

    def _offer_of(self, pubkey: str) -> Offer:
        places = self._places
        handler, standing, price = places.roster.fit[pubkey], places.standing(pubkey), places.price(pubkey)
        return Offer(
            pubkey,
            handler,
            handler.operator or pubkey,
            price,
            places.stake(pubkey, price),
            standing.trusted,
            standing.hedge_after(usual=places.usual),
        )

    def began(self, pubkey: str, now: float) -> None:
        """A job was sent there."""
        self._places.turn(now)
        standing = self._places.keep(pubkey)
        self._trials = min(self._trials + self.choice.newcomer_share, 1.0)
        job = standing.begin(now, self._places.stake(pubkey, self._places.price(pubkey)))
        if not job.trusted:
            self._places.risk.stake(job.stake_msat)
        self._places.place(pubkey)

    def ended(self, pubkey: str, outcome: JobOutcome, now: float) -> None:
        """That job ended. Raises ValueError when none is in flight there."""
        self._places.turn(now)
        standing = self._places.standing(pubkey)
        job = standing.end(outcome, now, usual=self._places.usual)
        if not job.trusted and outcome.kind not in {"lost", "disagreed"}:
            self._places.risk.honoured(job.stake_msat)
        if outcome.kind == "answered":
            self._places.usual.learn(outcome.latency_seconds)
        self._places.place(pubkey)

    def judged(self, pubkey: str, now: float, *, agreed: bool) -> None:
        """An answer of its that ended well was held against others' since."""
        self._places.turn(now)
        self._places.keep(pubkey).judge(agreed=agreed, now=now)
        self._places.place(pubkey)

    def hedge_after(self, pubkey: str) -> float:
        """Seconds after which a job there is a straggler, and another provider should be asked as well:
        what nearly all its answers keep to at its present load.
        """
        return self._places.standing(pubkey).hedge_after(usual=self._places.usual)

    def outlook(
        self,
        *,
        now: float,
        model: str = "",
        without: Collection[str] = (),
        other_operators_than: Collection[str] = (),
    ) -> Outlook:
        """Why `choose` had nobody, and whether waiting helps."""
        self._places.turn(now)
        barred = _Barred(without, other_operators_than)
        reasons: Counter[str] = Counter()
        waits, at = False, math.inf
        for pubkey, handler in self._places.roster.fit.items():
            if not serves(handler.models, model):
                reasons[f"does not serve {model}"] += 1
                continue
            if barred(handler):
                reasons["was asked already, or is run by who was"] += 1
                continue
            standing = self._places.standing(pubkey)
            if standing.wakes > now:
                at = min(at, standing.wakes)
                reasons["rests after failures"] += 1
                continue
            waits = waits or standing.in_flight > 0
            hindrance = self._places.hindrance(pubkey, standing)
            if hindrance == RISKY:
                stake = self._places.stake(pubkey, self._places.price(pubkey))
                at = min(at, self._places.risk.allows_at(stake))
            reasons[hindrance or "may be asked"] += 1
        reasons.update(reason for _, reason in self._places.roster.unfit.values())
        told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
        return Outlook(waits, None if at == math.inf else at, told or "nobody has announced itself")

    @property
    def is_empty(self) -> bool:
        """Whether nobody has announced himself, to be asked or not."""
        return not self._places.roster.fit and not self._places.roster.unfit

    def explain(self) -> list[Row]:
        """Everybody who announced himself: those that may be asked by expected cost, then the others."""
        roster = self._places.roster
        rows = [self._row(pubkey, handler, "") for pubkey, handler in roster.fit.items()]
        rows += [self._row(pubkey, handler, why) for pubkey, (handler, why) in roster.unfit.items()]
        return sorted(rows, key=lambda row: (row.state == "not eligible", row.cost_msat, row.provider))

    def _row(self, pubkey: str, handler: Handler, objection: str) -> Row:
        standing = self._places.standing(pubkey)
        return Row(
            provider=pubkey,
            name=handler.name,
            price_msat=handler.price_msat,
            state="not eligible" if objection else standing.state(self._places.now),
            why_not=objection or self._places.hindrance(pubkey, standing),
            in_flight=standing.in_flight,
            answered=standing.answered,
            success=standing.success,
            disagreement=standing.disagreement,
            latency_seconds=standing.pace.mean,
            cost_msat=self._places.cost(pubkey, standing),
        )
