"""A receipt: what one attempt with one service provider came to, as journals keep it.

Owns its fields, its JSON and the reading of it. Exchanges write receipts; tabs, records and screens are
folds over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import msgspec

from oa_compile.money import MAX_MSAT

Why = Literal["first", "retry", "hedge", "audit", "settlement"]
"""What an attempt was made for."""

Order = Literal["", "result-first", "pay-first", "tab", "free"]
"""How an attempt was paid: nothing was when it is empty."""

_Msat = Annotated[int, msgspec.Meta(ge=0, le=MAX_MSAT)]
_Pubkey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one attempt with one service provider came to. Amounts in msat.

    `provider` is a hex pubkey, empty where nobody was asked; `job` an event id. `why` and `order` are a `Why`
    and an `Order`; a later version's journal may have other words there. `paid_msat` is what left the wallet,
    `fee_msat` of it for routing; a job on a tab has a price and paid nothing yet, and the settlement that
    pays for it names it in `settles`. `lost`: paid, and no answer. `superseded`: another provider's answer
    was there first. `compared`: held against the answers of others, and `disagreed` with most of them.
    """

    provider: _Pubkey
    job: str = ""
    why: str = "first"
    order: str = ""
    price_msat: _Msat = 0
    paid_msat: _Msat = 0
    fee_msat: _Msat = 0
    payment_hash: str = ""
    preimage: str = ""
    wallet: str = ""
    settles: tuple[str, ...] = ()
    lost: bool = False
    superseded: bool = False
    compared: bool = False
    disagreed: bool = False

    @property
    def charged_msat(self) -> int:
        """What the budget is charged: what was paid or is owed; of a settlement only the fee, for its jobs
        were charged when they were answered.
        """
        if self.why == "settlement":
            return self.fee_msat
        return self.price_msat if self.order == "tab" else self.paid_msat

    def as_dict(self) -> dict[str, Any]:
        """The receipt as plain JSON, without what is empty."""
        values = ((name, getattr(self, name)) for name in _FIELDS)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values if value}


_FIELDS = tuple(field.name for field in fields(Receipt))


def read_receipt(receipt: Mapping[str, Any]) -> Receipt | None:
    """A receipt from its JSON, of any version's journal; None for what is no receipt of a service provider:
    another kind of lane's, or one that makes no sense. Never raises.
    """
    if "provider" not in receipt:
        return None
    try:
        return msgspec.convert(receipt, Receipt)
    except msgspec.ValidationError:
        return None
