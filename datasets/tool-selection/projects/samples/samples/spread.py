from samples.center import mean


def variance(values):
    """Sample variance (n - 1)."""
    center = mean(values)
    return sum((v - center) ** 2 for v in values) / (len(values) - 1)


def outliers(values, factor=2.0):
    """Values farther than `factor` deviations from the mean."""
    center, deviation = mean(values), variance(values) ** 0.5
    return [v for v in values if abs(v - center) > factor * deviation]


def scale(values):
    """Values moved to 0..1; all equal gives zeros."""
    low, high = min(values), max(values)
    if low == high:
        return [0.0 for _ in values]
    return [(v - low) / (high - low) for v in values]
