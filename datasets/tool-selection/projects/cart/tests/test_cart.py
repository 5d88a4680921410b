from shop.cart import Cart


def cart():
    c = Cart()
    c.add("tea", 700, 2)
    c.add("cup", 1200)
    return c


def test_subtotal():
    assert cart().subtotal() == 2600


def test_add_twice_adds_up():
    c = cart()
    c.add("tea", 700)
    assert c.items["tea"] == (700, 3)


def test_total_at_home():
    assert cart().total() == 3090
