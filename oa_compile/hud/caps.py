"""Caps and exchange rate as a journal's settings tell them, and how full a cap is.

Reads only; the ledger is what refuses. Settings come from a file that another version may have
written, so a piece that cannot be read is no cap rather than an error: a view must open any journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from oa_compile.ledger import RUN, Caps
from oa_compile.money import Rate, format_msat
from oa_compile.spec.budget import BudgetSpec, MoneySpec

UNITS = ("msat", "calls", "tokens")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One cap and how much of it is used; `unit` is one of UNITS, or ``seconds``."""

    scope: str
    unit: str
    used: float
    limit: float

    @property
    def share(self) -> float:
        """Used part of the cap; 1.0 is full, and a cap of nothing is full."""
        return self.used / self.limit if self.limit > 0 else 1.0

    @property
    def limit_text(self) -> str:
        """The cap in words: ``5,000 msat``, ``685 calls``, ``1,800 s``."""
        if self.unit == "msat":
            return format_msat(int(self.limit))
        return f"{self.limit:,.0f} {'s' if self.unit == 'seconds' else self.unit}"


def read_rate(settings: Mapping[str, Any]) -> Rate:
    """The exchange rate of the settings, or the default one."""
    try:
        return MoneySpec.model_validate(settings.get("money") or {}).rate
    except ValidationError:
        return MoneySpec().rate


def read_caps(settings: Mapping[str, Any]) -> dict[str, Caps]:
    """Caps by scope, named as the ledger names them: ``run``, ``stage compile``, ``lane local``."""
    rate = read_rate(settings)
    budgets = {RUN: settings.get("budget")}
    for kind, table in (("stage", settings.get("stages")), ("lane", settings.get("lanes"))):
        if isinstance(table, Mapping):
            for name, entry in table.items():
                budgets[f"{kind} {name}"] = entry.get("budget") if isinstance(entry, Mapping) else None
    caps = {scope: _caps(budget, rate) for scope, budget in budgets.items()}
    return {scope: cap for scope, cap in caps.items() if cap != Caps()}


def _caps(budget: Any, rate: Rate) -> Caps:
    try:
        return BudgetSpec.model_validate(budget or {}).caps(rate)
    except ValueError:  # pydantic's ValidationError is one
        return Caps()
