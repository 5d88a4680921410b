"""Projects about dates, durations, schedules and retries."""

from __future__ import annotations

from tools.sessions.project import Bug, Project

CALENDAR = Project(
    "calendars",
    "working days",
    {
        "calendars/days.py": '''from datetime import date, timedelta

HOLIDAYS = {date(2024, 1, 1), date(2024, 5, 1), date(2024, 12, 25)}


def is_workday(day):
    """Monday to Friday, and no holiday."""
    return day.weekday() < 5 and day not in HOLIDAYS


def next_workday(day):
    """The first working day after `day`."""
    day += timedelta(days=1)
    while not is_workday(day):
        day += timedelta(days=1)
    return day
''',
        "calendars/spans.py": '''from datetime import timedelta

from calendars.days import is_workday, next_workday


def count_workdays(first, last):
    """Working days from first to last, both included."""
    span = (last - first).days + 1
    return sum(is_workday(first + timedelta(days=n)) for n in range(span))


def due_date(start, workdays):
    """The day that lies `workdays` working days after start."""
    for _ in range(workdays):
        start = next_workday(start)
    return start
''',
        "tests/test_calendars.py": '''from datetime import date

from calendars.days import is_workday, next_workday
from calendars.spans import count_workdays, due_date


def test_saturday_is_no_workday():
    assert not is_workday(date(2024, 3, 2))


def test_friday_is_a_workday():
    assert is_workday(date(2024, 3, 1))


def test_next_workday_skips_holiday():
    assert next_workday(date(2024, 4, 30)) == date(2024, 5, 2)


def test_count_workdays_includes_both_ends():
    assert count_workdays(date(2024, 3, 4), date(2024, 3, 8)) == 5


def test_due_date_over_a_weekend():
    assert due_date(date(2024, 3, 1), 2) == date(2024, 3, 5)
''',
    },
    (
        Bug("off_by_one", "calendars/days.py", "is_workday", "day.weekday() < 5", "day.weekday() < 4", "takes Friday for weekend"),
        Bug("operator", "calendars/days.py", "is_workday", "< 5 and day not in", "< 5 or day not in", "uses `or` so that holidays and weekends count"),
        Bug("off_by_one", "calendars/spans.py", "count_workdays", "(last - first).days + 1", "(last - first).days", "leaves out the last day"),
        Bug("return", "calendars/spans.py", "due_date", "        start = next_workday(start)\n", "        next_workday(start)\n", "throws the next day away"),
    ),
)

DURATION = Project(
    "durations",
    "duration parsing",
    {
        "durations/units.py": '''SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
''',
        "durations/parse.py": '''import re

from durations.units import SECONDS

PART = re.compile(r"(\\d+)([smhd])")


def parse_duration(text):
    """Seconds of `1h30m`. Raises ValueError for anything else."""
    parts = PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"not a duration: {text!r}")
    return sum(int(number) * SECONDS[unit] for number, unit in parts)
''',
        "durations/show.py": '''from durations.units import SECONDS


def format_duration(seconds):
    """`1h30m` of seconds; `0s` for nothing."""
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def clock(seconds):
    """`HH:MM:SS`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"
''',
        "tests/test_durations.py": '''import pytest

from durations.parse import parse_duration
from durations.show import clock, format_duration


def test_parse_duration():
    assert parse_duration("1h30m") == 5400


def test_parse_duration_days():
    assert parse_duration("2d") == 172800


def test_parse_duration_refuses_rest():
    with pytest.raises(ValueError):
        parse_duration("5m later")


def test_format_duration():
    assert format_duration(5400) == "1h30m"


def test_format_duration_zero():
    assert format_duration(0) == "0s"


def test_clock():
    assert clock(7265) == "02:01:05"
''',
    },
    (
        Bug("constant", "durations/units.py", "parse_duration", '"d": 86400', '"d": 84600', "uses 84600 seconds for a day: two digits are swapped"),
        Bug("edge_case", "durations/show.py", "format_duration", 'return text or "0s"', "return text", "gives an empty text for zero"),
        Bug("edge_case", "durations/parse.py", "parse_duration", 'if not parts or "".join(n + u for n, u in parts) != text:', "if not parts:", "accepts text after the duration"),
        Bug("arguments", "durations/show.py", "clock", 'f"{hours:02}:{minutes:02}:{seconds:02}"', 'f"{minutes:02}:{hours:02}:{seconds:02}"', "shows minutes where hours belong"),
    ),
)

