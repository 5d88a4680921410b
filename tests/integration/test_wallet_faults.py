"""What can go wrong between us and a wallet, kind by kind, beyond what the contract's suite asks of all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pyln.client import LightningRpc, RpcError

from oa_compile.errors import UsageError
from oa_compile.swarm.lightning import bolt11
from oa_compile.swarm.lightning.bolt11 import Invoice
from oa_compile.swarm.lightning.cln import ClnWallet
from oa_compile.swarm.lightning.cln_till import ClnTill
from oa_compile.swarm.lightning.ledger_commands import Commands
from oa_compile.swarm.lightning.ledger_rpc import LedgerServer, serve
from oa_compile.swarm.lightning.nwc import NwcWallet
from oa_compile.swarm.lightning.wallet import PaymentAlarm, WalletError
from oa_compile.swarm.protocol.event import Keys
from tests.support.nwc_service import NwcService
from tests.support.wallets import FUNDS, LedgerRig, RpcProxy, cln_rig, nwc_rig

KEEPER = """
import asyncio, sys
from pathlib import Path
from oa_compile.swarm.lightning.ledger_rpc import serve

async def main():
    await serve(Path(sys.argv[1]), {"alice": 10**6, "bob": 0})
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    await asyncio.Event().wait()

asyncio.run(main())
"""

HANGING = """
import asyncio, sys
from pathlib import Path
from oa_compile.swarm.lightning.cln import ClnWallet

async def main():
    wallet = ClnWallet(Path(sys.argv[1]))
    paid = await wallet.pay(sys.argv[2], payment_hash=sys.argv[3], max_fee_msat=0, seconds=0.2)
    sys.stdout.write(paid.status)

asyncio.run(main())
"""


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket's name."""
    return tmp_path_factory.mktemp("s")


def over_cln(folder: Path, body: Callable[[LedgerRig, RpcProxy], Awaitable[None]]) -> None:
    async def go() -> None:
        async with cln_rig(folder) as rig:
            proxy = rig.break_off.__self__  # type: ignore[attr-defined]
            assert isinstance(proxy, RpcProxy)
            await body(rig, proxy)

    asyncio.run(go())


def over_nwc(folder: Path, body: Callable[[LedgerRig, NwcService], Awaitable[None]]) -> None:
    async def go() -> None:
        async with nwc_rig(folder) as rig:
            service = rig.break_off.__self__  # type: ignore[attr-defined]
            assert isinstance(service, NwcService)
            await body(rig, service)

    asyncio.run(go())


async def pay(rig: LedgerRig, invoice: Invoice, *, seconds: float = 20) -> Any:
    return await rig.wallet.pay(
        invoice.bolt11, payment_hash=invoice.payment_hash, max_fee_msat=10, seconds=seconds
    )


