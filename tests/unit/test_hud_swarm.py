"""What a final screen says of the swarm: a row a provider, what happened besides, the same on premium."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.console import Console, Group

from oa_compile.chat import ChatAnswer, Usage
from oa_compile.events import Attempt
from oa_compile.hud.swarm import Premium, SwarmSpend, read_premium, swarm_parts
from oa_compile.money import Rate

ONE, OTHER = "a1" * 32, "b2" * 32


def attempt(outcome: str, *, msat: int = 0, calls: int = 1, **receipt: Any) -> Attempt:
    answer = ChatAnswer("x", Usage(1_000, 100)) if outcome in {"ok", "unused"} and calls else None
    common: dict[str, Any] = {"hold": 1, "key": "k", "lane": "swarm", "stage": "compile", "role": "task"}
    return Attempt(outcome=outcome, msat=msat, calls=calls, answer=answer, receipt=receipt, **common)  # type: ignore[arg-type]


def spend() -> SwarmSpend:
    folded = SwarmSpend()
    for event in (
        attempt("ok", msat=10, provider=ONE, why="first", price_msat=10),
        attempt("unused", msat=10, provider=ONE, why="hedge", price_msat=10),
        attempt("fault", msat=12, provider=OTHER, why="retry", price_msat=12, lost=True),
        attempt("ok", msat=1, calls=0, provider=OTHER, why="settlement"),
        attempt("ok", msat=5),  # of another kind of lane
        attempt("ok", msat=5, provider=7),  # no receipt of ours
    ):
        folded.take(event)
    return folded


def test_attempts_are_counted_by_provider_and_nothing_else_is() -> None:
    folded = spend()
    assert set(folded.providers) == {ONE, OTHER}
    one, other = folded.providers[ONE], folded.providers[OTHER]
    assert (one.quotes, one.answered, one.unused, one.failed, one.paid_msat) == (2, 1, 1, 0, 20)
    assert (other.quotes, other.failed, other.lost_msat, other.paid_msat) == (1, 1, 12, 13)
    assert (folded.retries, folded.hedges, folded.settlements) == (1, 1, 1)
    assert (folded.input_tokens, folded.output_tokens) == (1_000, 100)


def test_two_runs_add_up() -> None:
    total = spend()
    total.add(spend())
    assert total.total("paid_msat") == 66
    assert total.hedges == 2


def test_the_screen_tells_all_of_it_and_the_price_on_premium() -> None:
    premium = Premium("premium", "gpt", Decimal("0.15"), Decimal("0.60"))
    console = Console(width=100, color_system=None, file=None, record=True)
    with console.capture() as capture:
        console.print(Group(*swarm_parts(spend(), rate=Rate(Decimal(100_000)), premium=premium)))
    text = capture.get()
    assert ONE[:8] in text
    assert "1 retried · 1 hedged · 0 audited · 1 unused · 12 msat lost · 1 tab settled" in text
    assert "on premium" in text


def test_without_providers_there_is_nothing_to_show() -> None:
    assert list(swarm_parts(SwarmSpend(), rate=Rate(Decimal(100_000)), premium=None)) == []


def test_a_premium_lane_without_a_price_is_none_to_compare_with() -> None:
    lanes = {"big": {"model": "gpt", "price": {"input": "0.15", "output": "0.60"}}, "small": {"price": None}}
    settings = {"stages": {"verify": {"task": "big"}}, "lanes": lanes}
    assert read_premium(settings) == Premium("big", "gpt", Decimal("0.15"), Decimal("0.60"))
    assert read_premium({**settings, "stages": {"verify": {"task": "small"}}}) is None
    assert read_premium({}) is None
