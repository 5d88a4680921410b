from datetime import timedelta

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