def replying(method: str, **fields: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Meddles with one method: its reply's result with other fields."""

    def meddle(called: str, reply: dict[str, Any]) -> dict[str, Any]:
        return {**reply, "result": {**reply["result"], **fields}} if called == method else reply

    return meddle


def failing(method: str, code: int, message: str) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Meddles with one method: it is done, and an error is told."""

    def meddle(called: str, reply: dict[str, Any]) -> dict[str, Any]:
        told = {"jsonrpc": "2.0", "id": reply["id"], "error": {"code": code, "message": message}}
        return told if called == method else reply

    return meddle


# Core Lightning


def test_a_missing_or_dead_socket_means_nothing_was_begun(short: Path) -> None:
    async def go() -> None:
        dead = short / "dead"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(dead))
        for path in (short / "nowhere", dead):
            wallet = ClnWallet(path)
            with pytest.raises(WalletError, match="no node answers") as caught:
                await wallet.pay("lnbcrt1", payment_hash="00" * 32, max_fee_msat=0, seconds=5)
            assert "[wallet]" in caught.value.hint
            with pytest.raises(WalletError):
                await wallet.balance_msat()
            await wallet.close()

    asyncio.run(go())


def test_a_connection_that_breaks_before_paying_is_pending_not_failed(tmp_path: Path) -> None:
    """The node knows nothing yet of what it may be about to pay."""

    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        proxy.swallow.add("xpay")
        invoice = await rig.invoice(1_000)
        payment = await pay(rig, invoice)
        assert payment.status == "pending"
        assert "lost" in payment.reason
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "unknown"

    over_cln(tmp_path, body)


def test_a_node_that_breaks_off_and_is_gone_leaves_it_pending(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        proxy.meddle = lambda _, __: None
        payment = await pay(rig, await rig.invoice(1_000))
        assert payment.status == "pending"
        assert rig.ledger.nodes["bob"].balance_msat == 1_000

    over_cln(tmp_path, body)


def test_an_error_told_of_a_payment_that_went_through_is_no_failure(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        proxy.meddle = failing("xpay", 209, "Timed out")
        payment = await pay(rig, await rig.invoice(1_000))
        assert (payment.status, payment.sent_msat, payment.repeated) == ("complete", 1_000, False)

    over_cln(tmp_path, body)


def test_already_paid_without_a_proof_is_pending(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        proxy.swallow.add("xpay")
        proxy.meddle = replying("listpays", pays=[])
        proxy.answers["xpay"] = {"code": 219, "message": "Already paid"}
        assert (await pay(rig, await rig.invoice(1_000))).status == "pending"

    over_cln(tmp_path, body)


def test_a_payment_of_long_ago_is_repeated_whatever_the_error(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        rig.offset[0] = -3600
        invoice = bolt11.decode(
            rig.ledger.invoice("bob", 7, label="x", description="", expiry_seconds=60).issued.bolt11
        )
        rig.ledger.pay("alice", invoice.bolt11)
        rig.offset[0] = 0
        proxy.meddle = failing("xpay", 207, "Invoice expired")
        payment = await pay(rig, invoice)
        assert (payment.status, payment.sent_msat, payment.repeated) == ("complete", 7, True)

    over_cln(tmp_path, body)


def test_an_error_nobody_can_check_is_pending(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        def meddle(method: str, reply: dict[str, Any]) -> dict[str, Any] | None:
            return None if method == "listpays" else failing("xpay", 205, "no route")(method, reply)

        proxy.meddle = meddle
        payment = await pay(rig, await rig.invoice(1_000))
        assert payment.status == "pending"
        assert "no route (205)" in payment.reason

    over_cln(tmp_path, body)


def test_what_was_paid_twice_is_counted_twice(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        invoice = await rig.invoice(1_000)
        await pay(rig, invoice)
        (one,) = (
            await asyncio.to_thread(LightningRpc(str(proxy.path)).listpays, payment_hash=invoice.payment_hash)
        )["pays"]
        failed = {**one, "status": "failed"}
        proxy.meddle = replying("listpays", pays=[failed, one, {**one, "amount_sent_msat": 1_500}])
        assert (await rig.wallet.look_up(invoice.payment_hash)).sent_msat == 2_500
        proxy.meddle = replying("listpays", pays=[failed, {**one, "status": "pending"}])
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "pending"
        proxy.meddle = replying("listpays", pays=[failed])
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "failed"

    over_cln(tmp_path, body)


@pytest.mark.parametrize("amount", [None, "1000msat", -1, 1.5, True, 10**30])
def test_an_amount_that_cannot_be_counted_is_an_alarm(tmp_path: Path, amount: object) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        proxy.meddle = replying("xpay", amount_sent_msat=amount)
        with pytest.raises(PaymentAlarm, match="what it took"):
            await pay(rig, await rig.invoice(1_000))

    over_cln(tmp_path, body)


@pytest.mark.parametrize("reply", [{}, {"pays": 3}, {"pays": [{}]}, {"pays": ["x"]}])
def test_replies_that_cannot_be_read_are_the_wallets_fault(tmp_path: Path, reply: dict[str, Any]) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        proxy.meddle = lambda _, whole: {**whole, "result": reply}
        with pytest.raises(WalletError, match="cannot be read"):
            await rig.wallet.look_up("00" * 32)
        with pytest.raises(WalletError, match="cannot be read"):
            await rig.wallet.balance_msat()

    over_cln(tmp_path, body)


def test_fees_are_always_bounded_in_msat(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, proxy: RpcProxy) -> None:
        await pay(rig, await rig.invoice(1_000))
        (xpay,) = (request for request in proxy.requests if request["method"] == "xpay")
        assert xpay["params"]["maxfee"] == 10
        assert xpay["params"]["retry_for"] == 20

    over_cln(tmp_path, body)


def test_payments_that_hang_leave_room_for_questions_and_for_others(tmp_path: Path) -> None:
    async def go() -> None:
        server = await serve(tmp_path, {"alice": FUNDS, "bob": 0, "eve": 0}, frozen=["eve"])
        wallet = ClnWallet(server.rpc_path("alice"))
        try:
            for n, payee in enumerate(["eve", "eve", "bob"]):
                issued = server.ledger.invoice(payee, 10, label=str(n), description="").issued
                payment = await wallet.pay(
                    issued.bolt11, payment_hash=issued.payment_hash, max_fee_msat=0, seconds=0.3
                )
                assert payment.status == ("pending" if payee == "eve" else "complete")
                assert (await wallet.look_up(issued.payment_hash)).status == payment.status
        finally:
            await wallet.close()
            await server.close()

    asyncio.run(go())


def test_a_payment_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    async def go() -> str:
        server = await serve(tmp_path, {"alice": FUNDS, "bob": 0}, frozen=["bob"])
        issued = server.ledger.invoice("bob", 10, label="x", description="").issued
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                HANGING,
                str(server.rpc_path("alice")),
                issued.bolt11,
                issued.payment_hash,
                stdout=subprocess.PIPE,
            )
            told, _ = await process.communicate()
            assert process.returncode == 0
            return told.decode()
        finally:
            await server.close()

    assert asyncio.run(go()) == "pending"


# The embedded ledger's JSON-RPC, as pyln-client sees it


Call = Callable[..., Awaitable[Any]]


def over_rpc(folder: Path, body: Callable[[LedgerServer, Call], Awaitable[None]]) -> None:
    """`body` gets the server, and a function that calls a node's command with pyln in a thread."""

    async def go() -> None:
        server = await serve(folder, {"alice": FUNDS, "bob": 0})

        async def call(node: str, command: str, *args: Any, **named: Any) -> Any:
            rpc = LightningRpc(str(server.rpc_path(node)))
            return await asyncio.to_thread(getattr(rpc, command), *args, **named)

        try:
            await body(server, call)
        finally:
            await server.close()

    asyncio.run(go())


async def code_of(call: Awaitable[Any]) -> int:
    with pytest.raises(RpcError) as caught:
        await call
    return int(caught.value.error["code"])


def test_pyln_pays_and_is_paid(tmp_path: Path) -> None:
    async def body(server: LedgerServer, call: Call) -> None:
        info = await call("alice", "getinfo")
        assert (info["network"], info["id"]) == ("regtest", server.ledger.nodes["alice"].key.id)
        made = await call("bob", "invoice", "1000msat", "a", "a job", expiry=60)
        decoded = await call("alice", "decode", made["bolt11"])
        assert (decoded["amount_msat"], decoded["payee"]) == (1000, server.ledger.nodes["bob"].key.id)
        assert decoded["payment_hash"] == made["payment_hash"]
        waiting = asyncio.create_task(call("bob", "waitinvoice", "a"))
        paid = await call("alice", "xpay", made["bolt11"], maxfee=0, retry_for=5)
        assert (paid["amount_msat"], paid["amount_sent_msat"]) == (1000, 1000)
        assert hashlib.sha256(bytes.fromhex(paid["payment_preimage"])).hexdigest() == made["payment_hash"]
        assert (await waiting)["status"] == "paid"
        (listed,) = (await call("alice", "listpays", made["bolt11"]))["pays"]
        assert (listed["status"], listed["preimage"]) == ("complete", paid["payment_preimage"])
        (sent,) = (await call("alice", "listsendpays", payment_hash=made["payment_hash"]))["payments"]
        assert sent["payment_preimage"] == paid["payment_preimage"]
        again = await call("alice", "pay", made["bolt11"])
        assert again["payment_preimage"] == paid["payment_preimage"]
        (channel,) = (await call("alice", "listfunds"))["channels"]
        assert channel["our_amount_msat"] == FUNDS - 1000
        assert [pay["status"] for pay in (await call("alice", "listpays"))["pays"]] == ["complete"]
        assert len((await call("bob", "listinvoices"))["invoices"]) == 1

    over_rpc(tmp_path, body)


def test_pyln_meets_lightningds_error_codes(tmp_path: Path) -> None:
    async def body(server: LedgerServer, call: Call) -> None:
        made = await call("bob", "invoice", 10, "a", "")
        assert await code_of(call("bob", "invoice", 10, "a", "")) == 900
        assert await code_of(call("bob", "invoice", "ten", "b", "")) == -32602
        assert await code_of(call("bob", "invoice", 10, "b", "", expiry=-1)) == -32602
        assert await code_of(call("bob", "invoice", 10, "b", "", preimage="zz")) == -32602
        await call("bob", "invoice", "any", "p", "", preimage="11" * 32)
        assert await code_of(call("bob", "invoice", 10, "q", "", preimage="11" * 32)) == 901
        assert await code_of(call("alice", "xpay", "lnbcrt1x")) == -32602
        await call("alice", "xpay", made["bolt11"])
        assert await code_of(call("alice", "xpay", made["bolt11"])) == 219
        rich = await call("bob", "invoice", FUNDS + 1, "rich", "")
        assert await code_of(call("alice", "xpay", rich["bolt11"])) == 205
        assert await code_of(call("bob", "waitanyinvoice", 1, 0)) == 904
        assert await code_of(call("bob", "waitinvoice", "nobody's")) == -1
        assert await code_of(call("bob", "nonsense", 1)) == -32601
        assert await code_of(call("bob", "decode")) == -32602

    over_rpc(tmp_path, body)


def test_requests_in_pieces_several_at_once_and_nonsense(tmp_path: Path) -> None:
    def request(id_: int, method: str = "getinfo") -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": []}).encode()

    async def body(server: LedgerServer, _: object) -> None:
        async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_unix_connection(str(server.rpc_path("alice")))

        reader, writer = await connected()
        for byte in request(1):
            writer.write(bytes([byte]))
            await writer.drain()
        assert json.loads(await reader.readuntil(b"\n\n"))["id"] == 1
        writer.write(request(2) + b"\n" + request(3, "nope") + request(4)[:9])
        told = [json.loads(await reader.readuntil(b"\n\n")) for _ in range(2)]
        assert [one["id"] for one in told] == [2, 3]
        assert told[1]["error"]["code"] == -32601
        writer.write(request(4)[9:])
        assert json.loads(await reader.readuntil(b"\n\n"))["id"] == 4
        writer.close()
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b'{"a": "' + b"x" * (1 << 20)):
            reader, writer = await connected()
            writer.write(nonsense)
            assert json.loads(await reader.readuntil(b"\n\n"))["error"]["code"] == -32600
            assert await reader.read() == b""
            writer.close()

    over_rpc(tmp_path, body)


