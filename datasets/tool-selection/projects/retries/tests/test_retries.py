import pytest

from retries.backoff import delay, delays
from retries.run import GaveUp, retry


class Flaky:
    def __init__(self, failures, error=OSError):
        self.failures = failures
        self.error = error

    def __call__(self):
        if self.failures:
            self.failures -= 1
            raise self.error
        return "done"


def test_delay_doubles():
    assert [delay(n) for n in (1, 2, 3)] == [1.0, 2.0, 4.0]


def test_delay_has_a_limit():
    assert delay(10) == 30.0


def test_delays_between_attempts():
    assert delays(3) == [1.0, 2.0]


def test_retry_works_in_the_end():
    waits = []
    assert retry(Flaky(2), 3, waits.append) == "done"
    assert waits == [1.0, 2.0]


def test_retry_gives_up():
    with pytest.raises(GaveUp):
        retry(Flaky(3), 3, lambda s: None)


def test_other_errors_pass_through():
    with pytest.raises(ZeroDivisionError):
        retry(Flaky(1, ZeroDivisionError), 3, lambda s: None)
