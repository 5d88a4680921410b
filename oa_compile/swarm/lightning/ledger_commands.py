"""The embedded ledger's commands: lightningd's, as far as paying and being paid goes.

Owns the commands and their replies. Their parameters are `ledger_params`', the wire they come over is
`ledger_rpc`'s, what they do to the book `ledger_node`'s matter. Fields that channels would be needed for are
not there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from oa_compile.swarm.lightning import bolt11
from oa_compile.swarm.lightning.ledger_book import Bill, Code, LedgerRefusal, Node, Pay
from oa_compile.swarm.lightning.ledger_node import WEEK, Ledger
from oa_compile.swarm.lightning.ledger_params import Params, given_by_name, hex32_of, msat_of, whole_of

Reply = dict[str, Any]
Wait = Callable[[str, float | None], Awaitable[None]]
"""Waits till a payment of that payment hash, or to the node of that name, ends; or so many seconds."""


class Commands:
    """What one node can be asked. A command is a method; its parameters are the command's, in order."""

    def __init__(self, ledger: Ledger, node: Node, wait: Wait) -> None:
        self._ledger = ledger
        self._node = node
        self._wait = wait

    def run(self, name: str, params: Params | list[Any]) -> Reply | Coroutine[Any, Any, Reply]:
        """Do the command of that name, with its parameters by name or in order; the reply, or what to await
        for it. Raises LedgerRefusal and StorageError.
        """
        given = given_by_name(name, params)
        method: Callable[[Params], Reply | Coroutine[Any, Any, Reply]] = getattr(self, name)
        return method(given)

    def getinfo(self, _: Params) -> Reply:
        return {
            "id": self._node.key.id,
            "alias": self._node.name,
            "network": self._ledger.network,
            "version": "oacompile-ledger",
            "blockheight": 0,
            "num_peers": 0,
            "num_active_channels": 0,
        }

    def invoice(self, params: Params) -> Reply:
        wanted = params["amount_msat"]
        bill = self._ledger.invoice(
            self._node.name,
            None if wanted == "any" else msat_of(wanted, "amount_msat"),
            label=str(params["label"]),
            description=str(params["description"]),
            expiry_seconds=whole_of(params.get("expiry", WEEK), "expiry"),
            preimage=hex32_of(params.get("preimage", ""), "preimage"),
        )
        return {
            "payment_hash": bill.issued.payment_hash,
            "expires_at": bill.issued.expires_at,
            "bolt11": bill.issued.bolt11,
            "payment_secret": bill.issued.payment_secret,
            "created_index": bill.created_index,
        }

    def decode(self, params: Params) -> Reply:
        try:
            invoice = bolt11.decode(str(params["string"]))
        except bolt11.InvoiceError as error:
            raise LedgerRefusal(Code.INVALID_PARAMS, f"Invalid bolt11: {error}") from error
        told: Reply = {
            "type": "bolt11 invoice",
            "valid": True,
            "currency": bolt11.PREFIXES[invoice.network],
            "created_at": invoice.created_at,
            "expiry": invoice.expiry_seconds,
            "payee": invoice.payee,
            "payment_hash": invoice.payment_hash,
            "min_final_cltv_expiry": invoice.min_final_cltv,
        }
        optional = {
            "amount_msat": invoice.amount_msat,
            "payment_secret": invoice.payment_secret,
            "description_hash": invoice.description_hash,
        }
        told.update({name: value for name, value in optional.items() if value})
        if not invoice.description_hash:
            told["description"] = invoice.description
        if invoice.features:
            told["features"] = f"{invoice.features:0{-(-invoice.features.bit_length() // 8) * 2}x}"
        return told

    def xpay(self, params: Params) -> Reply | Coroutine[Any, Any, Reply]:
        pay = self._begin_pay(str(params["invstring"]), params)
        return _told_xpay(pay) if pay.status == "complete" else self._xpay_ends(pay)

    async def _xpay_ends(self, pay: Pay) -> Reply:
        return _told_xpay(await self._through(pay))

    async def pay(self, params: Params) -> Reply:
        text = str(params["bolt11"])
        try:
            pay = await self._through(self._begin_pay(text, params))
        except LedgerRefusal as refusal:
            if refusal.code is not Code.ALREADY_PAID:
                raise
            tries = self._node.pays[bolt11.decode(text).payment_hash]
            pay = next(pay for pay in tries if pay.status == "complete")
        return {
            "payment_preimage": pay.bill.issued.preimage,
            "payment_hash": pay.sent.payment_hash,
            "destination": self._ledger.nodes[pay.bill.issued.node].key.id,
            "created_at": pay.sent.at,
            "parts": 1,
            "amount_msat": pay.sent.amount_msat,
            "amount_sent_msat": pay.total_msat,
            "status": "complete",
        }

    def _begin_pay(self, text: str, params: Params) -> Pay:
        fee, amount = params.get("maxfee"), params.get("amount_msat")
        return self._ledger.pay(
            self._node.name,
            text,
            max_fee_msat=None if fee is None else msat_of(fee, "maxfee"),
            amount_msat=None if amount is None else msat_of(amount, "amount_msat"),
        )

    async def _through(self, pay: Pay) -> Pay:
        """A payment that went through, however long it takes. `retry_for` bounds nothing here, as with a
        payee who holds on to a payment: nobody can call it back.
        """
        while pay.status == "pending":
            await self._wait(pay.sent.payment_hash, None)
        if pay.status == "failed":
            raise LedgerRefusal(Code.DESTINATION_FAILED, "Destination failed the payment")
        return pay

    def listpays(self, params: Params) -> Reply:
        wanted = params.get("status")
        return {"pays": [_told_pay(pay) for pay in self._pays(params) if wanted in {None, pay.status}]}

    def listsendpays(self, params: Params) -> Reply:
        told = []
        for pay in self._pays(params):
            one = {"id": pay.created_index, "groupid": 1, **_told_pay(pay)}
            if pay.status == "complete":
                one["payment_preimage"] = one.pop("preimage")
            told.append(one)
        return {"payments": told}

    def _pays(self, params: Params) -> list[Pay]:
        """The attempts a `bolt11` or `payment_hash` names; all of them if neither is given."""
        if text := params.get("bolt11"):
            try:
                wanted = bolt11.decode(str(text)).payment_hash
            except bolt11.InvoiceError as error:
                raise LedgerRefusal(Code.INVALID_PARAMS, f"Invalid bolt11: {error}") from error
        elif not (wanted := hex32_of(params.get("payment_hash", ""), "payment_hash")):
            every = (pay for tries in self._node.pays.values() for pay in tries)
            return sorted(every, key=lambda pay: pay.created_index)
        return list(self._node.pays.get(wanted, ()))

    def listinvoices(self, params: Params) -> Reply:
        found: Iterable[Bill | None]
        if "label" in params:
            found = [self._node.labels.get(str(params["label"]))]
        elif "payment_hash" in params:
            found = [self._node.bills.get(hex32_of(params["payment_hash"], "payment_hash"))]
        elif "invstring" in params:
            text = str(params["invstring"]).lower()
            found = [bill for bill in self._node.bills.values() if bill.issued.bolt11 == text]
        else:
            found = self._node.bills.values()
        return {"invoices": [self._told_bill(bill) for bill in found if bill is not None]}

    async def waitinvoice(self, params: Params) -> Reply:
        bill = self._node.labels.get(str(params["label"]))
        if bill is None:
            raise LedgerRefusal(Code.LIGHTNINGD, "Label not found")
        while not bill.pay_index:
            left = bill.issued.expires_at - self._ledger.now()
            if left < 0:
                raise LedgerRefusal(Code.EXPIRED_WHILE_WAITING, "Invoice expired")
            await self._wait(bill.issued.payment_hash, left + 1)
        return self._told_bill(bill)

    async def waitanyinvoice(self, params: Params) -> Reply:
        last = whole_of(params.get("lastpay_index", 0), "lastpay_index")
        limit = params.get("timeout")
        until = None if limit is None else time.monotonic() + whole_of(limit, "timeout")
        while len(self._node.paid) <= last:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise LedgerRefusal(Code.WAIT_TIMED_OUT, "Timed out")
            await self._wait(self._node.name, left)
        return self._told_bill(self._node.paid[last])

    def listfunds(self, _: Params) -> Reply:
        channel = {
            "peer_id": self._node.key.id,
            "our_amount_msat": self._node.balance_msat,
            "amount_msat": self._node.balance_msat,
            "funding_txid": "0" * 64,
            "funding_output": 0,
            "connected": True,
            "state": "CHANNELD_NORMAL",
        }
        return {"outputs": [], "channels": [channel]}

    def _told_bill(self, bill: Bill) -> Reply:
        issued = bill.issued
        expired = self._ledger.now() > issued.expires_at
        told: Reply = {
            "label": issued.label,
            "bolt11": issued.bolt11,
            "payment_hash": issued.payment_hash,
            "status": "paid" if bill.pay_index else "expired" if expired else "unpaid",
            "description": issued.description,
            "expires_at": issued.expires_at,
            "created_index": bill.created_index,
        }
        if issued.amount_msat is not None:
            told["amount_msat"] = issued.amount_msat
        if bill.pay_index:
            told |= {
                "pay_index": bill.pay_index,
                "amount_received_msat": bill.received_msat,
                "paid_at": bill.paid_at,
                "payment_preimage": issued.preimage,
            }
        return told


def _told_xpay(pay: Pay) -> Reply:
    """A payment that went through, as `xpay` tells it."""
    return {
        "payment_preimage": pay.bill.issued.preimage,
        "amount_msat": pay.sent.amount_msat,
        "amount_sent_msat": pay.total_msat,
        "failed_parts": 0,
        "successful_parts": 1,
    }


def _told_pay(pay: Pay) -> Reply:
    """A payment as `listpays` tells it."""
    told: Reply = {
        "payment_hash": pay.sent.payment_hash,
        "status": pay.status,
        "created_at": pay.sent.at,
        "created_index": pay.created_index,
        "bolt11": pay.sent.bolt11,
        "amount_msat": pay.sent.amount_msat,
        "amount_sent_msat": pay.total_msat,
    }
    if pay.status == "complete":
        told |= {"preimage": pay.bill.issued.preimage, "completed_at": pay.ended_at}
    return told