def test_a_socket_too_deep_for_its_address_is_served(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)

    async def body(_: LedgerServer, call: Call) -> None:
        assert (await call("alice", "getinfo"))["alias"] == "alice"

    over_rpc(deep, body)


def test_a_killed_ledger_has_kept_what_it_said(tmp_path: Path, short: Path) -> None:
    """kill -9 amid payments, three times: no reply is forgotten, no msat is made or lost."""

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KEEPER, str(short), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    async def go() -> None:
        said: dict[str, str] = {}
        intended: list[str] = []
        process = await start()
        till, wallet = ClnTill(short / "bob/lightning-rpc"), ClnWallet(short / "alice/lightning-rpc")

        async def work(run: int, worker: int) -> None:
            for n in range(10**6):
                try:
                    label = f"{run}-{worker}-{n}"
                    invoice = await till.invoice(10, label=label, description="", expiry_seconds=60)
                    intended.append(invoice.payment_hash)
                    payment = await wallet.pay(
                        invoice.bolt11, payment_hash=invoice.payment_hash, max_fee_msat=0, seconds=20
                    )
                except WalletError:
                    return
                if payment.status != "complete":
                    return
                said[payment.payment_hash] = payment.preimage

        for run, enough in enumerate((15, 40, 90)):
            workers = [asyncio.create_task(work(run, worker)) for worker in range(4)]
            while len(said) < enough:
                await asyncio.sleep(0)
            process.send_signal(signal.SIGKILL)
            await asyncio.gather(process.wait(), *workers)
            process = await start()
        sent = 0
        for payment_hash in intended:
            found = await wallet.look_up(payment_hash)
            assert found.status in {"complete", "unknown"}
            assert payment_hash not in said or found.preimage == said[payment_hash]
            sent += found.sent_msat
        assert sent >= 10 * len(said)
        assert await wallet.balance_msat() == 10**6 - sent
        process.kill()
        await process.wait()
        await wallet.close()
        await till.close()

    asyncio.run(go())


