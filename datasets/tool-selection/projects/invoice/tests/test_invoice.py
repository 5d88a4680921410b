from billing.invoice import apply_discount, gross_total, net_total
from billing.rates import vat_amount

LINES = [
    {"quantity": 2, "unit_price": 1250, "category": "standard"},
    {"quantity": 1, "unit_price": 399, "category": "reduced"},
]


def test_net_total():
    assert net_total(LINES) == 2899


def test_gross_total_adds_vat():
    assert gross_total(LINES) == 3419


def test_vat_amount_rounds_half_up():
    assert vat_amount(399, "reduced") == 20


def test_apply_discount():
    assert apply_discount(2000, 15) == 1700
    assert apply_discount(100, 150) == 0
