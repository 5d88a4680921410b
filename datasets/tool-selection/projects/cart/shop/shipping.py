FREE_FROM = 5000
COSTS = {"de": 490, "fr": 890}
ELSEWHERE = 1490


def shipping_cost(subtotal, country):
    """Cents for shipping; free inside Germany from 50 euros on."""
    if country == "de" and subtotal >= FREE_FROM:
        return 0
    return COSTS.get(country, ELSEWHERE)
