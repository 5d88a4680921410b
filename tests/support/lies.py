"""What a lying or broken service provider does: a script for each lie, for tests.support.providers.

`LIES` has a script for each lie, by name, made anew by each call, for a lie may have to remember:
``ScriptedProvider(keys, network, LIES["reused payment hash"](), till=till)``. Each does everything right but
the one thing it is named for, and asks for exactly the bid (2 msat at least) where it is not about the
price. Which must never be paid stands in `NEVER_PAID`.

Every invoice of a lie can really be paid through tests.support.lightning, unless it is broken as text: a
customer that falls for it loses money, and the test sees it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from oa_compile.chat import ChatRequest
from oa_compile.swarm.lightning.bolt11 import Invoice
from oa_compile.swarm.protocol.event import Draft, Event, Keys
from oa_compile.swarm.protocol.nip90 import (
    FEEDBACK_KIND,
    JOB_KIND,
    RESULT_KIND,
    is_encrypted,
    job_of,
    read_job,
    read_result,
)
from tests.support.providers import Asked, Script, edited, tampered

OTHER = "f" * 64
"""An id or a key that is nobody's here."""


# Lies: one wrong thing each


def _altered(change: Callable[[Asked, Draft], Draft | Event]) -> Script:
    """A result first, changed before or after it is signed."""

    async def script(asked: Asked) -> None:
        invoice = await asked.bill()
        draft = asked.draft_result(amount_msat=asked.bid, bolt11=invoice.bolt11)
        await asked.send(change(asked, draft))

    return script


def _invoiced(make: Callable[[Asked], Invoice | str], *, quoted: bool = False) -> Script:
    """The bid as the amount, and an invoice that does not go with it."""

    async def script(asked: Asked) -> None:
        made = make(asked)
        bolt11 = made if isinstance(made, str) else made.bolt11
        if quoted:
            await asked.feedback("payment-required", amount_msat=asked.bid, bolt11=bolt11)
        else:
            await asked.result(amount_msat=asked.bid, bolt11=bolt11)

    return script


def _priced(text: str) -> Script:
    """A sound invoice over the bid, and beside it an amount that is written so; ``{}`` is the bid."""

    def change(asked: Asked, draft: Draft) -> Draft:
        return edited(draft, amount=text.format(asked.bid))

    return _altered(change)


def _above_bid(*, quoted: bool) -> Script:
    async def script(asked: Asked) -> None:
        msat = asked.bid + 1
        invoice = await asked.bill(msat)
        if quoted:
            await asked.quote(invoice, msat=msat)
        else:
            await asked.result(amount_msat=msat, bolt11=invoice.bolt11)

    return script


def _misspelt(asked: Asked) -> str:
    """One character of a sound invoice replaced."""
    text = asked.forge(asked.bid).bolt11
    return text[:-10] + ("q" if text[-10] != "q" else "p") + text[-9:]


def _reuses_invoice() -> Script:
    """The invoice of the first job for all of them."""
    first: list[Invoice] = []

    async def script(asked: Asked) -> None:
        if not first:
            first.append(await asked.bill())
        await asked.result(amount_msat=asked.bid, bolt11=first[0].bolt11)

    return script


def _reuses_hash() -> Script:
    """Another invoice each time, over the payment hash of the first."""
    first: list[Invoice] = []

    async def script(asked: Asked) -> None:
        if not first:
            first.append(await asked.bill())
            invoice = first[0]
        else:
            invoice = asked.forge(asked.bid, payment_hash=first[0].payment_hash)
        await asked.result(amount_msat=asked.bid, bolt11=invoice.bolt11)

    return script


def _replays(kind: int) -> Script:
    """Honest to the first job; to every later one it sends again what it sent to the first."""
    said: list[Event] = []

    async def script(asked: Asked) -> None:
        if said:
            await asked.send(said[0])
            return
        invoice = await asked.bill()
        if kind == RESULT_KIND:
            said.append(await asked.result(amount_msat=asked.bid, bolt11=invoice.bolt11))
            return
        said.append(await asked.quote(invoice))
        if await asked.paid(invoice):
            await asked.result(amount_msat=asked.bid)

    return script


async def _silent(asked: Asked) -> None:
    pass


async def _only_processing(asked: Asked) -> None:
    for _ in range(3):
        await asked.feedback("processing", "soon")


async def _success_without_result(asked: Asked) -> None:
    await asked.feedback("success")


async def _paid_and_silent(asked: Asked) -> None:
    await asked.quote(await asked.bill())


async def _paid_and_error(asked: Asked) -> None:
    invoice = await asked.bill()
    await asked.quote(invoice)
    if await asked.paid(invoice):
        await asked.feedback("error", "out of memory")


async def _result_before_paid(asked: Asked) -> None:
    await asked.quote(await asked.bill())
    await asked.result(amount_msat=asked.bid)


async def _two_quotes(asked: Asked) -> None:
    invoices = [await asked.bill() for _ in range(2)]
    for invoice in invoices:
        await asked.quote(invoice)
    waiting = [asyncio.ensure_future(asked.paid(invoice)) for invoice in invoices]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asked.result(amount_msat=asked.bid)
    await asyncio.gather(*waiting)


async def _two_results(asked: Asked) -> None:
    for text in ("yes", "no"):
        invoice = await asked.bill()
        await asked.result(text, amount_msat=asked.bid, bolt11=invoice.bolt11)


async def _billed_again(asked: Asked) -> None:
    """Paid first, and the result asks for the same price once more."""
    invoice = await asked.bill()
    await asked.quote(invoice)
    if await asked.paid(invoice):
        again = await asked.bill()
        await asked.result(amount_msat=asked.bid, bolt11=again.bolt11)


