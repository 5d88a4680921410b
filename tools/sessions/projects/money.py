"""Projects about money, stock and orders."""

from __future__ import annotations

from tools.sessions.project import Bug, Project

INVOICE = Project(
    "invoice",
    "invoice totals",
    {
        "billing/rates.py": '''VAT = {"standard": 20, "reduced": 5, "zero": 0}


def vat_rate(category):
    """Percent of VAT for a category of goods."""
    return VAT[category]


def vat_amount(cents, category):
    """VAT in cents, rounded half up."""
    return (cents * vat_rate(category) + 50) // 100
''',
        "billing/invoice.py": '''from billing.rates import vat_amount


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
''',
        "tests/test_invoice.py": '''from billing.invoice import apply_discount, gross_total, net_total
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
''',
    },
    (
        Bug("operator", "billing/invoice.py", "net_total", 'line["quantity"] * line["unit_price"] for line in lines)\n\n\ndef gross', 'line["quantity"] + line["unit_price"] for line in lines)\n\n\ndef gross', "adds the quantity to the price instead of multiplying"),
        Bug("constant", "billing/rates.py", "vat_amount", "+ 50) // 100", ") // 100", "truncates the cents instead of rounding half up"),
        Bug("edge_case", "billing/invoice.py", "apply_discount", "max(0, cents - cents * percent // 100)", "cents - cents * percent // 100", "goes negative for discounts over 100 percent"),
        Bug("key", "billing/invoice.py", "gross_total", 'line["category"]) for', 'line["kind"]) for', "reads the key `kind`, which no line has"),
    ),
)

LEDGER = Project(
    "ledger",
    "account balances",
    {
        "accounts/entries.py": '''class Entry:
    """One booking on an account; negative amounts are debits."""

    def __init__(self, account, amount, memo=""):
        self.account = account
        self.amount = amount
        self.memo = memo


def parse_entry(text):
    """Read `account;amount;memo`."""
    account, amount, memo = text.split(";")
    return Entry(account.strip(), int(amount), memo.strip())
''',
        "accounts/ledger.py": '''from accounts.entries import Entry, parse_entry


def balance(entries, account):
    """Sum of the entries of one account."""
    return sum(e.amount for e in entries if e.account == account)


def transfer(entries, source, target, amount):
    """Two entries that move an amount from source to target."""
    return entries + [Entry(source, -amount), Entry(target, amount)]


def overdrawn(entries, limit=0):
    """Accounts whose balance is below the limit, sorted."""
    names = {e.account for e in entries}
    return sorted(n for n in names if balance(entries, n) < limit)


def load(text):
    """Entries of a text, one a line; empty lines are skipped."""
    return [parse_entry(line) for line in text.splitlines() if line.strip()]
''',
        "tests/test_ledger.py": '''from accounts.entries import parse_entry
from accounts.ledger import balance, load, overdrawn, transfer

TEXT = "cash;100;opening\\n\\nrent; -80;may\\ncash;-30;food\\n"


def test_parse_entry_strips_memo():
    assert parse_entry("cash; 5 ; lunch ").memo == "lunch"


def test_balance():
    assert balance(load(TEXT), "cash") == 70


def test_load_skips_empty_lines():
    assert len(load(TEXT)) == 3


def test_transfer_keeps_the_sum():
    entries = transfer(load(TEXT), "cash", "rent", 20)
    assert balance(entries, "cash") == 50
    assert balance(entries, "rent") == -60


def test_overdrawn():
    assert overdrawn(load(TEXT)) == ["rent"]
''',
    },
    (
        Bug("arguments", "accounts/ledger.py", "transfer", "[Entry(source, -amount), Entry(target, amount)]", "[Entry(target, -amount), Entry(source, amount)]", "swaps source and target"),
        Bug("operator", "accounts/ledger.py", "overdrawn", "< limit)", "> limit)", "compares the wrong way round"),
        Bug("edge_case", "accounts/ledger.py", "load", " for line in text.splitlines() if line.strip()]", " for line in text.splitlines()]", "trips over empty lines"),
        Bug("import", "accounts/ledger.py", "load", "from accounts.entries import Entry, parse_entry", "from accounts.entry import Entry, parse_entry", "imports from a module that does not exist"),
    ),
)

