import pytest

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
