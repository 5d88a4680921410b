"""What a service provider offers: its terms, and the contract of the function that answers for it.

Values only; the life of a job is `serving`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import UsageError
from oa_compile.money import check_msat
from oa_compile.swarm.protocol.nip89 import Handler

Answering = Callable[[ChatRequest, str], ChatAnswer]
"""Answers a request; the string is a digest of it, to seed sampling with. Blocking, called from several
threads at once. Raises AnswerRefused or AnswerFailed, nothing else on purpose.
"""


class AnswerRefused(Exception):
    """The request can never be answered here (too long, a parameter nobody offers); the message is told
    to the customer.
    """


class AnswerFailed(Exception):
    """Answering failed, and says nothing about the request. `kind` is one word (``timeout``, ``server``):
    all the customer is told.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a service provider offers, at what price, and how it wants to be paid.

    `price_msat` is for one job, 0 is free. Orders: ``result-first`` sends the invoice with the result,
    ``pay-first`` asks for payment and then runs; a customer that bids nothing is always asked first. With
    `tab_limit_msat` above 0, customers who ask for it may owe up to that much and settle many jobs with
    one invoice; above it the plain order holds. `network` names the Lightning network of the invoices.
    Raises UsageError for amounts that are none.
    """

    price_msat: int = 0
    order: Literal["result-first", "pay-first"] = "result-first"
    models: tuple[str, ...] = ()
    """Models a job may name; empty takes any name."""
    tab_limit_msat: int = 0
    name: str = ""
    about: str = ""
    operator: str = ""
    network: str = ""
    most_waiting: int = 256
    """Jobs that may wait for a free worker; one more is told to come back later."""
    most_unpaid: int = 1000
    """Quotes that may wait for their payment; one more is told to come back later."""
    quote_seconds: int = 60
    """How long an invoice that comes before the work can be paid."""
    invoice_seconds: int = 600
    """How long one that comes with the result, or settles a tab, can be paid."""

    def __post_init__(self) -> None:
        for name in ("price_msat", "tab_limit_msat"):
            try:
                check_msat(getattr(self, name))
            except ValueError as error:
                raise UsageError(f"{name} of a provider's terms: {error}") from error

    def announcement(self, provider: str, *, encrypts: bool, created_at: int) -> Handler:
        """These terms as the provider of that public key announces them."""
        order: Literal["result-first", "pay-first", "tab", ""] = "tab" if self.tab_limit_msat else self.order
        return Handler(
            provider=provider,
            name=self.name,
            about=self.about,
            models=self.models,
            price_msat=self.price_msat,
            order=order if self.price_msat else "",
            network=self.network,
            operator=self.operator,
            encrypts=encrypts,
            tab_limit_msat=self.tab_limit_msat,
            created_at=created_at,
        )


_PLACE = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?[/\\][^\s'\"<>|:;,)]+")
"""Absolute paths, and what follows the scheme of an address."""
_SECRET = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_LONGEST = 300


def presentable(message: str) -> str:
    """A message that may leave for a stranger: one line, no paths, nothing that could be a key."""
    line = " ".join("".join(char if char.isprintable() else " " for char in message).split())
    line = _SECRET.sub("…", _PLACE.sub("…", line))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
