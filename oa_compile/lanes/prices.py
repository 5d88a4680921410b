"""What a model costs, from litellm's table, read without importing litellm.

Owns finding a model in the table and pricing tokens in dollars; converting to msat is `money`'s work.
Everything is Decimal from the table's text on: a float never touches a price.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from oa_compile.errors import UsageError

TABLE_NAME = "model_prices_and_context_window_backup.json"

_NOTHING = Decimal(0)
_ABOVE = re.compile(r"_above_(\d+)k_tokens$")
_PROVIDER_FAMILIES = ("vertex_ai", "fireworks_ai", "bedrock")
"""Providers whose entries name a branch (``vertex_ai-anthropic_models``) behind the same prefix."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per token. `cached` is for input read from the provider's cache, `written` for input
    the provider put there (some do so unasked, and charge more for it).
    """

    input: Decimal
    output: Decimal
    cached: Decimal
    written: Decimal

    @property
    def dearest_input(self) -> Decimal:
        """The most one input token can cost."""
        return max(self.input, self.cached, self.written)


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a whole request with more than `above` input tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """A model's price. `tiers` are in rising order, the first from 0; `per_request` is in dollars;
    `key` is the table's own name for the model, empty for a price from the config.
    """

    tiers: tuple[Tier, ...]
    per_request: Decimal = _NOTHING
    max_output_tokens: int | None = None
    key: str = ""
    provider: str = ""

    @classmethod
    def flat(
        cls, *, input_usd_per_token: Decimal, output_usd_per_token: Decimal, provider: str = ""
    ) -> ModelPrice:
        """One rate for all input and one for all output."""
        rates = Rates(input_usd_per_token, output_usd_per_token, input_usd_per_token, input_usd_per_token)
        return cls((Tier(0, rates),), provider=provider)

    @property
    def input_usd_per_token(self) -> Decimal:
        """Of a short request."""
        return self.tiers[0].rates.input

    @property
    def output_usd_per_token(self) -> Decimal:
        """Of a short request."""
        return self.tiers[0].rates.output

    def cost(
        self, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0, written_tokens: int = 0
    ) -> Decimal:
        """Dollars of one request. `input_tokens` includes the cached and the written ones."""
        rates = next(tier.rates for tier in reversed(self.tiers) if tier.above < max(input_tokens, 1))
        cached = min(cached_tokens, input_tokens)
        written = min(written_tokens, input_tokens - cached)
        plain = input_tokens - cached - written
        return (
            self.per_request
            + plain * rates.input
            + cached * rates.cached
            + written * rates.written
            + output_tokens * rates.output
        )

    def ceiling(self, *, input_tokens: int, output_tokens: int) -> Decimal:
        """The most dollars a request of at most so many tokens can cost, whatever is cached."""
        reachable = [tier.rates for tier in self.tiers if tier.above < max(input_tokens, 1)]
        dearest_input = max(rates.dearest_input for rates in reachable)
        dearest_output = max(rates.output for rates in reachable)
        return self.per_request + input_tokens * dearest_input + output_tokens * dearest_output


def price_of(model: str) -> ModelPrice | None:
    """The price of a litellm model name (``openai/gpt-4o-mini``, ``gpt-4o-mini``), None if the table
    has none per token.
    """
    table = price_table()
    for name in _names(model):
        entry = table.get(name)
        if entry is not None and _bills(entry, model, name):
            return _price(name, entry)
    return None


def _names(model: str) -> tuple[str, ...]:
    """The table's keys a model may stand under, most specific first, as litellm tries them."""
    _, slash, bare = model.partition("/")
    bare = bare if slash else model
    tuned = ":".join(bare.split(":")[:2]) if bare.startswith("ft:") else bare
    return tuple(dict.fromkeys((model, bare, tuned)))


def _bills(entry: Mapping[str, Any], model: str, name: str) -> bool:
    """Whether an entry found without the model's prefix is that provider's: ``groq/gpt-4o-mini`` must
    not be sold at OpenAI's price.
    """
    prefix, slash, _ = model.partition("/")
    if not slash or name == model:
        return True
    provider = str(entry.get("litellm_provider", ""))
    return provider == prefix or (prefix in _PROVIDER_FAMILIES and provider.startswith(prefix))


@functools.cache
def price_table() -> Mapping[str, Mapping[str, Any]]:
    """litellm's table, numbers as Decimal. Raises UsageError when litellm is not installed."""
    spec = importlib.util.find_spec("litellm")  # a top-level name is found, not imported
    if spec is None or spec.origin is None:
        raise UsageError("litellm is not installed", hint="install it: pip install litellm")
    path = Path(spec.origin).with_name(TABLE_NAME)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot read litellm's price table: {error.strerror}",
            hint="reinstall litellm, or set a [price] for each litellm lane",
        ) from error
    table: dict[str, dict[str, Any]] = json.loads(text, parse_float=Decimal)
    del table["sample_spec"]
    return table


def _price(key: str, entry: Mapping[str, Any]) -> ModelPrice | None:
    tiers = _range_tiers(entry) or _threshold_tiers(entry)
    if not tiers:
        return None
    limit = entry.get("max_output_tokens")
    return ModelPrice(
        tiers=tiers,
        per_request=_per_request(key, entry),
        max_output_tokens=int(limit) if isinstance(limit, int | Decimal) else None,
        key=key,
        provider=str(entry.get("litellm_provider", "")),
    )


def _range_tiers(entry: Mapping[str, Any]) -> tuple[Tier, ...]:
    """Tiers written as a list with ranges of input tokens."""
    parts = entry.get("tiered_pricing") or ()
    tiers = [Tier(int(part["range"][0]), rates) for part in parts if (rates := _rates(part))]
    tiers.sort(key=lambda tier: tier.above)
    return tuple(tiers) if tiers and tiers[0].above == 0 else ()


def _threshold_tiers(entry: Mapping[str, Any]) -> tuple[Tier, ...]:
    """Tiers written as ``…_above_200k_tokens`` keys beside the base ones."""
    base = _rates(entry)
    if base is None:
        return ()
    tiers = [Tier(0, base)]
    for thousands in sorted({int(m[1]) for name in entry if (m := _ABOVE.search(name))}):
        above = f"_above_{thousands}k_tokens"
        changed = {n.removesuffix(above): v for n, v in entry.items() if n.endswith(above)}
        rates = _rates({**entry, **changed})
        if rates is not None:
            tiers.append(Tier(thousands * 1000, rates))
    return tuple(tiers)


def _rates(entry: Mapping[str, Any]) -> Rates | None:
    given, made = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if given is None or made is None:
        return None
    # Where thinking has its own rate, all output is priced at the dearer one: providers do not agree
    # on which tokens they call reasoning.
    made = max(Decimal(made), Decimal(entry.get("output_cost_per_reasoning_token") or 0))
    cached = entry.get("cache_read_input_token_cost")
    written = entry.get("cache_creation_input_token_cost")
    plain = Decimal(given)
    return Rates(
        input=plain,
        output=made,
        cached=plain if cached is None else Decimal(cached),
        written=plain if written is None else Decimal(written),
    )


def _per_request(key: str, entry: Mapping[str, Any]) -> Decimal:
    """Dollars beside the tokens: models that search the web on every request charge for the search."""
    fee = Decimal(entry.get("input_cost_per_request") or 0)
    if entry.get("litellm_provider") == "perplexity" or "search-preview" in key:
        searches = entry.get("search_context_cost_per_query") or {}
        fee += max((Decimal(cost) for cost in searches.values()), default=_NOTHING)
    return fee
