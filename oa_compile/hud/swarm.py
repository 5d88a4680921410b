"""What the swarm's providers came to in a run, and what the same answers would have cost on premium.

A fold over attempts, by the records the market keeps of providers; the table and the lines that the final
screens show of it.
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
from oa_compile.swarm.market.record import Records, merge, take

_MILLION = Decimal(1_000_000)
_PUBKEY = 8
"""Hex digits of a public key that a person tells providers apart by."""


@dataclass(slots=True)
class SwarmSpend:
    """All attempts of a run with service providers; empty when there are none."""

    providers: Records = field(default_factory=dict)
    retries: int = 0
    hedges: int = 0
    audits: int = 0
    settlements: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    """Of answers that were taken."""

    def take(self, event: Attempt, *, at: int) -> None:
        """Take up an attempt's end, journaled at `at` (Unix ms); another kind of lane's is passed over."""
        receipt = take(self.providers, event, at=at)
        if receipt is None:
            return
        self.retries += receipt.why == "retry"
        self.hedges += receipt.why == "hedge"
        self.audits += receipt.why == "audit"
        self.settlements += receipt.why == "settlement" and event.outcome == "ok"
        if event.outcome == "ok" and event.answer is not None:
            self.input_tokens += event.answer.usage.input_tokens
            self.output_tokens += event.answer.usage.output_tokens

    def add(self, other: SwarmSpend) -> None:
        """Add another run's."""
        for name in ("retries", "hedges", "audits", "settlements", "input_tokens", "output_tokens"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        merge(self.providers, other.providers)

    @property
    def unused(self) -> int:
        """Answers that were paid for and not taken."""
        return sum(record.unused for record in self.providers.values())

    @property
    def taken(self) -> int:
        """Answers that were."""
        return sum(record.answered - record.unused for record in self.providers.values())

    @property
    def lost_msat(self) -> int:
        """What was paid for no answer."""
        return sum(record.lost_msat for record in self.providers.values())

    @property
    def charged_msat(self) -> int:
        """What all of it took: paid, fees included, and owed."""
        return sum(record.charged_msat for record in self.providers.values())


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
    for one in sorted(spend.providers.values(), key=lambda record: -record.answered):
        figures = (one.quotes, one.answered, one.unused, one.failures, one.lost_msat)
        table.add_row(
            plain(one.provider[:_PUBKEY]),
            *(f"{figure:,}" for figure in figures),
            *money(one.charged_msat, rate),
        )
    yield table
    yield Text()
    happened = [
        f"{spend.retries:,} retried",
        f"{spend.hedges:,} hedged",
        f"{spend.audits:,} audited",
        f"{spend.unused:,} unused",
        f"{format_msat(spend.lost_msat)} lost",
    ]
    if spend.settlements:
        happened.append(counted(spend.settlements, "tab") + " settled")
    pairs = [("swarm", " · ".join(happened))]
    if premium is not None:
        usd = premium.usd(spend)
        there = f"{format_usd(usd)} for the tokens of the same {spend.taken:,} answers"
        share = (
            f"; the swarm took {percent(float(rate.to_usd(spend.charged_msat) / usd))} of that" if usd else ""
        )
        pairs.append((f"on {premium.lane}", f"{there} ({premium.model}){share}"))
    yield facts(pairs)
