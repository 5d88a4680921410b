"""What a final screen says of the swarm: a row a provider, what happened besides, the same on premium."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from oa_compile.chat import ChatAnswer, Usage
from oa_compile.events import Attempt
from oa_compile.hud.swarm import Premium, SwarmSpend, read_premium, swarm_parts
from oa_compile.hud.view import RunView
from oa_compile.money import Rate
from oa_compile.swarm.market.record import records_of
from tests.support.runs import PROVIDERS, optimize_run, swarm_run


def attempt(msat: int, **receipt: Any) -> Attempt:
    common: dict[str, Any] = {"hold": 1, "key": "k", "lane": "swarm", "stage": "compile", "role": "task"}
    return Attempt(outcome="ok", msat=msat, answer=ChatAnswer("x", Usage(9, 9)), receipt=receipt, **common)


def test_providers_are_told_by_the_market_s_own_records() -> None:
    spend = RunView.of(swarm_run()).swarm
    assert spend.providers == records_of(swarm_run())
    tab, first, thief = (spend.providers[provider] for provider in PROVIDERS)
    assert (tab.quotes, tab.answered, tab.charged_msat, tab.owed_msat) == (5, 5, 51, 10)
    assert (first.quotes, first.answered, first.unused, first.charged_msat) == (3, 3, 2, 39)
    assert (thief.quotes, thief.answered, thief.failures, thief.lost_msat) == (2, 0, 2, 14)


def test_what_providers_took_is_what_the_run_was_charged() -> None:
    view = RunView.of(swarm_run())
    assert view.swarm.charged_msat == view.spend(lane="swarm").msat == 104


def test_what_happened_besides_is_counted() -> None:
    spend = RunView.of(swarm_run()).swarm
    assert (spend.retries, spend.hedges, spend.audits, spend.settlements) == (1, 1, 1, 1)
    assert (spend.unused, spend.taken, spend.lost_msat) == (2, 6, 14)
    assert (spend.input_tokens, spend.output_tokens) == (6 * 4_000, 6 * 200), "of answers that were taken"


def test_another_kind_of_lane_is_no_provider() -> None:
    spend = SwarmSpend()
    spend.take(attempt(5, id="x", model="gpt", provider="openai", usd="0.1"), at=1)
    spend.take(attempt(5), at=2)
    assert spend == SwarmSpend() == RunView.of(optimize_run()).swarm


def test_two_runs_add_up_and_stay_what_they_were() -> None:
    one, other, total = RunView.of(swarm_run()).swarm, RunView.of(swarm_run()).swarm, SwarmSpend()
    total.add(one)
    total.add(other)
    assert one == other == RunView.of(swarm_run()).swarm
    assert (total.hedges, total.taken, total.lost_msat) == (2, 12, 28)


def test_without_providers_there_is_nothing_to_show() -> None:
    assert list(swarm_parts(SwarmSpend(), rate=Rate(Decimal(100_000)), premium=None)) == []


def test_a_premium_lane_without_a_price_is_none_to_compare_with() -> None:
    lanes = {"big": {"model": "gpt", "price": {"input": "0.15", "output": "0.60"}}, "small": {"price": None}}
    settings = {"stages": {"verify": {"task": "big"}}, "lanes": lanes}
    assert read_premium(settings) == Premium("big", "gpt", Decimal("0.15"), Decimal("0.60"))
    assert read_premium({**settings, "stages": {"verify": {"task": "small"}}}) is None
    assert read_premium({}) is None
