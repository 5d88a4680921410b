def shortages(room, minimum):
    """Articles with fewer than `minimum` available pieces."""
    return sorted(a for a in room.pieces if room.available(a) < minimum)
