def shape(m):
    """Rows and columns."""
    return len(m), len(m[0])


def transpose(m):
    """Rows become columns."""
    return [list(row) for row in zip(*m)]


def identity(n):
    """Ones on the diagonal."""
    return [[1 if i == j else 0 for j in range(n)] for i in range(n)]
