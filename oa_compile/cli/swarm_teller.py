"""What a provider says of its jobs: a line each for people, an object a line for programs."""

from __future__ import annotations

import asyncio
import json as json_module
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.swarm.lightning.cln_till import ClnTill
    from oa_compile.swarm.provider.serving import Served
    from oa_compile.swarm.provider.terms import Terms

_MOST_WATCHED = 2000
"""Invoices that went out with an answer and are waited for, to tell of their payment."""


class Teller:
    """Says what happens: a line a job for people, an object a line for programs."""

    def __init__(self, screen: Output, *, json: bool, till: ClnTill | None, seconds: float) -> None:
        self._screen = screen
        self._json = json
        self._till = till
        self._seconds = seconds
        self._watched: set[asyncio.Task[None]] = set()
        self._paid_msat = 0

    def ready(self, provider: str, relays: tuple[str, ...], terms: Terms, *, serving: str) -> None:
        """The provider has announced itself."""
        from oa_compile.money import format_msat

        if self._json:
            self._write(
                {
                    "provider": provider,
                    "relays": list(relays),
                    "price_msat": terms.price_msat,
                    "order": terms.order,
                    "models": list(terms.models),
                    "network": terms.network,
                }
            )
            return
        price = f"{format_msat(terms.price_msat)}, {terms.order}" if terms.price_msat else "free"
        self._screen.show(
            f"provider {provider}",
            f"serving  {serving} on {', '.join(relays)}",
            f"price    {price}" + (f", on {terms.network}" if terms.network else ""),
            "",
            f"{'customer':<10}{'price':>10}{'tokens':>8}{'ms':>8}  paid",
        )

    def served(self, served: Served) -> None:
        """A job has ended."""
        if served.paid:
            self._paid_msat += served.msat
        if self._json:
            told = {name: value for name, value in asdict(served).items() if name != "seconds"}
            self._write({**told, "ms": round(served.seconds * 1000)})
        else:
            self._screen.show(job_line(served))
        if served.payment_hash and not served.paid and len(self._watched) < _MOST_WATCHED:
            task = asyncio.get_running_loop().create_task(self._watch(served))
            self._watched.add(task)
            task.add_done_callback(self._watched.discard)

    def ended(self, answered: int, declined: int, *, owed_msat: int) -> None:
        """The provider is about to end."""
        if not self._json:
            from oa_compile.money import format_msat

            owed = f", {format_msat(owed_msat)} owed on tabs" if owed_msat else ""
            self._screen.note(
                f"ended: {answered:,} jobs answered, {declined:,} declined, "
                f"{format_msat(self._paid_msat)} seen paid{owed}"
            )

    async def close(self) -> None:
        """Wait for no more payments."""
        for task in self._watched:
            task.cancel()
        await asyncio.gather(*self._watched, return_exceptions=True)

    async def _watch(self, served: Served) -> None:
        """See an invoice paid that went out with an answer."""
        from oa_compile.swarm.lightning.wallet import WalletError

        assert self._till is not None
        try:
            paid = await self._till.wait_paid(served.payment_hash, seconds=self._seconds)
        except WalletError:
            return  # the node is away: whether it was paid stands in its own books
        if paid:
            self._paid_msat += served.msat
        if self._json:
            self._write({"job": served.job, "outcome": "paid" if paid else "unpaid", "msat": served.msat})
        elif not paid:
            self._screen.show(
                f"{served.customer[:8]:<10}did not pay {served.msat:,} msat for {served.job[:8]}"
            )

    def _write(self, value: dict[str, Any]) -> None:
        self._screen.write(json_module.dumps(value) + "\n")


def job_line(served: Served) -> str:
    """One job for a person."""
    if served.outcome == "declined":
        return f"{served.customer[:8]:<10}declined: {served.message}"
    how = "yes" if served.paid else {"free": "free", "tab": "on the tab"}.get(served.order, "invoice sent")
    what = f"{served.tokens:>8,}" if served.outcome == "answered" else f"{'tab':>8}"
    price = f"{served.msat:,} msat"
    return f"{served.customer[:8]:<10}{price:>10}{what}{served.seconds * 1000:>8,.0f}  {how}"
