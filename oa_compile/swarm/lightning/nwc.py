"""Nostr Wallet Connect (NIP-47) as a wallet: payments asked for over a relay.

Owns the requests, which are nostr-sdk's, and how a wallet service's words become a `Payment`. The URI is a
secret: whoever has it can spend. It is in no repr, message or log.

The protocol knows no bound on fees, and a service that says nothing may have paid.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import nostr_sdk
from nostr_sdk import NostrSdkError, RelayStatus, TransactionState, TransactionType

from oa_compile.errors import UsageError
from oa_compile.swarm.lightning.bolt11 import InvoiceError, decode
from oa_compile.swarm.lightning.wallet import Payment, WalletError, proven

T = TypeVar("T")

ABANDONED_SECONDS = 600.0
"""How long an answer is listened for, past what anybody waits for."""
CONNECT_SECONDS = 5.0
QUESTION_SECONDS = 10.0

_UNUSABLE = frozenset({"Unauthorized", "Restricted", "NotImplemented", "QuotaExceeded"})
"""Errors that say this connection may not pay, whatever it is asked."""
_NEVER_BEGUN = frozenset({"InsufficientBalance", "RateLimited"})
"""Errors after which nobody needs to be asked what became of the payment."""
_CODED = re.compile(r"(.*) \[(\w+)\]", re.DOTALL)
"""How nostr-sdk words a service's error: the service's message, and the code in brackets."""


class _Refused(Exception):
    """The service answered with an error of NIP-47. `code` is nostr-sdk's spelling of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class _Unclear(Exception):
    """No answer, or one that cannot be read."""


