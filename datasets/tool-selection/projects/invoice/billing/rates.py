VAT = {"standard": 20, "reduced": 5, "zero": 0}


def vat_rate(category):
    """Percent of VAT for a category of goods."""
    return VAT[category]


def vat_amount(cents, category):
    """VAT in cents, rounded half up."""
    return (cents * vat_rate(category) + 50) // 100
