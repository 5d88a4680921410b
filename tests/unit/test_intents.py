"""Intents to pay: on the disk when it is said so, and one look at the disk for all that come together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from oa_compile.errors import OacompileError, StopRun
from oa_compile.swarm.customer.attempt import Intent
from oa_compile.swarm.customer.intents import Intents


def intent(name: str) -> Intent:
    return Intent(name, "lnbcrt", 10, 0, "memory", "p", "j")


@dataclass
class Disk:
    """Fulfils Intends: what was written, and what of it a sync has put on the disk."""

    written: list[str] = field(default_factory=list)
    safe: list[str] = field(default_factory=list)
    syncs: int = 0
    refuses: dict[str, BaseException] = field(default_factory=dict)

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        if intent.payment_hash in self.refuses:
            raise self.refuses[intent.payment_hash]
        self.written.append(intent.payment_hash)
        if sync:
            self.syncs += 1
            self.safe = list(self.written)


class Desk:
    """Work that goes on when the test lets it."""

    def __init__(self) -> None:
        self.busy = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def offload(self, work: Callable[..., Any], *arguments: Any) -> Any:
        self.busy.set()
        await self.open.wait()
        return work(*arguments)


def test_those_that_come_together_share_one_look_at_the_disk() -> None:
    async def go() -> None:
        disk, desk = Disk(), Desk()
        intents = Intents(desk.offload)
        told: list[str] = []

        async def pay(name: str) -> None:
            await intents.write(disk, intent(name))
            assert name in disk.safe
            told.append(name)

        await asyncio.gather(*(pay(name) for name in "abcd"))
        assert disk.safe == told == list("abcd")
        assert disk.syncs == 1
        await pay("e")
        assert disk.syncs == 2

    asyncio.run(go())


def test_who_comes_while_the_disk_is_busy_is_in_the_next_batch_and_none_is_early() -> None:
    async def go() -> None:
        disk, desk = Disk(), Desk()
        intents = Intents(desk.offload)
        desk.open.clear()
        first = asyncio.create_task(intents.write(disk, intent("a")))
        await desk.busy.wait()
        later = [asyncio.create_task(intents.write(disk, intent(name))) for name in "bcd"]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not disk.written
        assert not any(task.done() for task in (first, *later))
        desk.open.set()
        await asyncio.gather(first, *later)
        assert disk.safe == list("abcd")
        assert disk.syncs == 2

    asyncio.run(go())


def test_one_that_is_refused_keeps_no_other_from_the_disk() -> None:
    async def go() -> None:
        disk = Disk(refuses={"b": RuntimeError("no b")})
        intents = Intents(Desk().offload)
        ends = await asyncio.gather(
            *(intents.write(disk, intent(name)) for name in "abc"), return_exceptions=True
        )
        assert [str(end) for end in ends] == ["None", "no b", "None"]
        assert disk.safe == ["a", "c"]

    asyncio.run(go())


def test_without_the_last_ones_sync_none_counts_as_written() -> None:
    async def go() -> None:
        disk = Disk(refuses={"a": RuntimeError("no a"), "c": OSError("the disk is full")})
        intents = Intents(Desk().offload)
        ends = await asyncio.gather(
            *(intents.write(disk, intent(name)) for name in "abc"), return_exceptions=True
        )
        assert [str(end) for end in ends] == ["no a", "the disk is full", "the disk is full"]
        assert not disk.safe

    asyncio.run(go())


def test_a_payment_that_is_called_off_takes_no_others_intent_with_it() -> None:
    async def go() -> None:
        disk, desk = Disk(), Desk()
        intents = Intents(desk.offload)
        desk.open.clear()
        off, on = (asyncio.create_task(intents.write(disk, intent(name))) for name in "ab")
        await desk.busy.wait()
        off.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await off
        desk.open.set()
        await on
        assert disk.safe == ["a", "b"]

    asyncio.run(go())


def test_a_pool_that_takes_no_work_is_told_to_all_and_asked_again_by_the_next() -> None:
    async def go() -> None:
        disk, broken = Disk(), [True]

        async def offload(work: Callable[..., Any], *arguments: Any) -> Any:
            if broken.pop() if broken else False:
                raise RuntimeError("no new work")
            return work(*arguments)

        intents = Intents(offload)
        ends = await asyncio.gather(
            *(intents.write(disk, intent(name)) for name in "ab"), return_exceptions=True
        )
        assert [str(end) for end in ends] == ["no new work"] * 2
        await intents.write(disk, intent("c"))
        assert disk.safe == ["c"]

    asyncio.run(go())


def test_what_ends_a_run_is_raised_where_it_is_waited_for() -> None:
    async def go() -> None:
        stop = StopRun(OacompileError("the journal cannot be written"))
        with pytest.raises(StopRun):
            await Intents(Desk().offload).write(Disk(refuses={"a": stop}), intent("a"))

    asyncio.run(go())
