class OutOfStock(Exception):
    """Fewer pieces are there than were asked for."""
