"""The loop's thread: coroutines of many threads, each with its own end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from oa_compile.swarm.loop import LoopThread


@pytest.fixture
def thread() -> LoopThread:
    return LoopThread()


def test_every_thread_gets_the_end_of_its_own_coroutine(thread: LoopThread) -> None:
    async def double(number: int) -> int:
        for _ in range(number % 3):
            await asyncio.sleep(0)
        if number % 7 == 0:
            raise ValueError(number)
        return 2 * number

    def ask(number: int) -> int | str:
        try:
            return thread.ask(double(number))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(500)))
    assert found == [str(number) if number % 7 == 0 else 2 * number for number in range(500)]


def test_those_that_come_while_the_loop_is_busy_wake_it_once(
    thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    call, blocked, go_on = thread.loop.call_soon_threadsafe, threading.Event(), threading.Event()

    def counted(callback: object, *arguments: object) -> object:
        calls.append(callback)
        return call(callback, *arguments)  # type: ignore[arg-type]

    def block() -> None:
        blocked.set()
        go_on.wait(20)

    async def answer(number: int) -> int:
        return number

    call(block)
    assert blocked.wait(20)
    monkeypatch.setattr(thread.loop, "call_soon_threadsafe", counted)
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(7) as others:
        asked = [first.submit(thread.ask, answer(0))]
        while not calls:  # it has called, and the loop cannot answer yet
            threading.Event().wait(0.001)
        asked += [others.submit(thread.ask, answer(number)) for number in range(1, 8)]
        while len(thread._asked) < 8:
            threading.Event().wait(0.001)
        go_on.set()
        assert [one.result(20) for one in asked] == list(range(8))
    assert len(calls) == 1


def test_a_call_that_was_interrupted_does_not_keep_the_next_from_waking_the_loop(
    thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer() -> int:
        return 1

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(thread.loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.ask(answer())
    assert thread.ask(answer()) == 1
