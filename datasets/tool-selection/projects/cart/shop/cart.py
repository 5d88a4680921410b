from shop.shipping import shipping_cost


class Cart:
    """Items with counts and prices in cents."""

    def __init__(self):
        self.items = {}

    def add(self, name, price, count=1):
        """Put pieces in; the same name adds up."""
        old = self.items.get(name, (price, 0))
        self.items[name] = (price, old[1] + count)

    def subtotal(self):
        """Price of everything, without shipping."""
        return sum(price * count for price, count in self.items.values())

    def total(self, country="de"):
        """Subtotal plus shipping."""
        return self.subtotal() + shipping_cost(self.subtotal(), country)
