def delay(attempt, base=1.0, limit=30.0):
    """Seconds to wait after a failed attempt; attempts count from 1."""
    return min(limit, base * 2 ** (attempt - 1))


def delays(attempts, base=1.0, limit=30.0):
    """The waits between that many attempts."""
    return [delay(n, base, limit) for n in range(1, attempts)]
