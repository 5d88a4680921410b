import pytest

from jobqueue.queue import Empty, JobQueue
from jobqueue.worker import drain, drain_some


def filled():
    queue = JobQueue()
    queue.push("b")
    queue.push("a")
    queue.push("now", priority=1)
    return queue


def test_pop_by_priority_then_arrival():
    queue = filled()
    assert [queue.pop() for _ in range(3)] == ["now", "b", "a"]


def test_pop_empty():
    with pytest.raises(Empty):
        JobQueue().pop()


def test_len():
    assert len(filled()) == 3


def test_drain():
    assert drain(filled(), str.upper) == ["NOW", "B", "A"]


def test_drain_some():
    queue = filled()
    assert drain_some(queue, str.upper, 2) == ["NOW", "B"]
    assert len(queue) == 1


def test_drain_some_of_few():
    assert drain_some(filled(), str.upper, 9) == ["NOW", "B", "A"]
