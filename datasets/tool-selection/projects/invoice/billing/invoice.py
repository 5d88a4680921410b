from billing.rates import vat_amount


def net_total(lines):
    """Sum of quantity times unit price, in cents."""
    return sum(line["quantity"] * line["unit_price"] for line in lines)


def gross_total(lines):
    """Net total plus the VAT of every line."""
    taxes = sum(vat_amount(line["quantity"] * line["unit_price"], line["category"]) for line in lines)
    return net_total(lines) + taxes


def apply_discount(cents, percent):
    """Cents after a discount, never below zero."""
    return max(0, cents - cents * percent // 100)
