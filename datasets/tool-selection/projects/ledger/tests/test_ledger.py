from accounts.entries import parse_entry
from accounts.ledger import balance, load, overdrawn, transfer

TEXT = "cash;100;opening\n\nrent; -80;may\ncash;-30;food\n"


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