# The till


def over_till(
    folder: Path, body: Callable[[LedgerServer, ClnTill], Awaitable[None]], *, paid_before: int = 0
) -> None:
    async def go() -> None:
        server = await serve(folder, {"alice": FUNDS, "bob": 0})
        for n in range(paid_before):
            issued = server.ledger.invoice("bob", 1, label=f"before {n}", description="").issued
            server.ledger.pay("alice", issued.bolt11)
        till = ClnTill(server.rpc_path("bob"))
        try:
            await till.open()
            await body(server, till)
        finally:
            await till.close()
            await server.close()

    asyncio.run(go())


@pytest.mark.parametrize("paid_before", [0, 1, 2, 3, 21])
def test_a_till_sees_what_is_paid_from_now_on(tmp_path: Path, paid_before: int) -> None:
    async def body(server: LedgerServer, till: ClnTill) -> None:
        fresh = ClnTill(server.rpc_path("bob"))
        assert await fresh._last_paid() == paid_before
        await fresh.close()
        first = await till.invoice(10, label="1", description="a job", expiry_seconds=60)
        second = await till.invoice(20, label="2", description="a job", expiry_seconds=60)
        told = bolt11.decode(first.bolt11)
        assert (told.amount_msat, told.expiry_seconds) == (first.amount_msat, 60) == (10, 60)
        assert (told.payment_hash, told.expires_at) == (first.payment_hash, first.expires_at)
        waiting = [
            asyncio.create_task(till.wait_paid(one.payment_hash, seconds=20)) for one in (first, second)
        ]
        server.ledger.pay("alice", second.bolt11)
        server.ledger.pay("alice", first.bolt11)
        assert await asyncio.gather(*waiting) == [True, True]
        assert await till.wait_paid(first.payment_hash, seconds=0)

    over_till(tmp_path, body, paid_before=paid_before)


