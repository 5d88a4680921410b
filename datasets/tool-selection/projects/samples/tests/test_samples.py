import pytest

from samples.center import mean, median
from samples.spread import outliers, scale, variance


def test_mean():
    assert mean([1, 2, 6]) == 3


def test_mean_of_nothing():
    with pytest.raises(ValueError):
        mean([])


def test_median_odd():
    assert median([9, 1, 5]) == 5


def test_median_even():
    assert median([4, 1, 3, 2]) == 2.5


def test_variance():
    assert variance([2, 4, 6]) == 4


def test_outliers():
    assert outliers([1, 1, 1, 1, 1, 1, 1, 50]) == [50]


def test_scale():
    assert scale([2, 4, 6]) == [0.0, 0.5, 1.0]


def test_scale_of_equal_values():
    assert scale([3, 3]) == [0.0, 0.0]
