"""The options several swarm commands share, and how their values are read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import typer

from oa_compile.errors import UsageError

Order = Literal["result-first", "pay-first"]

WithParent = Annotated[
    bool, typer.Option("--with-parent", hidden=True, help="End when standard input is closed.")
]
RelayUrls = Annotated[
    list[str] | None,
    typer.Option("--relay", metavar="<url>", help="A relay, such as wss://relay.example; may be repeated."),
]
LaneName = Annotated[
    str,
    typer.Option(
        "--lane",
        metavar="<lane>",
        help="What answers: embedded, embedded:<model>, litellm:<model>, or <config.toml>:<lane>.",
    ),
]
Price = Annotated[str, typer.Option("--price", metavar="<amount>", help="For one answer; 0 is free.")]
PayOrder = Annotated[
    Order, typer.Option("--order", help="Whether the answer or the payment comes first, off the tab.")
]
Tab = Annotated[
    str,
    typer.Option("--tab", metavar="<amount>", help="Most that a customer may owe; 0 keeps no tabs."),
]
Wallet = Annotated[
    Path | None,
    typer.Option("--wallet", metavar="<socket>", help="A Lightning node's lightning-rpc socket."),
]


def amount(option: str, text: str) -> int:
    """msat of what was typed: ``10msat``, ``5sat`` or a number of msat. Dollars need a rate, which a command
    without a config does not have. Raises UsageError.
    """
    from oa_compile.money import Rate, parse_amount

    try:
        if text.strip().isdigit():
            return parse_amount(int(text), Rate(Decimal(1)))
        if "usd" in text.lower() or "$" in text:
            raise ValueError(f"{text!r} is in dollars (write 10msat or 5sat)")
        return parse_amount(text, Rate(Decimal(1)))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
