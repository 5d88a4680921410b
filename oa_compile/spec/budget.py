"""Money and caps as a person writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

from oa_compile.ledger import Caps
from oa_compile.money import MSAT_PER_BTC, Rate, parse_amount
from oa_compile.spec.base import SpecModel


def _is_an_amount(value: int | str) -> int | str:
    parse_amount(value, Rate(Decimal(100_000)))  # the form is checked here; the rate is applied later
    return value


Amount = Annotated[int | str, AfterValidator(_is_an_amount)]
"""Money: a whole number of msat, or ``"500msat"``, ``"12sat"``, ``"0.50usd"``."""


class MoneySpec(SpecModel):
    """The exchange rate used for every price; a setting with a date, never looked up."""

    usd_per_btc: Decimal = Field(default=Decimal(100_000), gt=0, le=MSAT_PER_BTC)
    as_of: str = ""

    @property
    def rate(self) -> Rate:
        """The rate as a value that converts."""
        return Rate(self.usd_per_btc)


class BudgetSpec(SpecModel):
    """Caps; what is left out is not capped. `cost` is an amount: 5000, "500msat", "12sat", "0.50usd"."""

    cost: Amount | None = None
    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, gt=0)

    def caps(self, rate: Rate) -> Caps:
        """These caps as the ledger holds them; `cost` in msat."""
        msat = None if self.cost is None else parse_amount(self.cost, rate)
        return Caps(msat=msat, calls=self.calls, tokens=self.tokens, seconds=self.seconds)