async def _dearer_result(asked: Asked) -> None:
    """Quotes less than the bid, and takes the bid once it is paid."""
    low = asked.bid - 1
    invoice = await asked.bill(low)
    await asked.quote(invoice, msat=low)
    if await asked.paid(invoice):
        more = await asked.bill()
        await asked.result(amount_msat=asked.bid, bolt11=more.bolt11)


def _undecryptable(asked: Asked, draft: Draft) -> Draft:
    tags = draft.tags if is_encrypted(asked.event) else [*draft.tags, ["encrypted"]]
    return Draft(draft.kind, tags, "AgpnYXJiYWdl")


def _stranger_signs(asked: Asked, draft: Draft) -> Event:
    return Keys.generate().sign(draft)


LIES: dict[str, Callable[[], Script]] = {
    # whose word it is
    "signed by another": lambda: _altered(_stranger_signs),
    "tampered content": lambda: _altered(lambda a, d: tampered(a.sign(d), content="no")),
    "tampered author": lambda: _altered(lambda a, d: tampered(Keys.generate().sign(d), pubkey=a.keys.public)),
    "for another job": lambda: _altered(lambda _a, d: edited(d, e=OTHER)),
    "for no job": lambda: _altered(lambda _a, d: edited(d, e=None)),
    "for another customer": lambda: _altered(lambda _a, d: edited(d, p=OTHER)),
    "of another kind": lambda: _altered(lambda _a, d: edited(d, kind=RESULT_KIND + 1)),
    "undecryptable": lambda: _altered(_undecryptable),
    "old result replayed": lambda: _replays(RESULT_KIND),
    "old quote replayed": lambda: _replays(FEEDBACK_KIND),
    # what it costs
    "result above the bid": lambda: _above_bid(quoted=False),
    "quote above the bid": lambda: _above_bid(quoted=True),
    "invoice above the amount": lambda: _invoiced(lambda a: a.forge(a.bid + 1)),
    "invoice below the amount": lambda: _invoiced(lambda a: a.forge(a.bid - 1)),
    "quoted invoice above the amount": lambda: _invoiced(lambda a: a.forge(2 * a.bid), quoted=True),
    "sat for msat": lambda: _invoiced(lambda a: a.forge(1000 * a.bid)),
    "invoice without amount": lambda: _invoiced(lambda a: a.forge(None)),
    "amount without invoice": lambda: _invoiced(lambda _a: ""),
    "dearer than quoted": lambda: _dearer_result,
    "billed again": lambda: _billed_again,
    "negative amount": lambda: _priced("-{}"),
    "fractional amount": lambda: _priced("{}.0"),
    "exponent amount": lambda: _priced("{}e0"),
    "signed amount": lambda: _priced("+{}"),
    "hexadecimal amount": lambda: _priced("0x1"),
    "huge amount": lambda: _priced("9" * 400),
    "empty amount": lambda: _priced(""),
    # the invoice
    "wrong network": lambda: _invoiced(lambda a: a.forge(a.bid, network="bitcoin")),
    "bad checksum": lambda: _invoiced(_misspelt),
    "no invoice at all": lambda: _invoiced(lambda _a: "lnbcrt1pay"),
    "no payment secret": lambda: _invoiced(lambda a: a.forge(a.bid, payment_secret="")),
    "expired": lambda: _invoiced(
        lambda a: a.forge(a.bid, created_at=int(time.time()) - 700, expiry_seconds=600)
    ),
    "nearly expired": lambda: _invoiced(lambda a: a.forge(a.bid, expiry_seconds=5)),
    "from the future": lambda: _invoiced(lambda a: a.forge(a.bid, created_at=int(time.time()) + 86_400)),
    "reused invoice": _reuses_invoice,
    "reused payment hash": _reuses_hash,
    # what comes, and when
    "silent": lambda: _silent,
    "only processing": lambda: _only_processing,
    "success without result": lambda: _success_without_result,
    "paid and silent": lambda: _paid_and_silent,
    "paid and error": lambda: _paid_and_error,
    "result before paid": lambda: _result_before_paid,
    "two quotes": lambda: _two_quotes,
    "two results": lambda: _two_results,
}

NEVER_PAID = frozenset(LIES) - {
    "old result replayed",
    "old quote replayed",
    "reused invoice",
    "reused payment hash",
    "dearer than quoted",
    "billed again",
    "paid and silent",
    "paid and error",
    "result before paid",
    "two quotes",
    "two results",
}
"""Lies that a customer sees before it pays. The others may cost the first job's bid, and nothing more."""


def copies(victim: str) -> Script:
    """A provider that has no model: it waits for the victim's answer to the same chat and gives it as its
    own; where it cannot read what the victim was asked or answered, it guesses. `victim` is a public key.
    """

    async def script(asked: Asked) -> None:
        chats: dict[str, ChatRequest | None] = {}
        texts: dict[str, str] = {}
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_event(event: Event) -> None:
            """Requests and results come in any order."""
            job = event.id if event.kind == JOB_KIND else job_of(event) or ""
            if event.kind == JOB_KIND:
                chats[job] = None if is_encrypted(event) else read_job(event).chat
            else:
                texts[job] = "a guess" if is_encrypted(event) else read_result(event).answer.text
            known = job in chats and job in texts
            if known and chats[job] in (asked.job.chat, None) and not found.done():
                found.set_result(texts[job])

        wanted = [{"kinds": [JOB_KIND], "#p": [victim]}, {"kinds": [RESULT_KIND], "authors": [victim]}]
        subscription = await asked.network.subscribe(wanted, on_event)
        text = await found
        await subscription.close()
        invoice = await asked.bill()
        await asked.result(text, amount_msat=asked.bid, bolt11=invoice.bolt11)

    return script
