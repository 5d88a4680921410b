"""x."""

from __future__ import annotations


def ask() -> int:
    """Send one job and show its life."""
    return 0
