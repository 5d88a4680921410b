from datetime import date, timedelta

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