def test_a_till_watches_only_while_somebody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ask = Commands.waitanyinvoice

    def counted(commands: Commands, params: dict[str, Any]) -> Any:
        asked.append(params["lastpay_index"])
        return ask(commands, params)

    monkeypatch.setattr(Commands, "waitanyinvoice", counted)

    async def body(server: LedgerServer, till: ClnTill) -> None:
        async def paid(label: str) -> str:
            invoice = await till.invoice(10, label=label, description="", expiry_seconds=60)
            server.ledger.pay("alice", invoice.bolt11)
            return invoice.payment_hash

        asked.clear()
        unseen = [await paid(f"unseen {n}") for n in range(9)]
        assert not asked  # nobody waits for these
        assert await till.wait_paid(unseen[3], seconds=20)
        assert len(asked) < 9  # they are not gone through one by one
        waited = await till.invoice(10, label="waited for", description="", expiry_seconds=60)
        waiting = asyncio.create_task(till.wait_paid(waited.payment_hash, seconds=20))
        server.ledger.pay("alice", waited.bolt11)
        assert await waiting
        watch = till._watch
        assert watch is not None
        await paid("the end of the call that was under way")
        assert watch.task is not None
        await watch.task  # no other call follows
        assert till._watch is None
        assert await till.wait_paid(await paid("unseen again"), seconds=20)

    over_till(tmp_path, body)


def test_a_till_says_no_when_the_time_is_over(tmp_path: Path) -> None:
    async def body(server: LedgerServer, till: ClnTill) -> None:
        invoice = await till.invoice(10, label="1", description="", expiry_seconds=60)
        assert not await till.wait_paid(invoice.payment_hash, seconds=0.05)
        server.ledger.pay("alice", invoice.bolt11)
        assert await till.wait_paid(invoice.payment_hash, seconds=20)

    over_till(tmp_path, body)


