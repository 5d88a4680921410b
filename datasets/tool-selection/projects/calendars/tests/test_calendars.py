from datetime import date

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
