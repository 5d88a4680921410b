def overlaps(a, b):
    """Whether two (start, end) slots share any time; touching is fine."""
    return a[0] < b[1] and b[0] < a[1]


def merge(slots):
    """Overlapping or touching slots as one, sorted."""
    merged = []
    for start, end in sorted(slots):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