def test_a_till_knows_invoices_of_before_its_time(tmp_path: Path) -> None:
    async def body(server: LedgerServer, till: ClnTill) -> None:
        old = server.ledger.invoice("bob", 5, label="old", description="").issued
        waiting = asyncio.create_task(till.wait_paid(old.payment_hash, seconds=20))
        server.ledger.pay("alice", old.bolt11)
        assert await waiting
        paid = server.ledger.nodes["bob"].labels["before 0"].issued.payment_hash
        assert await till.wait_paid(paid, seconds=0)
        assert not await till.wait_paid("00" * 32, seconds=0)

    over_till(tmp_path, body, paid_before=1)


def test_a_till_that_did_not_see_it_asks_before_it_says_no(tmp_path: Path) -> None:
    async def go() -> None:
        server = await serve(tmp_path, {"alice": FUNDS, "bob": 0})
        till = ClnTill(server.rpc_path("bob"))  # not open: it watches nothing
        invoice = await till.invoice(10, label="1", description="", expiry_seconds=60)
        assert not await till.wait_paid(invoice.payment_hash, seconds=0)
        server.ledger.pay("alice", invoice.bolt11)
        assert await till.wait_paid(invoice.payment_hash, seconds=0)
        await till.close()
        await server.close()

    asyncio.run(go())


def test_a_label_is_used_once(tmp_path: Path) -> None:
    async def body(_: LedgerServer, till: ClnTill) -> None:
        await till.invoice(10, label="1", description="", expiry_seconds=60)
        with pytest.raises(WalletError, match="Duplicate label"):
            await till.invoice(10, label="1", description="", expiry_seconds=60)

    over_till(tmp_path, body)


def test_a_till_goes_on_when_its_node_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oa_compile.swarm.lightning.cln_till.AGAIN_SECONDS", 0.01)

    async def go() -> None:
        nodes = {"alice": FUNDS, "bob": 0}
        server = await serve(tmp_path, nodes)
        till = ClnTill(server.rpc_path("bob"))
        await till.open()
        invoice = await till.invoice(10, label="1", description="", expiry_seconds=60)
        await server.close()
        with pytest.raises(WalletError):
            await till.invoice(10, label="2", description="", expiry_seconds=60)
        server = await serve(tmp_path, nodes)
        server.ledger.pay("alice", invoice.bolt11)
        assert await till.wait_paid(invoice.payment_hash, seconds=20)
        await till.close()
        await server.close()

    asyncio.run(go())


# Nostr Wallet Connect


def test_the_uri_is_a_secret() -> None:
    secret = Keys.generate().secret_hex
    wallet = NwcWallet(
        f"nostr+walletconnect://{Keys.generate().public}?relay=ws://127.0.0.1:1&secret={secret}"
    )
    assert secret not in repr(wallet)
    broken = f"nostr+walletconnect://nonsense?secret={secret}"
    with pytest.raises(UsageError) as caught:
        NwcWallet(broken)
    assert secret not in f"{caught.value.message}{caught.value.hint}{caught.value.__cause__!r}"


def test_a_relay_that_is_not_there_means_nothing_was_begun() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = Keys.generate()
    uri = (
        f"nostr+walletconnect://{keys.public}?relay=ws://127.0.0.1:{port}&secret={Keys.generate().secret_hex}"
    )

    async def go() -> None:
        wallet = NwcWallet(uri)
        text = bolt11.encode(
            bolt11.NodeKey(b"\x01" * 32),
            payment_hash="00" * 32,
            payment_secret="00" * 32,
            amount_msat=10,
            network="regtest",
            created_at=1,
        ).bolt11
        with pytest.raises(WalletError, match="cannot be reached"):
            await wallet.pay(text, payment_hash="00" * 32, max_fee_msat=0, seconds=0.3)
        with pytest.raises(WalletError, match="cannot be reached"):
            await wallet.look_up("00" * 32, seconds=0.3)
        await wallet.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("INSUFFICIENT_BALANCE", "failed"),
        ("RATE_LIMITED", "failed"),
        ("PAYMENT_FAILED", "failed"),
        ("INTERNAL", "failed"),
        ("OTHER", "failed"),
        ("QUOTA_EXCEEDED", "error"),
        ("UNAUTHORIZED", "error"),
        ("RESTRICTED", "error"),
        ("NOT_IMPLEMENTED", "error"),
        ("NEVER_HEARD_OF", "pending"),
    ],
)
def test_a_services_errors_are_told_apart(tmp_path: Path, code: str, outcome: str) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        service.refusals["pay_invoice"] = code
        invoice = await rig.invoice(1_000)
        if outcome == "error":
            with pytest.raises(WalletError, match="will not pay"):
                await pay(rig, invoice)
        else:
            payment = await pay(rig, invoice)
            assert payment.status == outcome
            assert payment.reason
        assert rig.ledger.nodes["alice"].balance_msat == FUNDS

    over_nwc(tmp_path, body)


