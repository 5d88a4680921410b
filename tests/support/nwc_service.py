"""A wallet service of NIP-47 that pays from an embedded ledger: for tests of the NWC wallet.

Written on our own events and a plain websocket, so that it shares nothing with the client under test but the
ciphers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

import nostr_sdk
import websockets

from oa_compile.swarm.lightning.ledger_book import Code, LedgerRefusal, Pay
from oa_compile.swarm.lightning.ledger_node import Ledger
from oa_compile.swarm.protocol.event import Draft, Event, Keys, encode_event, event_from, verify

INFO, REQUEST, RESPONSE = 13194, 23194, 23195

Meddle = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class _Failure(Exception):
    """An error of NIP-47."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NwcService:
    """Serves one node of the ledger to whoever has `uri`.

    `meddle` sees each response, and may answer something else, or nothing. A method in `refusals` is not
    done, and answered with that code.
    """

    def __init__(self, relay: str, ledger: Ledger, node: str) -> None:
        self.keys = Keys.generate()
        self.customer = Keys.generate()
        self.uri = f"nostr+walletconnect://{self.keys.public}?relay={relay}&secret={self.customer.secret_hex}"
        self.meddle: Meddle = lambda _, reply: reply
        self.refusals: dict[str, str] = {}
        self.calls: list[str] = []
        self._relay = relay
        self._ledger = ledger
        self._node = node
        self._secret = nostr_sdk.Keys.parse(self.keys.secret_hex)
        self._customer = nostr_sdk.PublicKey.parse(self.customer.public)
        self._ended: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: websockets.ClientConnection | None = None
        ledger.listen(lambda _, payment_hash: self._ended.setdefault(payment_hash, asyncio.Event()).set())

    async def __aenter__(self) -> Self:
        self._socket = await websockets.connect(self._relay)
        filters = {"kinds": [REQUEST], "#p": [self.keys.public], "authors": [self.customer.public]}
        await self._socket.send(json.dumps(["REQ", "requests", filters]))
        while json.loads(await self._socket.recv())[0] != "EOSE":
            pass
        await self._publish(Draft(INFO, [], "pay_invoice lookup_invoice get_balance"))
        self._start(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Be gone."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            told = json.loads(message)
            if told[0] == "EVENT":
                event = event_from(told[2])
                if verify(event) and event.pubkey == self.customer.public:
                    self._start(self._answer(event))

    async def _answer(self, event: Event) -> None:
        request = json.loads(self._secret.nip04_decrypt(self._customer, event.content))
        method, params = request["method"], request["params"]
        self.calls.append(method)
        reply: dict[str, Any] | None = {"result_type": method, "error": None, "result": None}
        assert reply is not None
        try:
            if code := self.refusals.get(method):
                raise _Failure(code, "because")
            reply["result"] = await self._do(method, params)
        except _Failure as failure:
            reply["error"] = {"code": failure.code, "message": str(failure)}
        reply = self.meddle(method, reply)
        if reply is not None:
            sealed = self._secret.nip04_encrypt(self._customer, json.dumps(reply))
            await self._publish(Draft(RESPONSE, [["p", event.pubkey], ["e", event.id]], sealed))

    async def _publish(self, draft: Draft) -> None:
        assert self._socket is not None
        await self._socket.send(b'["EVENT",' + encode_event(self.keys.sign(draft)) + b"]", text=True)

    async def _do(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "get_balance":
                return {"balance": self._ledger.nodes[self._node].balance_msat}
            case "lookup_invoice":
                tries = self._ledger.nodes[self._node].pays.get(params["payment_hash"])
                if not tries:
                    raise _Failure("NOT_FOUND", "no such payment")
                return _told(tries[-1])
            case "pay_invoice":
                return await self._pay(params["invoice"])
        raise _Failure("NOT_IMPLEMENTED", method)

    async def _pay(self, text: str) -> dict[str, Any]:
        try:
            pay = self._ledger.pay(self._node, text)
        except LedgerRefusal as refusal:
            if "insufficient" in str(refusal):
                raise _Failure("INSUFFICIENT_BALANCE", str(refusal)) from refusal
            code = "OTHER" if refusal.code is Code.ALREADY_PAID else "PAYMENT_FAILED"
            raise _Failure(code, str(refusal)) from refusal
        if pay.status == "pending":
            await self._ended.setdefault(pay.sent.payment_hash, asyncio.Event()).wait()
        if pay.status == "failed":
            raise _Failure("PAYMENT_FAILED", "the payee failed it")
        return {"preimage": pay.bill.issued.preimage, "fees_paid": pay.sent.fee_msat}


def _told(pay: Pay) -> dict[str, Any]:
    states = {"complete": "settled", "pending": "pending", "failed": "failed"}
    told = {
        "type": "outgoing",
        "state": states[pay.status],
        "payment_hash": pay.sent.payment_hash,
        "amount": pay.sent.amount_msat,
        "fees_paid": pay.sent.fee_msat,
        "created_at": pay.sent.at,
    }
    return told | ({"preimage": pay.bill.issued.preimage} if pay.status == "complete" else {})
