from matrices.basic import identity, shape, transpose


def multiply(a, b):
    """Matrix product. Raises ValueError when the shapes do not fit."""
    if shape(a)[1] != shape(b)[0]:
        raise ValueError(f"cannot multiply {shape(a)} and {shape(b)}")
    columns = transpose(b)
    return [[sum(x * y for x, y in zip(row, col)) for col in columns] for row in a]


def power(m, n):
    """m multiplied with itself n times; the identity for 0."""
    result = identity(len(m))
    for _ in range(n):
        result = multiply(result, m)
    return result