RETRY = Project(
    "retries",
    "retry policy",
    {
        "retries/backoff.py": '''def delay(attempt, base=1.0, limit=30.0):
    """Seconds to wait after a failed attempt; attempts count from 1."""
    return min(limit, base * 2 ** (attempt - 1))


def delays(attempts, base=1.0, limit=30.0):
    """The waits between that many attempts."""
    return [delay(n, base, limit) for n in range(1, attempts)]
''',
        "retries/run.py": '''from retries.backoff import delay


class GaveUp(Exception):
    """Every attempt failed."""


def retry(action, attempts, sleep, retry_on=(OSError,)):
    """Call `action` until it works; other errors pass straight through."""
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except retry_on as error:
            if attempt == attempts:
                raise GaveUp(attempts) from error
            sleep(delay(attempt))
''',
        "tests/test_retries.py": '''import pytest

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
''',
    },
    (
        Bug("off_by_one", "retries/backoff.py", "delay", "2 ** (attempt - 1)", "2 ** attempt", "doubles once too often"),
        Bug("operator", "retries/backoff.py", "delay", "return min(limit,", "return max(limit,", "takes the larger of limit and delay"),
        Bug("off_by_one", "retries/run.py", "retry", "range(1, attempts + 1)", "range(1, attempts)", "stops one attempt early"),
        Bug("edge_case", "retries/run.py", "retry", "except retry_on as error:", "except Exception as error:", "catches every error, not only the ones to retry"),
    ),
)

SCHEDULE = Project(
    "planner",
    "meeting slots",
    {
        "planner/slots.py": '''def overlaps(a, b):
    """Whether two (start, end) slots share any time; touching is fine."""
    return a[0] < b[1] and b[0] < a[1]


def merge(slots):
    """Overlapping or touching slots as one, sorted."""
    merged = []
    for start, end in sorted(slots):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
''',
        "planner/free.py": '''from planner.slots import merge, overlaps


def free_slots(busy, start, end):
    """What is left of start..end."""
    free, cursor = [], start
    for first, last in merge(busy):
        if first > cursor:
            free.append((cursor, first))
        cursor = max(cursor, last)
    if cursor < end:
        free.append((cursor, end))
    return free


def can_book(busy, slot):
    """Whether nothing is in the way of a slot."""
    return not any(overlaps(slot, other) for other in busy)
''',
        "tests/test_planner.py": '''from planner.free import can_book, free_slots
from planner.slots import merge, overlaps


def test_touching_slots_do_not_overlap():
    assert not overlaps((9, 10), (10, 11))


def test_inner_slot_overlaps():
    assert overlaps((9, 12), (10, 11))


def test_merge_touching():
    assert merge([(10, 11), (9, 10)]) == [(9, 11)]


def test_merge_inner():
    assert merge([(9, 12), (10, 11)]) == [(9, 12)]


def test_free_slots():
    assert free_slots([(10, 11), (13, 14)], 9, 17) == [(9, 10), (11, 13), (14, 17)]


def test_can_book():
    assert can_book([(9, 10)], (10, 11))
    assert not can_book([(9, 10)], (9, 11))
''',
    },
    (
        Bug("operator", "planner/slots.py", "overlaps", "a[0] < b[1] and", "a[0] <= b[1] and", "takes touching slots for overlapping ones"),
        Bug("edge_case", "planner/slots.py", "merge", "max(end, merged[-1][1])", "end", "shortens a slot when a smaller one lies inside it"),
        Bug("order", "planner/slots.py", "merge", "in sorted(slots):", "in slots:", "needs its slots sorted and does not sort them"),
        Bug("return", "planner/free.py", "free_slots", "    if cursor < end:\n        free.append((cursor, end))\n", "", "forgets the time after the last meeting"),
        Bug("operator", "planner/free.py", "can_book", "not any(overlaps", "any(overlaps", "says yes when the slot is taken"),
    ),
)

PROJECTS = (CALENDAR, DURATION, RETRY, SCHEDULE)
