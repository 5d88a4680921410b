from planner.free import can_book, free_slots
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
