from shop.shipping import shipping_cost


def test_free_at_the_limit():
    assert shipping_cost(5000, "de") == 0


def test_abroad_is_never_free():
    assert shipping_cost(9000, "fr") == 890


def test_unknown_country():
    assert shipping_cost(100, "xx") == 1490
