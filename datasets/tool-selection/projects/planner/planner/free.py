from planner.slots import merge, overlaps


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
