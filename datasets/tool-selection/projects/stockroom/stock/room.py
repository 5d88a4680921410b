from stock.errors import OutOfStock


class Room:
    """Pieces by article, with reservations."""

    def __init__(self, pieces):
        self.pieces = dict(pieces)
        self.reserved = {}

    def available(self, article):
        """Pieces nobody has reserved."""
        return self.pieces.get(article, 0) - self.reserved.get(article, 0)

    def reserve(self, article, count):
        """Set pieces aside. Raises OutOfStock."""
        if count > self.available(article):
            raise OutOfStock(article)
        self.reserved[article] = self.reserved.get(article, 0) + count

    def ship(self, article, count):
        """Reserved pieces leave the room."""
        self.reserved[article] -= count
        self.pieces[article] -= count
        return self.pieces[article]
