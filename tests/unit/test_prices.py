"""Prices: found as litellm finds them, exact, and never above their ceiling."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import UsageError
from oa_compile.lanes import prices
from oa_compile.lanes.prices import ModelPrice, price_of, price_table
from oa_compile.money import Rate

TIERED = ("gemini/gemini-2.5-pro", "dashscope/qwen-flash")
NAMED = ("gpt-4o-mini", "openai/gpt-5.6", "anthropic/claude-sonnet-4-5", "perplexity/sonar", *TIERED)


def known(model: str) -> ModelPrice:
    price = price_of(model)
    assert price is not None, model
    return price


def test_a_price_is_the_table_s_text_to_the_last_digit() -> None:
    price = known("gpt-4o-mini")
    assert price.input_usd_per_token == Decimal("0.00000015")
    assert price.output_usd_per_token == Decimal("0.0000006")
    assert price.tiers[0].rates.cached == Decimal("0.000000075")
    assert (price.max_output_tokens, price.key, price.provider) == (16384, "gpt-4o-mini", "openai")
    assert all(
        isinstance(v, Decimal | int) for v in price_table()["gpt-4o-mini"].values() if "cost" in str(v)
    )


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("gemini/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("bedrock/us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6"),
        ("azure/gpt-4o-mini", "azure/gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:my-org::abc", "ft:gpt-4o-mini-2024-07-18"),
        ("openai/ft:gpt-4o-mini-2024-07-18:my-org::abc", "ft:gpt-4o-mini-2024-07-18"),
    ],
)
def test_a_model_is_found_under_the_prefix_of_its_provider(model: str, key: str) -> None:
    assert known(model).key == key


@pytest.mark.parametrize(
    "model",
    [
        "groq/gpt-4o-mini",  # in the table, but not Groq's
        "openai/no-such-model",
        "no-such-model",
        "sample_spec",
        "",
        "dall-e-3",  # priced by the picture
    ],
)
def test_what_has_no_price_per_token_of_that_provider_has_none(model: str) -> None:
    assert price_of(model) is None


def test_cached_and_written_input_have_their_own_rates() -> None:
    mini = known("gpt-4o-mini")
    assert mini.cost(input_tokens=100, output_tokens=0, cached_tokens=60) == 40 * Decimal(
        "1.5E-7"
    ) + 60 * Decimal("7.5E-8")
    claude = known("anthropic/claude-sonnet-4-5")
    assert claude.cost(input_tokens=10, output_tokens=0, written_tokens=10) == 10 * Decimal("0.00000375")


def test_more_cached_than_given_is_no_discount() -> None:
    mini = known("gpt-4o-mini")
    assert mini.cost(input_tokens=10, output_tokens=0, cached_tokens=99) == 10 * Decimal("7.5E-8")


@pytest.mark.parametrize(
    ("model", "limit", "below", "above"),
    [
        ("gemini/gemini-2.5-pro", 200_000, "0.00000125", "0.0000025"),
        ("dashscope/qwen-flash", 256_000, "5E-8", "2.5E-7"),
    ],
)
def test_a_long_request_is_dearer_as_a_whole(model: str, limit: int, below: str, above: str) -> None:
    price = known(model)
    assert price.cost(input_tokens=limit, output_tokens=0) == limit * Decimal(below)
    assert price.cost(input_tokens=limit + 1, output_tokens=0) == (limit + 1) * Decimal(above)


def test_a_search_on_every_request_is_priced() -> None:
    assert known("perplexity/sonar").per_request == Decimal("0.012")
    assert known("gpt-4o-mini").per_request == 0  # it searches only when asked to


def test_thinking_is_priced_at_the_dearer_output_rate() -> None:
    entry = price_table()["dashscope/qwen-turbo"]
    assert entry["output_cost_per_reasoning_token"] > entry["output_cost_per_token"]
    assert known("dashscope/qwen-turbo").output_usd_per_token == entry["output_cost_per_reasoning_token"]


@given(
    model=st.sampled_from(NAMED),
    bound=st.tuples(st.integers(0, 400_000), st.integers(0, 100_000)),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_no_usage_within_the_bound_costs_more_than_the_ceiling(
    model: str, bound: tuple[int, int], shares: tuple[float, float, float, float]
) -> None:
    price, rate = known(model), Rate(Decimal("97531.42"))
    used, made = int(bound[0] * shares[0]), int(bound[1] * shares[1])
    cost = price.cost(
        input_tokens=used,
        output_tokens=made,
        cached_tokens=int(used * shares[2]),
        written_tokens=int(used * shares[3]),
    )
    ceiling = price.ceiling(input_tokens=bound[0], output_tokens=bound[1])
    assert 0 <= cost <= ceiling
    assert rate.to_msat(cost) <= rate.to_msat(ceiling)


def test_every_price_in_the_table_can_be_read() -> None:
    read = [price for model in price_table() if (price := price_of(model)) is not None]
    assert len(read) > 2000
    for price in read:
        thresholds = [tier.above for tier in price.tiers]
        assert thresholds == sorted(set(thresholds))
        assert thresholds[0] == 0
        assert price.ceiling(input_tokens=1000, output_tokens=10) >= 0


def test_no_litellm_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    price_table.cache_clear()
    monkeypatch.setattr(prices.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="not installed"):
        price_of("gpt-4o-mini")
    price_table.cache_clear()


def test_the_table_is_read_without_importing_litellm() -> None:
    code = (
        "import sys; from oa_compile.lanes.prices import price_of; assert price_of('gpt-4o-mini')\n"
        "assert not {'litellm', 'openai', 'httpx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
