def hit_rate(cache):
    """Hits of all look-ups, 0.0 before the first."""
    total = cache.hits + cache.misses
    return cache.hits / total if total else 0.0


def describe(cache):
    """One line for the log."""
    return f"{cache.hits} hits, {cache.misses} misses ({hit_rate(cache):.0%})"