class NwcWallet:
    """Pays through a wallet service. Fulfils `wallet.Wallet`; belongs to the loop that first uses it,
    which nostr-sdk is then told of: it calls back into one loop of a process only.
    """

    kind = "nwc"
    bounds_fees = False

    def __init__(self, uri: str) -> None:
        """From ``nostr+walletconnect://<pubkey>?relay=…&secret=…``. Raises UsageError for what is none."""
        try:
            self._uri = nostr_sdk.NostrWalletConnectUri.parse(uri.strip())
        except NostrSdkError:
            raise UsageError(
                "the wallet's URI cannot be read (it is not shown here: it can spend)",
                hint="it should read nostr+walletconnect://<pubkey>?relay=wss://…&secret=…",
            ) from None
        self._service = f"the wallet service {self._uri.public_key().to_hex()[:16]}…"
        self._nwc: Any = None
        self._open: dict[str, asyncio.Task[Any]] = {}
        self._paid: dict[str, Payment] = {}

    def __repr__(self) -> str:
        return f"NwcWallet({self._uri.public_key().to_hex()}, secret=…)"

    async def pay(self, bolt11: str, *, payment_hash: str, max_fee_msat: int, seconds: float) -> Payment:  # noqa: ARG002
        """See `wallet.Wallet`. `max_fee_msat` cannot be said in this protocol: what the service took is
        told, and the caller judges it.
        """
        if payment_hash in self._paid:
            return replace(self._paid[payment_hash], repeated=True)
        try:
            amount_msat = decode(bolt11).amount_msat
        except InvoiceError as error:
            raise WalletError(f"the invoice cannot be read: {error}") from error
        if amount_msat is None:
            raise WalletError("the invoice names no amount: the service would choose one")
        started = time.time()
        until = time.monotonic() + seconds
        await self._connected(seconds)
        joined = payment_hash in self._open
        task = self._open[payment_hash] if joined else self._begin(payment_hash, bolt11)
        await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        if not task.done():
            return await self._unsaid(payment_hash, f"{self._service} has not said how it ended")
        try:
            paid = task.result()
        except _Refused as error:
            return await self._refused(payment_hash, error, started=started)
        except _Unclear as error:
            return await self._unsaid(payment_hash, str(error))
        payment = proven(payment_hash, paid.preimage, amount_msat + (paid.fees_paid or 0), repeated=joined)
        self._paid[payment_hash] = payment
        return payment

    async def look_up(self, payment_hash: str, *, seconds: float = QUESTION_SECONDS) -> Payment:
        """See `wallet.Wallet`. While our own request is under way nothing but ``complete`` is an end."""
        payment, _ = await self._find(payment_hash, seconds=seconds)
        if payment.status != "complete" and payment_hash in self._open:
            return Payment(payment_hash, "pending")
        return payment

    async def balance_msat(self) -> int | None:
        """What the service says can be spent; None where it does not tell this connection."""
        try:
            answer = await self._ask(lambda nwc: nwc.get_balance(), seconds=QUESTION_SECONDS)
        except _Refused as error:
            if error.code in {"NotImplemented", "Restricted"}:
                return None
            raise WalletError(f"{self._service} tells no balance: {error}") from error
        return int(answer.balance)

    async def close(self) -> None:
        """See `wallet.Wallet`. Payments under way go on without us."""
        if self._nwc is not None:
            await self._nwc.client().shutdown()
            await asyncio.gather(*self._open.values(), return_exceptions=True)
            self._nwc = None

    def _begin(self, payment_hash: str, bolt11: str) -> asyncio.Task[Any]:
        """Ask for the payment; its answer, whenever it comes."""
        request = nostr_sdk.PayInvoiceRequest(id=None, invoice=bolt11, amount=None)
        task = asyncio.get_running_loop().create_task(_told(self._nwc.pay_invoice(request)))
        self._open[payment_hash] = task
        task.add_done_callback(partial(self._ended, payment_hash))
        return task

    def _ended(self, payment_hash: str, task: asyncio.Task[Any]) -> None:
        self._open.pop(payment_hash, None)
        if not task.cancelled():
            task.exception()  # looked at: nobody may be waiting any more

    async def _refused(self, payment_hash: str, error: _Refused, *, started: float) -> Payment:
        """The service says no. Some say so of payments that are still on their way, or that were made
        before: unless it is plain that nothing was sent, the service is asked.
        """
        if error.code in _UNUSABLE:
            raise WalletError(
                f"{self._service} will not pay: {error}",
                hint="see the connection's permissions and budget in the wallet",
            )
        if error.code in _NEVER_BEGUN:
            return Payment(payment_hash, "failed", reason=str(error))
        try:
            payment, created_at = await self._find(payment_hash, seconds=QUESTION_SECONDS)
        except WalletError as nobody:
            return Payment(payment_hash, "pending", reason=f"{error}; then {nobody.message}")
        if payment.status == "complete":
            return replace(payment, repeated=created_at < int(started) - 1)
        if payment.status == "pending":
            return replace(payment, reason=str(error))
        return Payment(payment_hash, "failed", reason=str(error))

    async def _unsaid(self, payment_hash: str, reason: str) -> Payment:
        """Nobody said how it ended: only what is complete now is no longer open."""
        try:
            payment, _ = await self._find(payment_hash, seconds=2)
        except WalletError as nobody:
            return Payment(payment_hash, "pending", reason=f"{reason}; then {nobody.message}")
        return payment if payment.status == "complete" else Payment(payment_hash, "pending", reason=reason)

    async def _find(self, payment_hash: str, *, seconds: float) -> tuple[Payment, int]:
        """What the service knows of a payment we made, and when it was made. Raises WalletError."""
        request = nostr_sdk.LookupInvoiceRequest(payment_hash=payment_hash, invoice=None)
        try:
            found = await self._ask(lambda nwc: nwc.lookup_invoice(request), seconds=seconds)
        except _Refused as error:
            if error.code == "NotFound":
                return Payment(payment_hash, "unknown"), 0
            raise WalletError(f"{self._service} looks nothing up: {error}") from error
        if found.transaction_type is TransactionType.INCOMING:
            return Payment(payment_hash, "unknown"), 0
        at = int(found.created_at.as_secs())
        if found.state is TransactionState.SETTLED or (found.state is None and found.preimage):
            return proven(payment_hash, found.preimage, found.amount + found.fees_paid), at
        if found.state in {TransactionState.FAILED, TransactionState.EXPIRED}:
            return Payment(payment_hash, "failed"), at
        return Payment(payment_hash, "pending"), at

    async def _ask(self, question: Callable[[Any], Awaitable[T]], *, seconds: float) -> T:
        """A question that changes nothing. Raises _Refused and WalletError."""
        until = asyncio.get_running_loop().time() + seconds
        await self._connected(seconds)
        try:
            async with asyncio.timeout_at(until):
                return await _told(question(self._nwc))
        except _Unclear as error:
            raise WalletError(f"{self._service} gave no answer: {error}") from error
        except TimeoutError as error:
            raise WalletError(
                f"{self._service} gave no answer in {seconds:g} s",
                hint="see whether the wallet is running and its relay reachable",
            ) from error

    async def _connected(self, seconds: float) -> None:
        """Have a relay that carries requests. Raises WalletError: nothing was sent."""
        if self._nwc is None:
            nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
            builder = nostr_sdk.NostrWalletConnectBuilder(self._uri)
            self._nwc = builder.timeout(timedelta(seconds=ABANDONED_SECONDS)).build()
        client = self._nwc.client()
        if await _is_connected(client):
            return
        for url in self._uri.relays():
            await client.add_relay(url)
        await client.connect(and_wait=timedelta(seconds=min(seconds, CONNECT_SECONDS)))
        if not await _is_connected(client):
            names = ", ".join(str(url) for url in self._uri.relays())
            raise WalletError(
                f"{self._service} cannot be reached: no connection to {names}",
                hint="see whether the relay is up, or renew the connection in the wallet",
            )


async def _is_connected(client: Any) -> bool:
    relays = await client.relays()
    return any(relay.status() == RelayStatus.CONNECTED for relay in relays.values())


async def _told(answer: Awaitable[T]) -> T:
    """A service's answer. Raises _Refused for its errors, _Unclear for anything else that is none."""
    try:
        return await answer
    except NostrSdkError as error:
        # str() of the error quotes its words
        words = str(error[0]) if isinstance(error, NostrSdkError.Generic) else repr(error)
        match = _CODED.fullmatch(words)
        if match is None:
            raise _Unclear(words) from error
        raise _Refused(match[2], match[1]) from error
