"""The two calls of LNbits that nostr-dvm makes, over a till of ours: make an invoice, say if it is paid."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from oa_compile.swarm.provider.till import Till

_PAYMENTS = "/api/v1/payments"


@contextlib.asynccontextmanager
async def lnbits(till: Till) -> AsyncIterator[str]:
    """An LNbits server on loopback while the block runs; its URL. Amounts there are whole sats."""
    labels = itertools.count(1)

    async def answer(method: str, path: str, body: bytes) -> dict[str, Any]:
        if method == "POST" and path == _PAYMENTS:
            wanted = json.loads(body)
            invoice = await till.invoice(
                wanted["amount"] * 1_000,
                label=f"lnbits-{next(labels)}",
                description=wanted["memo"],
                expiry_seconds=600,
            )
            return {"payment_hash": invoice.payment_hash, "payment_request": invoice.bolt11}
        assert method == "GET"
        return {"paid": await till.wait_paid(path.removeprefix(f"{_PAYMENTS}/"), seconds=0)}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        lengths = [
            line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")
        ]
        told = await answer(method, path, await reader.readexactly(int(lengths[0]) if lengths else 0))
        body = json.dumps(told).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
