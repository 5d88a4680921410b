from lrucache.cache import Cache
from lrucache.stats import describe, hit_rate


def test_store_and_lookup():
    cache = Cache(2)
    cache.store("a", 1)
    assert cache.lookup("a") == 1


def test_oldest_goes():
    cache = Cache(2)
    for key in "abc":
        cache.store(key, key)
    assert cache.lookup("a") is None
    assert cache.lookup("b") == "b"


def test_lookup_counts_as_use():
    cache = Cache(2)
    cache.store("a", 1)
    cache.store("b", 2)
    cache.lookup("a")
    cache.store("c", 3)
    assert cache.lookup("a") == 1


def test_hit_rate_before_any_lookup():
    assert hit_rate(Cache(1)) == 0.0


def test_describe():
    cache = Cache(1)
    cache.store("a", 1)
    cache.lookup("a")
    cache.lookup("x")
    assert describe(cache) == "1 hits, 1 misses (50%)"