@pytest.mark.parametrize("code", ["PAYMENT_FAILED", "INTERNAL", "OTHER"])
def test_a_service_that_says_failed_of_what_it_paid_is_not_believed(tmp_path: Path, code: str) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        def meddle(method: str, reply: dict[str, Any]) -> dict[str, Any]:
            error = {"code": code, "message": "timed out"}
            return {**reply, "result": None, "error": error} if method == "pay_invoice" else reply

        service.meddle = meddle
        payment = await pay(rig, await rig.invoice(1_000))
        assert (payment.status, payment.sent_msat, payment.repeated) == ("complete", 1_000, False)

    over_nwc(tmp_path, body)


def test_a_payment_of_an_earlier_process_is_repeated(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        rig.offset[0] = -60
        issued = rig.ledger.invoice("bob", 7, label="x", description="").issued
        rig.ledger.pay("alice", issued.bolt11)
        rig.offset[0] = 0
        payment = await pay(rig, bolt11.decode(issued.bolt11))
        assert (payment.status, payment.sent_msat, payment.repeated) == ("complete", 7, True)

    over_nwc(tmp_path, body)


def test_what_cannot_be_read_leaves_a_payment_pending(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        service.meddle = lambda _, reply: {**reply, "result": {"nonsense": 1}}
        invoice = await rig.invoice(1_000)
        assert (await pay(rig, invoice)).status == "pending"
        with pytest.raises(WalletError, match="no answer"):
            await rig.wallet.look_up(invoice.payment_hash)
        service.meddle = lambda _, reply: reply
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "complete"

    over_nwc(tmp_path, body)


def test_a_payment_to_us_is_none_by_us(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        invoice = await rig.invoice(1_000)
        await pay(rig, invoice)
        service.meddle = lambda _, reply: {**reply, "result": {**reply["result"], "type": "incoming"}}
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "unknown"

    over_nwc(tmp_path, body)


def test_an_older_service_tells_no_state(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        rig.ledger.frozen.add("bob")
        invoice = await rig.invoice(1_000)
        assert (await pay(rig, invoice, seconds=0.3)).status == "pending"
        service.meddle = lambda _, reply: {
            **reply,
            "result": {key: value for key, value in reply["result"].items() if key != "state"},
        }
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "pending"
        rig.ledger.thaw("bob")
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "complete"

    over_nwc(tmp_path, body)


def test_a_payment_we_are_making_is_never_unknown(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        rig.ledger.frozen.add("bob")
        service.refusals["lookup_invoice"] = "NOT_FOUND"
        invoice = await rig.invoice(1_000)
        assert (await pay(rig, invoice, seconds=0.3)).status == "pending"
        assert (await rig.wallet.look_up(invoice.payment_hash)).status == "pending"
        assert (await rig.wallet.look_up("00" * 32)).status == "unknown"

    over_nwc(tmp_path, body)


def test_a_balance_that_is_not_ours_to_know(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        service.refusals["get_balance"] = "RESTRICTED"
        assert await rig.wallet.balance_msat() is None
        service.refusals["get_balance"] = "INTERNAL"
        with pytest.raises(WalletError, match="balance"):
            await rig.wallet.balance_msat()

    over_nwc(tmp_path, body)


def test_an_invoice_without_an_amount_is_not_left_to_the_service(tmp_path: Path) -> None:
    async def body(rig: LedgerRig, service: NwcService) -> None:
        issued = rig.ledger.invoice("bob", None, label="any", description="").issued
        with pytest.raises(WalletError, match="amount"):
            await pay(rig, bolt11.decode(issued.bolt11))
        assert service.calls == []

    over_nwc(tmp_path, body)
