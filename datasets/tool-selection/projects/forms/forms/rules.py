import re


def required(value):
    """Complains about nothing and blanks."""
    return None if str(value or "").strip() else "is required"


def between(low, high):
    """A rule: a number from low to high, both allowed."""

    def rule(value):
        return None if low <= int(value) <= high else f"must be {low} to {high}"

    return rule


def looks_like_email(value):
    """Complains unless there is one @ with a dotted domain."""
    return None if re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]+", value) else "is no e-mail address"
