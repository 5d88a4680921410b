"""What the swarm's providers came to in a run, and what the same answers would have cost on premium.

A fold over the receipts of attempts; the table and the lines that the final screens show of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from oa_compile.events import Attempt
from oa_compile.hud.parts import facts, figures_table, money
from oa_compile.hud.text import counted, percent, plain
from oa_compile.money import Rate, format_msat, format_usd

_MILLION = Decimal(1_000_000)
_PUBKEY = 8
"""Hex digits of a public key that a person tells providers apart by."""


@dataclass(slots=True)
class ProviderSpend:
    """What attempts with one service provider came to; msat, fees included."""

    quotes: int = 0
    answered: int = 0
    unused: int = 0
    failed: int = 0
    paid_msat: int = 0
    lost_msat: int = 0


@dataclass(slots=True)
class SwarmSpend:
    """All attempts of a run that name a provider; empty when there are none."""

    providers: dict[str, ProviderSpend] = field(default_factory=dict)
    retries: int = 0
    hedges: int = 0
    audits: int = 0
    unused: int = 0
    settlements: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    """Of answers that were taken."""

    def take(self, event: Attempt) -> None:
        """Take up an attempt's end. Receipts are another program's words at times: what is no receipt of a
        provider is passed over.
        """
        receipt = event.receipt
        provider = receipt.get("provider")
        if not isinstance(provider, str) or not provider:
            return
        spend = self.providers.setdefault(provider, ProviderSpend())
        spend.paid_msat += event.msat
        if receipt.get("lost") is True:
            spend.lost_msat += event.msat
        if not event.calls:
            self.settlements += event.outcome == "ok"
            return
        spend.quotes += bool(receipt.get("price_msat"))
        spend.answered += event.outcome == "ok"
        spend.unused += event.outcome == "unused"
        spend.failed += event.outcome in {"fault", "lost"}
        why = receipt.get("why")
        self.retries += why == "retry"
        self.hedges += why == "hedge"
        self.audits += why == "audit"
        self.unused += event.outcome == "unused"
        if event.outcome == "ok" and event.answer is not None:
            self.input_tokens += event.answer.usage.input_tokens
            self.output_tokens += event.answer.usage.output_tokens

    def add(self, other: SwarmSpend) -> None:
        """Add another run's."""
        for name in ("retries", "hedges", "audits", "unused", "settlements", "input_tokens", "output_tokens"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for provider, theirs in other.providers.items():
            mine = self.providers.setdefault(provider, ProviderSpend())
            for name in ProviderSpend.__slots__:
                setattr(mine, name, getattr(mine, name) + getattr(theirs, name))

    def total(self, what: str) -> int:
        """The sum over providers of one of their figures."""
        return sum(getattr(spend, what) for spend in self.providers.values())


@dataclass(frozen=True, slots=True)
class Premium:
    """The lane of the verify stage, and its price in dollars a million tokens."""

    lane: str
    model: str
    input: Decimal
    output: Decimal

    def usd(self, spend: SwarmSpend) -> Decimal:
        """What the tokens of the swarm's answers cost there."""
        return (spend.input_tokens * self.input + spend.output_tokens * self.output) / _MILLION


def read_premium(settings: Mapping[str, Any]) -> Premium | None:
    """The premium lane of a journal's settings, if its price stands there."""
    try:
        lane = settings["stages"]["verify"]["task"]
        spec = settings["lanes"][lane]
        price = spec["price"]
        return Premium(
            lane, str(spec.get("model", lane)), Decimal(str(price["input"])), Decimal(str(price["output"]))
        )
    except (KeyError, TypeError, InvalidOperation, AttributeError):
        return None


def swarm_parts(spend: SwarmSpend, *, rate: Rate, premium: Premium | None) -> Iterator[RenderableType]:
    """The swarm's part of a final screen: a row a provider, what happened besides, and the comparison."""
    if not spend.providers:
        return
    yield Text()
    table = figures_table("provider", "quotes>", "answers>", "unused>", "failed>", "lost>", "msat>", "USD>")
    for provider, one in sorted(spend.providers.items(), key=lambda item: -item[1].answered):
        table.add_row(
            plain(provider[:_PUBKEY]),
            *(f"{figure:,}" for figure in (one.quotes, one.answered, one.unused, one.failed, one.lost_msat)),
            *money(one.paid_msat, rate),
        )
    yield table
    yield Text()
    happened = [
        f"{spend.retries:,} retried",
        f"{spend.hedges:,} hedged",
        f"{spend.audits:,} audited",
        f"{spend.unused:,} unused",
        f"{format_msat(spend.total('lost_msat'))} lost",
    ]
    if spend.settlements:
        happened.append(counted(spend.settlements, "tab") + " settled")
    pairs = [("swarm", " · ".join(happened))]
    if premium is not None:
        paid = spend.total("paid_msat")
        usd = premium.usd(spend)
        there = f"{format_usd(usd)} for the tokens of the same {spend.total('answered'):,} answers"
        share = f"; the swarm took {percent(float(rate.to_usd(paid) / usd))} of that" if usd else ""
        pairs.append((f"on {premium.lane}", f"{there} ({premium.model}){share}"))
    yield facts(pairs)
