import pytest

from matrices.basic import identity, shape, transpose
from matrices.product import multiply, power


def test_shape():
    assert shape([[1, 2, 3], [4, 5, 6]]) == (2, 3)


def test_transpose():
    assert transpose([[1, 2], [3, 4], [5, 6]]) == [[1, 3, 5], [2, 4, 6]]


def test_identity():
    assert identity(2) == [[1, 0], [0, 1]]


def test_multiply():
    assert multiply([[1, 2]], [[3], [4]]) == [[11]]


def test_multiply_refuses_shapes():
    with pytest.raises(ValueError, match="cannot multiply"):
        multiply([[1, 2]], [[3, 4]])


def test_power():
    assert power([[1, 1], [1, 0]], 5) == [[8, 5], [5, 3]]
