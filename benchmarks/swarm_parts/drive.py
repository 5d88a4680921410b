"""Asking so many questions, so many at a time, and how long each took."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Plan = list[tuple[int, int]]
"""What is asked, part by part: so many jobs, so many of them in flight."""

Meter = Callable[[], dict[str, float]]
"""CPU seconds used so far, by kind of process."""


def used(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What was used between two readings of a meter."""
    return {kind: after[kind] - before[kind] for kind in after}


@dataclass(slots=True)
class Measured:
    """One round of one peer: seconds in all, and of each job; CPU seconds by kind of process."""

    seconds: float
    latencies: list[float]
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        """How many."""
        return len(self.latencies)

    @property
    def per_second(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that `share` of the jobs kept to, in milliseconds."""
        return 1000 * sorted(self.latencies)[min(int(share * self.jobs), self.jobs - 1)]

    def cpu_ms(self, kind: str) -> float:
        """CPU time a job in the processes of that kind, in milliseconds."""
        return 1000 * self.cpu.get(kind, 0.0) / self.jobs


def drive(ask: Callable[[int], None], *, jobs: int, at_once: int, first: int) -> Measured:
    """`ask` the questions `first` … from `at_once` threads. Raises what an ask raised."""
    numbers = itertools.count(first)
    latencies: list[float] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while (number := next(numbers)) < first + jobs and not errors:
                began = time.perf_counter()
                ask(number)
                latencies.append(time.perf_counter() - began)
        except BaseException as error:  # noqa: BLE001  told to whoever waits for the threads
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if errors:
        raise errors[0]
    return Measured(seconds, latencies)


async def run_parts(
    ask: Callable[[int], Awaitable[None]], listener: asyncio.Task[None], *, plan: Plan, meter: Meter
) -> list[Measured]:
    """Every part of the plan, with tasks, as long as the listener listens."""

    async def parts() -> list[Measured]:
        found = []
        for jobs, at_once in plan:
            before = meter()
            found.append(await _drive(ask, jobs=jobs, at_once=at_once))
            found[-1].cpu = used(before, meter())
        return found

    driving = asyncio.create_task(parts())
    try:
        await asyncio.wait({driving, listener}, return_when=asyncio.FIRST_COMPLETED)
        return driving.result() if driving.done() else listener.result()  # type: ignore[return-value]
    finally:
        for task in (driving, listener):
            task.cancel()
        await asyncio.gather(driving, listener, return_exceptions=True)


async def _drive(ask: Callable[[int], Awaitable[None]], *, jobs: int, at_once: int) -> Measured:
    """As `drive`, with tasks for threads."""
    numbers = iter(range(jobs))
    latencies: list[float] = []

    async def work() -> None:
        for number in numbers:
            began = time.perf_counter()
            await ask(number)
            latencies.append(time.perf_counter() - began)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return Measured(time.perf_counter() - start, latencies)


def median(values: list[float]) -> float:
    """The median, 0 of nothing."""
    return statistics.median(values) if values else 0.0
