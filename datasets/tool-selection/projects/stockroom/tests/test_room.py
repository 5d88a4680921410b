import pytest

from stock.errors import OutOfStock
from stock.report import shortages
from stock.room import Room


def test_reserve_lowers_available():
    room = Room({"bolt": 10})
    room.reserve("bolt", 4)
    assert room.available("bolt") == 6


def test_reserve_everything():
    room = Room({"bolt": 10})
    room.reserve("bolt", 10)
    assert room.available("bolt") == 0


def test_reserve_adds_up():
    room = Room({"bolt": 10})
    room.reserve("bolt", 4)
    room.reserve("bolt", 5)
    assert room.available("bolt") == 1


def test_reserve_too_much():
    with pytest.raises(OutOfStock):
        Room({"bolt": 1}).reserve("bolt", 2)


def test_available_of_unknown_article():
    assert Room({}).available("nut") == 0


def test_ship_returns_what_is_left():
    room = Room({"bolt": 10})
    room.reserve("bolt", 3)
    assert room.ship("bolt", 3) == 7


def test_shortages():
    assert shortages(Room({"nut": 2, "bolt": 9}), 5) == ["nut"]
