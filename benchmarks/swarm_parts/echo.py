"""What a bare websocket does: messages of a job's size, there and back, over one connection."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

from swarm_parts.drive import Measured, Meter, Plan, run_parts


async def websocket_echo(url: str, *, plan: Plan, meter: Meter) -> list[Measured]:
    """Messages of a job's size to a websocket and back, over one connection."""
    padding = "x" * 900
    async with connect(url, compression=None, max_queue=1024, proxy=None) as connection:
        waiting: dict[str, asyncio.Future[None]] = {}

        async def listen() -> None:
            async for message in connection:
                assert isinstance(message, str)
                waiting.pop(message.partition(" ")[0]).set_result(None)

        async def ask(number: int) -> None:
            future = waiting[str(number)] = asyncio.get_running_loop().create_future()
            await connection.send(f"{number} {padding}")
            await future

        return await run_parts(ask, asyncio.create_task(listen()), plan=plan, meter=meter)
