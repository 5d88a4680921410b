class Entry:
    """One booking on an account; negative amounts are debits."""

    def __init__(self, account, amount, memo=""):
        self.account = account
        self.amount = amount
        self.memo = memo


def parse_entry(text):
    """Read `account;amount;memo`."""
    account, amount, memo = text.split(";")
    return Entry(account.strip(), int(amount), memo.strip())
