"""A lock that is taken is looked at again, not queued for; one that stays taken is not waited out."""

from __future__ import annotations

import threading

import pytest

from oa_compile import held


@pytest.fixture
def lock() -> threading.Lock:
    return threading.Lock()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch, lock: threading.Lock) -> list[float]:
    """The naps that were taken; the lock is let go of in the third."""
    taken: list[float] = []

    def nap(seconds: float) -> None:
        taken.append(seconds)
        if len(taken) == 3 and lock.locked():
            lock.release()

    monkeypatch.setattr(held.time, "sleep", nap)
    return taken


def test_a_free_lock_costs_no_nap(lock: threading.Lock, naps: list[float]) -> None:
    held.await_free(lock)
    assert naps == []


def test_a_taken_lock_is_slept_on_until_it_is_free_and_is_not_taken_then(
    lock: threading.Lock, naps: list[float]
) -> None:
    lock.acquire()
    held.await_free(lock)
    assert len(naps) == 3
    assert not lock.locked()


def test_a_lock_that_stays_taken_is_left_to_the_one_who_asked(
    lock: threading.Lock, naps: list[float]
) -> None:
    naps += [0.0] * 3  # past the one that lets go
    lock.acquire()
    held.await_free(lock)
    assert lock.locked()
    assert 0.005 < sum(naps) < 0.1  # longer than the interpreter takes to come back, and no longer than that
