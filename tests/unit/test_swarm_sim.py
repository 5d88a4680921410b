"""The simulated swarm: virtual time, one seed one outcome, and what policies do to liars and thieves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.sim import clock
from benchmarks.sim.books import Books, Broken
from benchmarks.sim.lightning import Lightning
from benchmarks.sim.policies import POLICIES, Policy
from benchmarks.sim.run import Figures, simulate
from benchmarks.sim.world import BID, Kind, World, draw
from oa_compile.swarm.customer.attempt import Intent, JobFault
from oa_compile.swarm.market.choice import Choice
from oa_compile.swarm.receipt import Receipt

ROOT = Path(__file__).parents[2]


def small(policy: str | Policy, *, kinds: tuple[Kind, ...] = (), seed: int = 3, jobs: int = 80) -> Figures:
    world = World(providers=len(kinds) or 60, seed=seed, kinds=kinds)
    return simulate(world, POLICIES[policy] if isinstance(policy, str) else policy, jobs=jobs, in_flight=16)


# -- time --------------------------------------------------------------------------------------------------


def test_the_clock_jumps_to_the_next_timer() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), list[tuple[str, float]]()

        async def after(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        await asyncio.gather(after(86_400.0 * 30, "late"), after(0.25, "early"))
        return seen

    assert clock.run(main()) == [("early", 0.25), ("late", 86_400.0 * 30)]


def test_what_waits_for_ever_is_told() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(clock.Stalled, match="no timer is set"):
        clock.run(main())


# -- the same again ----------------------------------------------------------------------------------------


def test_a_provider_is_the_same_for_the_same_seed_only() -> None:
    assert draw(5, 1) == draw(5, 1)
    assert draw(5, 1).keys.public == draw(5, 1).keys.public != draw(5, 2).keys.public


@pytest.mark.parametrize("policy", ["market", "audit-20", "tabs", "random"])
def test_the_same_seed_gives_the_same_figures(policy: str) -> None:
    assert small(policy, jobs=40) == small(policy, jobs=40) != small(policy, seed=4, jobs=40)


def test_the_command_ends_with_one_line_of_figures() -> None:
    command = [
        sys.executable,
        "benchmarks/swarm_sim.py",
        "--small",
        "--jobs",
        "30",
        "--policies",
        "random,tabs",
    ]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    figures = json.loads(told.stdout.splitlines()[-1])
    assert figures["providers"] == 200
    assert list(figures["policies"]) == ["random", "tabs"]
    here = simulate(World(providers=200, seed=1), POLICIES["tabs"], jobs=30, in_flight=16)
    assert figures["policies"]["tabs"] == here.as_dict(), "another process, another order of hashes"


# -- what comes of policies --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_every_call_ends_and_the_books_balance(policy: str) -> None:
    figures = small(policy)  # raises Broken where they do not
    assert figures.right + figures.wrong + figures.unanswered == figures.calls == 80
    # Where thieves may have all jobs, a call may find nobody else within its patience.
    assert figures.unanswered <= (4 if policy.startswith("no-limits") else 0)
    assert figures.spent_msat >= figures.lost_msat
    assert figures.ended["answered"] == 80 - figures.unanswered


def test_a_ring_does_not_judge_itself() -> None:
    kinds: tuple[Kind, ...] = ("ring",) * 8 + ("honest",) * 40
    blind, audited = small("market", kinds=kinds), small("audit-20", kinds=kinds)
    assert blind.wrong > 40, "it is the cheapest and the fastest"
    assert audited.wrong < 12


def test_who_announced_to_answer_first_gets_no_money_before() -> None:
    figures = small("market", kinds=("turncoat",) * 20 + ("honest",) * 20)
    assert figures.jobs_by["turncoat"] > 5
    assert "turncoat" not in figures.lost_to


def test_a_newcomer_that_steals_takes_little_and_little_more_for_every_key() -> None:
    figures = small("no-limits-pay", kinds=("thief",) * 20 + ("honest",) * 40, jobs=300)
    limited = small("pay-first", kinds=("thief",) * 20 + ("honest",) * 40, jobs=300)
    assert figures.lost_to["thief"] > 2 * limited.lost_to["thief"]
    most = BID * (Choice().risk_bids + Choice().risk_bids_per_minute * limited.seconds / 60)
    assert limited.lost_to["thief"] <= most


def test_an_honest_provider_that_is_paid_is_waited_for_although_another_was_faster() -> None:
    hasty = Policy("hasty", "", terms={"hedge_after": 0.5}, orders=frozenset({"pay-first"}))
    world = World(providers=200, seed=5)
    world.profiles = [one for one in world.profiles if one.kind == "honest" and not one.tab_msat]
    figures = simulate(world, hasty, jobs=150, in_flight=8)
    assert figures.hedges > 50
    assert figures.lost_msat <= 0.02 * figures.spent_msat, "three in a thousand are silent"


# -- the books see ------------------------------------------------------------------------------------------


def books() -> Books:
    return Books(Lightning(1))


RECEIPT = Receipt(
    "a" * 64, "b" * 64, "first", order="pay-first", price_msat=5, paid_msat=5, payment_hash="c" * 64
)
INTENT = Intent("c" * 64, "lnbcrt…", 5, 5, "simulated", "a" * 64, "b" * 64)


def test_an_attempt_that_ends_twice() -> None:
    seat = books().reserve()
    seat.failed(JobFault("timeout", "late"), Receipt("", "", "first"))
    with pytest.raises(Broken, match="ended twice"):
        seat.failed(JobFault("timeout", "late"), Receipt("", "", "first"))


def test_an_attempt_that_never_ends() -> None:
    kept = books()
    kept.reserve()
    with pytest.raises(Broken, match="1 attempts never ended"):
        clock.run(kept.all_ended(seconds=10))
    with pytest.raises(Broken, match="1 attempts never ended"):
        kept.check()


def test_a_payment_hash_that_is_paid_twice() -> None:
    kept = books()
    kept.reserve().intend(INTENT)
    with pytest.raises(Broken, match="paid twice"):
        kept.reserve().intend(INTENT)


@pytest.mark.parametrize("sent", [{}, {"c" * 64: 6}, {"c" * 64: 5, "d" * 64: 1}])
def test_receipts_that_are_not_what_the_wallet_sent(sent: dict[str, int]) -> None:
    kept = books()
    seat = kept.reserve()
    seat.intend(INTENT)
    seat.failed(JobFault("timeout", "silent"), RECEIPT)
    kept.lightning.sent = sent
    with pytest.raises(Broken, match="payments differ"):
        kept.check()
    kept.lightning.sent = {"c" * 64: 5}
    kept.check()


def test_more_than_was_intended() -> None:
    kept = books()
    seat = kept.reserve()
    seat.failed(JobFault("timeout", "silent"), RECEIPT)
    kept.lightning.sent = {"c" * 64: 5}
    with pytest.raises(Broken, match="more was sent than intended"):
        kept.check()
    assert Counter(one.order for one in kept.receipts) == {"pay-first": 1}
