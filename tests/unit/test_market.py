"""The market: who gets the next job, and how little liars, thieves and the dead get out of it."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.swarm.market.market import Choice, JobOutcome, Market, OutcomeKind
from oa_compile.swarm.market.record import ProviderRecord
from oa_compile.swarm.protocol.nip89 import Handler

BID = 10


def key(name: str) -> str:
    """A pubkey that starts with its name in hex."""
    return name.encode().hex().ljust(64, "0")


def handler(name: str, **says: Any) -> Handler:
    says = {"price_msat": 5, "order": "result-first", **says}
    return Handler(key(name), name=name, **says)


@dataclass(frozen=True)
class Actor:
    """A provider in the simulation: its announcement, and how a job begun at a time ends."""

    handler: Handler
    does: Callable[[float], tuple[OutcomeKind, float]]


def steady(name: str, seconds: float = 1.0, kind: OutcomeKind = "answered", **says: Any) -> Actor:
    return Actor(handler(name, **says), lambda _now: (kind, seconds))


@dataclass
class World:
    """Jobs one after the other, or several in flight, in virtual time."""

    market: Market
    actors: list[Actor]
    now: float = 0.0
    got: list[str] = field(default_factory=list)
    """Names of the providers, job by job."""
    ends: list[tuple[float, OutcomeKind]] = field(default_factory=list)
    lost_msat: int = 0

    def __post_init__(self) -> None:
        for actor in self.actors:
            self.market.offer(actor.handler)
        self._by_key = {actor.handler.provider: actor for actor in self.actors}
        self._flying: list[tuple[float, int, str, OutcomeKind, float, int]] = []

    def join(self, actor: Actor) -> None:
        self._by_key[actor.handler.provider] = actor
        self.market.offer(actor.handler)

    def run(self, jobs: int, *, in_flight: int = 1, gap: float = 0.0) -> World:
        for _ in range(jobs):
            while True:
                offer = self.market.choose(now=self.now) if len(self._flying) < in_flight else None
                if offer is not None:
                    break
                assert self._flying, "nobody may be asked, and nothing is under way"
                self._land()
            self.market.began(offer.provider, self.now)
            actor = self._by_key[offer.provider]
            kind, seconds = actor.does(self.now)
            self.got.append(actor.handler.name)
            flight = (self.now + seconds, len(self.got), offer.provider, kind, seconds, offer.price_msat)
            heapq.heappush(self._flying, flight)
            self.now += gap
        while self._flying:
            self._land()
        return self

    def _land(self) -> None:
        at, _, pubkey, kind, seconds, price = heapq.heappop(self._flying)
        self.now = max(self.now, at)
        self.ends.append((self.now, kind))
        self.lost_msat += price if kind == "lost" else 0
        msat = price if kind in {"answered", "lost", "disagreed"} else 0
        self.market.ended(pubkey, JobOutcome(kind, seconds, msat), self.now)

    def share(self, name: str, *, last: int = 0) -> float:
        got = self.got[-last:]
        return got.count(name) / len(got)


def market(**settings: Any) -> Market:
    return Market(**{"bid_msat": BID, "seed": 1, **settings})


def known(name: str, **counts: Any) -> dict[str, ProviderRecord]:
    made = ProviderRecord(key(name), **{"answered": 50, **counts})
    for _ in range(made.answered):
        made.latencies.add(1000)
    return {key(name): made}


# -- who may be asked at all -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "settings", "why"),
    [
        ({"price_msat": BID + 1}, {}, "more than the bid"),
        ({}, {"allow": frozenset({key("other")})}, "allow-list"),
        ({"network": "regtest"}, {"network": "bitcoin"}, "is paid on regtest"),
        ({"price_msat": 1}, {"bid_msat": 0}, "more than the bid"),
    ],
)
def test_who_is_not_eligible_is_never_asked_and_the_reason_is_told(
    says: dict[str, Any], settings: dict[str, Any], why: str
) -> None:
    seen = market(**settings)
    assert not seen.offer(handler("a", **says))
    assert seen.choose(now=0) is None
    (row,) = seen.explain()
    assert row.state == "not eligible"
    assert why in row.why_not
    assert why in seen.outlook(now=0).reason


def test_free_answers_need_no_network_and_no_bid() -> None:
    seen = market(bid_msat=0, network="bitcoin")
    assert seen.offer(handler("a", price_msat=0, network="regtest"))
    assert seen.choose(now=0) is not None


def test_the_newest_announcement_counts() -> None:
    seen = market()
    seen.offer(handler("a", price_msat=5, created_at=10))
    seen.offer(handler("a", price_msat=1, created_at=9))
    seen.offer(handler("a", price_msat=2, created_at=10))
    assert seen.price(key("a")) == 5
    assert not seen.offer(handler("a", price_msat=BID + 1, created_at=11))
    assert seen.choose(now=0) is None
    assert not seen.offer(handler("a", price_msat=1, created_at=10))
    assert seen.offer(handler("a", price_msat=2, created_at=12))
    assert seen.price(key("a")) == 2
    assert len(seen.explain()) == 1


def test_who_is_withdrawn_is_not_asked_and_not_forgotten() -> None:
    seen = market()
    world = World(seen, [steady("a")]).run(3)
    seen.withdraw(key("a"))
    assert seen.choose(now=world.now) is None
    assert seen.explain() == []
    seen.offer(handler("a", created_at=1))
    assert seen.explain()[0].answered == 3


def test_a_model_is_asked_of_those_who_serve_it_or_do_not_say() -> None:
    seen = market()
    for name, models, price in (("a", ("small",), 1), ("b", ("large",), 2), ("c", (), 3)):
        seen.offer(handler(name, models=models, price_msat=price))

    def asked(model: str, *without: str) -> str | None:
        offer = seen.choose(now=0, model=model, without=[key(name) for name in without])
        return None if offer is None else offer.handler.name

    assert {asked("large"), asked("large", "b")} == {"b", "c"}
    assert asked("large", "b", "c") is None
    assert asked("tiny", "c") is None
    assert "does not serve tiny" in seen.outlook(now=0, model="tiny", without=[key("c")]).reason
    seen.offer(handler("d", models=("tiny",), created_at=1))
    assert asked("tiny", "c") == "d"
    seen.offer(handler("d", models=("large",), created_at=2))
    assert asked("tiny", "c") is None


def test_other_operators_means_none_of_their_keys() -> None:
    seen = market()
    for name in "abc":
        seen.offer(handler(name, operator="farm", price_msat=1))
    seen.offer(handler("d", price_msat=9))
    first = seen.choose(now=0, without=[key("d")])
    assert first is not None
    assert first.operator == "farm"
    second = seen.choose(now=0, other_operators_than=[first.operator])
    assert second is not None
    assert second.operator == key("d"), "who names no operator is its own"
    assert seen.choose(now=0, other_operators_than=["farm", key("d")]) is None


# -- the choice ------------------------------------------------------------------------------------


def test_the_cheaper_of_two_equals_gets_nearly_all() -> None:
    world = World(market(), [steady("dear", price_msat=9), steady("cheap", price_msat=2)]).run(100)
    assert world.share("cheap", last=80) > 0.9


def test_the_faster_of_two_equals_gets_nearly_all() -> None:
    world = World(market(), [steady("slow", 20.0), steady("fast", 1.0)]).run(100)
    assert world.share("fast", last=80) > 0.9


def test_the_more_reliable_of_two_equals_gets_more() -> None:
    lots = random.Random(3)

    def shaky(_now: float) -> tuple[OutcomeKind, float]:
        return ("answered", 1.0) if lots.random() < 0.6 else ("failed", 10.0)

    world = World(market(), [Actor(handler("shaky"), shaky), steady("firm")]).run(200)
    assert world.share("firm", last=150) > 0.85


def serial(name: str, seconds: float = 1.0, **says: Any) -> Actor:
    """Serves one job after the other."""
    free = 0.0

    def does(now: float) -> tuple[OutcomeKind, float]:
        nonlocal free
        free = max(free, now) + seconds
        return "answered", free - now

    return Actor(handler(name, **says), does)


def test_jobs_in_flight_spread_over_those_that_get_slower_with_load() -> None:
    world = World(market(), [serial(name) for name in "abcd"]).run(400, in_flight=16)
    counts = Counter(world.got[40:])
    assert set(counts) == set("abcd")
    assert max(counts.values()) < 1.5 * min(counts.values())
    assert world.now < 110, "four at once: 100 s at best"


def test_a_faster_one_gets_more_of_the_jobs_in_flight_and_not_all() -> None:
    world = World(market(), [serial("fast", 0.5), serial("slow", 2.0)]).run(500, in_flight=16)
    assert 0.6 < world.share("fast", last=400) < 0.95
    assert world.now < 240, "the fast one alone takes 250 s, both together 200 at best"


def test_the_same_calls_make_the_same_choices_and_another_seed_others() -> None:
    def order(seed: int) -> list[str]:
        actors = [steady(f"p{n}", 0.5 + n % 7, price_msat=1 + n % 9) for n in range(40)]
        return World(market(seed=seed), actors).run(200, in_flight=8).got

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_of_two_equals_the_seed_says_who_is_first() -> None:
    def first(seed: int) -> str:
        seen = market(seed=seed, records=known("a") | known("b"))
        seen.offer(handler("a"))
        seen.offer(handler("b"))
        offer = seen.choose(now=0)
        assert offer is not None
        return offer.handler.name

    assert Counter(first(seed) for seed in range(20)).keys() == {"a", "b"}


def test_a_price_that_was_charged_counts_until_a_new_one_is_announced() -> None:
    seen = market()
    seen.offer(handler("a", price_msat=2))
    seen.began(key("a"), 0)
    seen.ended(key("a"), JobOutcome("answered", 1.0, 7), 1)
    assert seen.price(key("a")) == 7
    seen.offer(handler("a", price_msat=2, created_at=1))
    assert seen.price(key("a")) == 7, "the same announcement again is no new price"
    seen.offer(handler("a", price_msat=3, created_at=2))
    assert seen.price(key("a")) == 3


def test_an_unknown_price_is_the_last_one_paid_and_at_worst_the_bid() -> None:
    seen = market(records=known("a", price_msat=4) | known("c", price_msat=BID + 5))
    for name in "abc":
        seen.offer(handler(name, price_msat=None))
    assert [seen.price(key(name)) for name in "abc"] == [4, BID, BID]


# -- liars, thieves, the dead ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["disagreed", "lost", "failed", "refused"])
@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_liar_that_is_cheapest_and_fastest_is_left_at_once(
    kind: OutcomeKind, seed: int, in_flight: int
) -> None:
    liar = steady("liar", 0.1, kind, price_msat=1, order="pay-first")
    honest = [steady(name, 1.0, price_msat=9) for name in "abc"]
    world = World(market(seed=seed), [liar, *honest]).run(100, in_flight=in_flight)
    assert world.got[-90:].count("liar") <= 3


@pytest.mark.parametrize("seed", range(5))
def test_a_liar_with_a_good_name_is_left_within_a_few_jobs(seed: int) -> None:
    liar = steady("liar", 0.1, "disagreed", price_msat=1)
    honest = [steady(name, 1.0, price_msat=9) for name in "abc"]
    records = known("liar", compared=50) | known("a") | known("b") | known("c")
    world = World(market(seed=seed, records=records), [liar, *honest]).run(100)
    assert world.got[-90:].count("liar") <= 3


@pytest.mark.parametrize("seed", range(5))
def test_the_dead_are_asked_rarely_and_with_growing_gaps_and_found_when_they_are_back(seed: int) -> None:
    back = 3_000.0

    def does(now: float) -> tuple[OutcomeKind, float]:
        return ("answered", 0.5) if now >= back else ("failed", 30.0)

    asked: list[float] = []

    def dead(now: float) -> tuple[OutcomeKind, float]:
        asked.append(now)
        return does(now)

    records = known("dead") | known("a") | known("b")
    actors = [Actor(handler("dead", price_msat=1), dead), *(steady(n, price_msat=9) for n in "ab")]
    world = World(market(seed=seed, records=records), actors)
    while world.now < back:
        world.run(10, gap=0.5)
    before = [at for at in asked if at < back]
    assert 2 <= len(before) <= 12
    assert sum(at > 1_000 for at in before) <= 4
    while world.now < back + 6_000:
        world.run(10, gap=0.5)
    assert world.share("dead", last=100) > 0.8


def test_one_outage_with_many_jobs_in_flight_is_one_failure() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a"))
    for _ in range(16):
        seen.began(key("a"), 0.0)
    for _ in range(16):
        seen.ended(key("a"), JobOutcome("failed", 30.0), 30.0)
    assert seen.explain()[0].state != "resting"
    assert seen.choose(now=30.0) is not None


def test_after_a_failure_one_job_at_a_time_until_an_answer() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a"))
    seen.began(key("a"), 0.0)
    seen.ended(key("a"), JobOutcome("failed", 1.0), 1.0)
    seen.began(key("a"), 1.0)
    assert seen.choose(now=1.0) is None
    assert seen.outlook(now=1.0).waits
    seen.ended(key("a"), JobOutcome("answered", 1.0, 5), 2.0)
    seen.began(key("a"), 2.0)
    assert seen.choose(now=2.0) is not None


def test_who_rests_is_back_when_it_was_said() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a"))
    for now in (0.0, 10.0):
        seen.began(key("a"), now)
        seen.ended(key("a"), JobOutcome("failed", 5.0), now + 5.0)
    assert seen.choose(now=15.0) is None
    outlook = seen.outlook(now=15.0)
    assert (outlook.waits, outlook.at) == (False, 20.0)
    assert seen.choose(now=19.9) is None
    assert seen.choose(now=20.0) is not None


def test_while_a_provider_is_silent_others_are_asked_and_it_only_where_there_are_none() -> None:
    seen = market(records=known("fast") | known("other"))
    seen.offer(handler("fast", price_msat=1))
    seen.offer(handler("other", price_msat=9))
    seen.began(key("fast"), 0.0)
    late = seen.hedge_after(key("fast")) + 0.1

    def asked(now: float, *without: str) -> str | None:
        offer = seen.choose(now=now, without=[key(name) for name in without])
        return None if offer is None else offer.handler.name

    assert asked(0.1) == "fast"
    assert asked(late) == "other"
    assert asked(late, "other") == "fast"
    seen.began(key("fast"), late)
    seen.ended(key("fast"), JobOutcome("answered", 1.0, 1), late + 1)
    assert asked(late + 1) == "fast", "it lives, whatever became of the other job"


def test_of_several_jobs_in_flight_the_one_that_ended_is_told_by_its_time() -> None:
    seen = market(records=known("fast") | known("other"))
    seen.offer(handler("fast", price_msat=1))
    seen.offer(handler("other", price_msat=9))
    seen.began(key("fast"), 0.0)
    seen.began(key("fast"), 10.0)
    seen.ended(key("fast"), JobOutcome("cancelled", 0.5), 10.5)
    offer = seen.choose(now=10.6)
    assert offer is not None
    assert offer.handler.name == "other", "the job of the beginning is still out"


def test_who_was_overtaken_past_its_straggler_delay_has_failed_and_before_has_not() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a"))
    good = seen.explain()[0].success
    seen.began(key("a"), 0.0)
    seen.ended(key("a"), JobOutcome("cancelled", 0.2), 0.2)
    assert seen.explain()[0].success == good
    seen.began(key("a"), 1.0)
    seen.ended(key("a"), JobOutcome("cancelled", 29.0), 30.0)
    assert seen.explain()[0].success < good


def test_a_loss_weighs_by_its_money() -> None:
    def after(msat: int) -> float:
        seen = market(records=known("a"))
        seen.offer(handler("a", order="pay-first"))
        seen.began(key("a"), 0.0)
        seen.ended(key("a"), JobOutcome("lost", 1.0, msat), 1.0)
        return seen.explain()[0].success

    assert after(BID) < after(1) < after(0)


def test_a_thief_that_answers_now_and_then_stays_away_all_the_same() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a", order="pay-first"))
    seen.began(key("a"), 0.0)
    seen.began(key("a"), 0.0)
    seen.ended(key("a"), JobOutcome("lost", 1.0, 5), 1.0)
    seen.ended(key("a"), JobOutcome("answered", 1.0, 5), 1.0)
    assert seen.choose(now=2.0) is None
    assert seen.outlook(now=2.0).at == pytest.approx(301.0)


def test_one_disagreement_bans_nobody_and_a_habit_of_it_does() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a"))
    seen.judged(key("a"), 1.0, agreed=False)
    assert seen.choose(now=1.0) is not None
    seen.judged(key("a"), 2.0, agreed=True)
    for now in (3.0, 4.0, 5.0):
        seen.judged(key("a"), now, agreed=False)
    assert seen.choose(now=5.0) is None
    assert seen.explain()[0].disagreement > 1 / 3


def test_agreement_makes_up_for_a_disagreement() -> None:
    seen = market(records=known("a") | known("b"))
    for name in "ab":
        seen.offer(handler(name))
        seen.judged(key(name), 1.0, agreed=False)
    for _ in range(10):
        seen.judged(key("b"), 1.0, agreed=True)
    costs = {row.name: row.cost_msat for row in seen.explain()}
    assert costs["b"] < costs["a"]


def test_who_took_money_for_nothing_in_an_earlier_run_is_only_tried() -> None:
    thief = known("thief", paid_msat=100, lost_msat=40, lost_count=8)
    seen = market(records=thief | known("a"))
    seen.offer(handler("thief", price_msat=1, order="pay-first"))
    seen.offer(handler("a", price_msat=9))
    assert {row.name: row.state for row in seen.explain()} == {"thief": "trial", "a": "trusted"}
    offer = seen.choose(now=0)
    assert offer is not None
    assert offer.handler.name == "a"
    seen.began(key("thief"), 0)
    assert seen.choose(now=0, without=[key("a")]) is None, "one job at a time on trial"


def test_after_a_theft_and_its_rest_there_is_a_trial() -> None:
    seen = market(records=known("a"))
    seen.offer(handler("a", order="pay-first"))
    seen.began(key("a"), 0.0)
    seen.ended(key("a"), JobOutcome("lost", 1.0, 5), 1.0)
    assert seen.choose(now=400.0) is not None
    assert seen.explain()[0].state == "trial"
    seen.began(key("a"), 400.0)
    seen.ended(key("a"), JobOutcome("answered", 1.0, 5), 401.0)
    assert seen.explain()[0].state == "trusted"


@pytest.mark.parametrize("answered", [50, 50_000])
def test_a_good_name_is_remembered_no_longer_than_what_happens_now(answered: int) -> None:
    seen = market(records=known("a", answered=answered, compared=answered))
    seen.offer(handler("a"))
    good = seen.explain()[0].success
    assert good == pytest.approx(24 / 24.5)
    for n in range(20):
        seen.began(key("a"), n)
        seen.ended(key("a"), JobOutcome("failed", 0.0), n)
    assert seen.explain()[0].success < 0.5
    for n in range(100):
        seen.began(key("a"), 10_000 + n)
        seen.ended(key("a"), JobOutcome("answered", 1.0), 10_000 + n)
    assert seen.explain()[0].success > 0.97, "nor is a bad one"
    for n in range(10):
        seen.judged(key("a"), 20_000 + n, agreed=False)
    assert seen.explain()[0].state == "resting"


# -- newcomers -------------------------------------------------------------------------------------


def test_a_newcomer_has_few_jobs_until_it_answers() -> None:
    seen = market()
    seen.offer(handler("a"))
    flying = 0
    while seen.choose(now=0.0) is not None:
        seen.began(key("a"), 0.0)
        flying += 1
    assert flying == Choice().newcomer_jobs
    for _ in range(flying):
        seen.ended(key("a"), JobOutcome("answered", 1.0, 5), 1.0)
    while seen.choose(now=1.0) is not None and flying < 100:
        seen.began(key("a"), 1.0)
        flying += 1
    assert flying == Choice().newcomer_jobs + 2 + 4


def test_a_newcomer_has_little_at_stake_until_it_answers() -> None:
    seen = market(choice=Choice(newcomer_jobs=50, newcomer_bids=2))
    seen.offer(handler("a", price_msat=6, order="pay-first"))
    staked = 0
    while (offer := seen.choose(now=0.0)) is not None:
        seen.began(key("a"), 0.0)
        staked += offer.stake_msat
    assert staked == 18, "three times 6 fit into two bids of 10"


def test_an_order_that_nobody_announced_may_be_pay_first() -> None:
    seen = market()
    for name, order in (("a", ""), ("b", "pay-first"), ("c", "result-first"), ("d", "tab")):
        seen.offer(handler(name, price_msat=5, order=order))
    stakes = {}
    for name in "abcd":
        offer = seen.choose(now=0, without=[key(other) for other in "abcd" if other != name])
        assert offer is not None
        stakes[name] = offer.stake_msat
    assert stakes == {"a": 5, "b": 5, "c": 0, "d": 5}


@pytest.mark.parametrize("seed", range(3))
def test_a_liar_with_a_new_key_after_every_theft_steals_a_bounded_amount_per_time(seed: int) -> None:
    seen = market(seed=seed, choice=Choice(risk_bids=5, risk_bids_per_minute=1))
    world = World(seen, [steady("honest", 1.0, price_msat=9)])
    for number in range(300):
        world.join(steady(f"thief{number}", 0.2, "lost", price_msat=1 + number % 5, order="pay-first"))
        world.run(3, in_flight=2)
    assert world.lost_msat <= BID * (5 + world.now / 60)
    assert world.lost_msat > 0, "the bound was tried"
    assert world.share("honest") > 0.85


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["lost", "failed", "answered"]), st.floats(0, 30)),
        max_size=80,
    ),
    st.integers(0, 3),
)
def test_newcomers_never_steal_more_than_the_risk_allows(
    steps: list[tuple[int, OutcomeKind, float]], seed: int
) -> None:
    choice = Choice(risk_bids=3, risk_bids_per_minute=1, trusted_after=10**9)
    seen = market(seed=seed, choice=choice)
    for number in range(9):
        seen.offer(handler(f"p{number}", price_msat=1 + number, order="pay-first"))
    now, lost = 0.0, 0
    flying: list[tuple[str, int]] = []
    for turn, kind, gap in steps:
        offer = seen.choose(now=now)
        if offer is not None:
            seen.began(offer.provider, now)
            flying.append((offer.provider, offer.stake_msat))
        now += gap
        if flying:
            pubkey, stake = flying.pop(turn % len(flying))
            lost += stake if kind == "lost" else 0
            seen.ended(pubkey, JobOutcome(kind, gap, stake if kind != "failed" else 0), now)
        assert lost + sum(stake for _, stake in flying) <= BID * (3 + now / 60) + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_newcomers_get_a_small_share_of_the_jobs_while_others_answer(seed: int) -> None:
    crowd = [steady(f"n{number}", 1.0, "failed", price_msat=1) for number in range(300)]
    records = known("a") | known("b")
    world = World(market(seed=seed, records=records), [*crowd, *(steady(n, price_msat=9) for n in "ab")])
    world.run(300, in_flight=4)
    assert 0 < sum(name.startswith("n") for name in world.got) <= 300 * Choice().newcomer_share + 2


def test_a_crowd_of_cheap_keys_does_not_shut_out_an_honest_newcomer() -> None:
    crowd = [steady(f"n{number}", 1.0, "failed", price_msat=1) for number in range(50)]
    honest = [steady(f"h{number}", 1.0, price_msat=5) for number in range(5)]
    world = World(market(), [*crowd, *honest]).run(300, in_flight=4)
    assert sum(name.startswith("h") for name in world.got[-200:]) > 180


@pytest.mark.parametrize("seed", range(5))
def test_a_better_newcomer_is_found(seed: int) -> None:
    records = known("old")
    world = World(market(seed=seed, records=records), [steady("old", price_msat=9)]).run(50)
    world.join(steady("new", price_msat=3))
    world.run(150)
    assert world.share("new", last=50) > 0.8


def test_a_great_crowd_of_dead_keys_does_not_hide_the_living() -> None:
    crowd = [steady(f"n{number}", 1.0, "failed", price_msat=1) for number in range(2_000)]
    honest = [steady(f"h{number}", 1.0, price_msat=5) for number in range(200)]
    world = World(market(), [*crowd, *honest]).run(300, in_flight=4)
    assert sum(name.startswith("h") for name in world.got[-100:]) > 80


def test_who_is_trusted_stakes_its_own_name_and_not_the_newcomers_risk() -> None:
    seen = market(records=known("a"), choice=Choice(risk_bids=1, risk_bids_per_minute=0))
    for name in "abc":
        seen.offer(handler(name, price_msat=10, order="pay-first"))
    for _ in range(5):
        seen.began(key("a"), 0)
    newcomer = seen.choose(now=0, without=[key("a")])
    assert newcomer is not None
    seen.began(newcomer.provider, 0)
    seen.ended(newcomer.provider, JobOutcome("lost", 1.0, 10), 1)
    for _ in range(5):
        seen.ended(key("a"), JobOutcome("answered", 1.0, 10), 1)
    assert seen.choose(now=1, without=[key("a")]) is None


def test_small_hands_first_trust_after_answers() -> None:
    seen = market()
    seen.offer(handler("a"))
    states = []
    for now in range(5):
        offer = seen.choose(now=now)
        assert offer is not None
        states.append((seen.explain()[0].state, offer.trusted))
        seen.began(key("a"), now)
        seen.ended(key("a"), JobOutcome("answered", 0.5, 5), now + 0.5)
    assert [state for state, _ in states] == ["new", "known", "known", "trusted", "trusted"]
    assert [trusted for _, trusted in states] == [False, False, False, True, True]


def test_a_flood_of_announcements_is_bounded_and_does_not_keep_out_later_ones() -> None:
    quiet = {key("quiet"): ProviderRecord(key("quiet"), failed={"timeout": 1})}
    seen = market(choice=Choice(most_offers=50), records=known("old") | quiet)
    for name in ("old", "quiet", "tried"):
        seen.offer(handler(name))
    seen.began(key("tried"), 0)
    for number in range(500):
        seen.offer(handler(f"x{number}"))
        seen.offer(handler(f"y{number}", price_msat=BID + 1))
    rows = seen.explain()
    assert len(rows) == 100
    fit = [row.name for row in rows if row.state != "not eligible"]
    assert {"old", "quiet", "tried"} <= set(fit), "nobody we have dealt with is forgotten for a newcomer"
    assert sum(int(name[1:]) >= 250 for name in fit if name.startswith("x")) > 30


# -- stragglers ------------------------------------------------------------------------------------


def test_the_straggler_delay_follows_a_providers_own_latency_within_its_bounds() -> None:
    seen = market()
    for name, seconds in (("quick", 0.001), ("usual", 1.0), ("slow", 100.0)):
        seen.offer(handler(name))
        for now in range(30):
            seen.began(key(name), now)
            seen.ended(key(name), JobOutcome("answered", seconds, 5), now)
    choice = Choice()
    assert seen.hedge_after(key("quick")) == choice.hedge_floor_seconds
    assert 1.0 <= seen.hedge_after(key("usual")) < 1.5
    assert seen.hedge_after(key("slow")) == choice.hedge_ceiling_seconds


def test_varying_answers_are_waited_for_longer_and_so_are_those_under_load() -> None:
    seen = market()
    lots = random.Random(5)
    for name, spread in (("even", 0.0), ("uneven", 0.9)):
        seen.offer(handler(name))
        for now in range(50):
            seen.began(key(name), now)
            seconds = 1.0 + spread * (2 * lots.random() - 1)
            seen.ended(key(name), JobOutcome("answered", seconds, 5), now)
    assert seen.hedge_after(key("uneven")) > seen.hedge_after(key("even")) + 0.5
    idle = seen.hedge_after(key("even"))
    for _ in range(8):
        seen.began(key("even"), 60)
    assert seen.hedge_after(key("even")) > idle


def test_a_latency_is_freed_of_the_load_it_was_seen_under() -> None:
    seen = market()
    seen.offer(handler("a"))
    for now in range(0, 1_000, 10):
        for _ in range(9):
            seen.began(key("a"), now)
        for _ in range(9):
            seen.ended(key("a"), JobOutcome("answered", 2.0, 5), now + 2)
    assert seen.explain()[0].latency_seconds == pytest.approx(2 / (1 + 0.25 * 4), rel=0.3)


def test_of_an_unknown_provider_the_usual_delay_is_expected() -> None:
    seen = market()
    before = seen.hedge_after(key("b"))
    seen.offer(handler("a"))
    for now in range(30):
        seen.began(key("a"), now)
        seen.ended(key("a"), JobOutcome("answered", 0.5, 5), now + 0.5)
    assert seen.hedge_after(key("b")) < before / 2


def test_a_record_knows_the_straggler_delay_from_the_first_job() -> None:
    seen = market(records=known("a"))
    assert 1.0 <= seen.hedge_after(key("a")) < 2.0
    assert seen.hedge_after(key("nobody")) > 2.0


# -- the frame -------------------------------------------------------------------------------------


def test_a_job_that_never_began_cannot_end() -> None:
    seen = market()
    seen.offer(handler("a"))
    with pytest.raises(ValueError, match="never began"):
        seen.ended(key("a"), JobOutcome("answered"), 0)
    seen.began(key("a"), 0)
    seen.ended(key("a"), JobOutcome("answered", 1.0), 1)
    with pytest.raises(ValueError, match="never began"):
        seen.ended(key("a"), JobOutcome("answered", 1.0), 1)


def test_an_outlook_says_why_there_is_nobody() -> None:
    assert market().outlook(now=0).reason == "nobody has announced itself"
    seen = market()
    seen.offer(handler("a"))
    outlook = seen.outlook(now=0, without=[key("a")])
    assert not outlook.waits
    assert outlook.at is None
    assert "asked already" in outlook.reason


def test_an_outlook_says_when_newcomers_may_be_paid_again() -> None:
    seen = market(choice=Choice(risk_bids=1, risk_bids_per_minute=1))
    for name in "abc":
        seen.offer(handler(name, price_msat=10, order="pay-first"))
    assert seen.choose(now=0) is not None
    offer = seen.choose(now=9_000)
    assert offer is not None
    seen.began(offer.provider, 9_000)
    assert seen.choose(now=9_000) is None, "what was not risked does not add up"
    seen.ended(offer.provider, JobOutcome("lost", 1.0, 10), 9_001)
    assert seen.choose(now=9_001) is None
    assert seen.outlook(now=9_001).at == pytest.approx(9_060.0)
    assert seen.choose(now=9_060.5) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": 1.0},
        {"newcomer_share": 1.1},
        {"hedge_floor_seconds": 9, "hedge_ceiling_seconds": 1},
        {"newcomer_jobs": 0},
        {"rest_growth": 0.5},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Choice(**wrong)


def test_ten_thousand_providers_end_with_the_good_ones() -> None:
    lots = random.Random(7)
    actors = []
    for number in range(10_000):
        kind: OutcomeKind = "answered" if lots.random() < 0.5 else "failed"
        actors.append(steady(f"p{number}", lots.uniform(0.2, 5), kind, price_msat=lots.randint(1, BID)))
    kinds = {actor.handler.name: actor.does(0)[0] for actor in actors}
    world = World(market(), actors).run(600, in_flight=16)
    last = [kinds[name] for name in world.got[-300:]]
    assert last.count("answered") > 270


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["choose", "end", "offer", "withdraw", "judge"]),
            st.integers(0, 5),
            st.sampled_from(["answered", "failed", "refused", "lost", "disagreed", "cancelled"]),
            st.floats(0, 100),
        ),
        max_size=120,
    )
)
def test_at_every_interleaving_the_limits_hold(
    steps: list[tuple[str, int, OutcomeKind, float]],
) -> None:
    seen = market()
    names = [f"p{number}" for number in range(6)]
    now, flying = 0.0, [0] * 6
    offered: set[int] = set()
    for created, (step, who, kind, gap) in enumerate(steps):
        now += gap
        match step:
            case "offer":
                if seen.offer(handler(names[who], price_msat=1 + who, created_at=created)):
                    offered.add(who)
            case "withdraw":
                seen.withdraw(key(names[who]))
                offered.discard(who)
            case "judge":
                seen.judged(key(names[who]), now, agreed=kind == "answered")
            case "end" if flying[who]:
                flying[who] -= 1
                seen.ended(key(names[who]), JobOutcome(kind, gap, 1), now)
            case "choose":
                rows = {row.provider: row for row in seen.explain()}
                offer = seen.choose(now=now)
                if offer is None:
                    assert seen.outlook(now=now).reason
                    continue
                index = names.index(offer.handler.name)
                assert index in offered
                assert offer.price_msat <= BID
                assert rows[offer.provider].in_flight == flying[index]
                seen.began(offer.provider, now)
                flying[index] += 1
    assert {row.provider: row.in_flight for row in seen.explain()} == {
        key(names[who]): flying[who] for who in offered
    }


def test_a_market_is_empty_until_somebody_announces_himself_fit_or_not() -> None:
    shut_out = Market(bid_msat=10, seed=1, network="regtest")
    assert shut_out.is_empty
    shut_out.offer(Handler("ab" * 32, price_msat=11, network="regtest", created_at=1))
    assert not shut_out.is_empty
    shut_out.withdraw("ab" * 32)
    assert shut_out.is_empty
