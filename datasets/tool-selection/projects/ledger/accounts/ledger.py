from accounts.entries import Entry, parse_entry


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