STOCK = Project(
    "stockroom",
    "stock reservations",
    {
        "stock/errors.py": '''class OutOfStock(Exception):
    """Fewer pieces are there than were asked for."""
''',
        "stock/room.py": '''from stock.errors import OutOfStock


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
''',
        "stock/report.py": '''def shortages(room, minimum):
    """Articles with fewer than `minimum` available pieces."""
    return sorted(a for a in room.pieces if room.available(a) < minimum)
''',
        "tests/test_room.py": '''import pytest

from stock.errors import OutOfStock
from stock.report import shortages
from stock.room import Room


def test_reserve_lowers_available():
    room = Room({"bolt": 10})
    room.reserve("bolt", 4)
    assert room.available("bolt") == 6


def test_reserve_everything():
    room = Room({"bolt": 10})
    room.reserve("bolt", 10)
    assert room.available("bolt") == 0


def test_reserve_adds_up():
    room = Room({"bolt": 10})
    room.reserve("bolt", 4)
    room.reserve("bolt", 5)
    assert room.available("bolt") == 1


def test_reserve_too_much():
    with pytest.raises(OutOfStock):
        Room({"bolt": 1}).reserve("bolt", 2)


def test_available_of_unknown_article():
    assert Room({}).available("nut") == 0


def test_ship_returns_what_is_left():
    room = Room({"bolt": 10})
    room.reserve("bolt", 3)
    assert room.ship("bolt", 3) == 7


def test_shortages():
    assert shortages(Room({"nut": 2, "bolt": 9}), 5) == ["nut"]
''',
    },
    (
        Bug("off_by_one", "stock/room.py", "reserve", "if count > self.available(article):", "if count >= self.available(article):", "refuses to reserve the last piece"),
        Bug("return", "stock/room.py", "ship", "        return self.pieces[article]\n", "", "returns nothing"),
        Bug("edge_case", "stock/room.py", "available", "self.pieces.get(article, 0) -", "self.pieces[article] -", "raises for an unknown article"),
        Bug("order", "stock/room.py", "reserve", "self.reserved.get(article, 0) + count", "count", "forgets earlier reservations of the same article" ),
    ),
)

CART = Project(
    "cart",
    "shopping cart",
    {
        "shop/cart.py": '''from shop.shipping import shipping_cost


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
''',
        "shop/shipping.py": '''FREE_FROM = 5000
COSTS = {"de": 490, "fr": 890}
ELSEWHERE = 1490


def shipping_cost(subtotal, country):
    """Cents for shipping; free inside Germany from 50 euros on."""
    if country == "de" and subtotal >= FREE_FROM:
        return 0
    return COSTS.get(country, ELSEWHERE)
''',
        "tests/test_cart.py": '''from shop.cart import Cart


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
''',
        "tests/test_shipping.py": '''from shop.shipping import shipping_cost


def test_free_at_the_limit():
    assert shipping_cost(5000, "de") == 0


def test_abroad_is_never_free():
    assert shipping_cost(9000, "fr") == 890


def test_unknown_country():
    assert shipping_cost(100, "xx") == 1490
''',
    },
    (
        Bug("off_by_one", "shop/shipping.py", "shipping_cost", "subtotal >= FREE_FROM", "subtotal > FREE_FROM", "charges shipping exactly at the limit"),
        Bug("operator", "shop/shipping.py", "shipping_cost", 'country == "de" and', 'country == "de" or', "makes shipping free with `or` where both must hold"),
        Bug("edge_case", "shop/shipping.py", "shipping_cost", "COSTS.get(country, ELSEWHERE)", "COSTS[country]", "has no price for other countries"),
        Bug("arguments", "shop/cart.py", "total", "shipping_cost(self.subtotal(), country)", "shipping_cost(country, self.subtotal())", "passes country and subtotal the wrong way round"),
    ),
)

PROJECTS = (INVOICE, LEDGER, STOCK, CART)
