"""What newcomers may cost us together, if all of them take the money and leave.

Owns one amount: it falls by what is at stake, comes back with what was honoured, and what was lost grows back
with time. So all losses in t minutes stay within the limit plus t times its growth, whatever keys they are
made under.
"""

from __future__ import annotations

import math


class Risk:
    """An amount of msat that may be put at stake. Times are in seconds, never running back."""

    def __init__(self, *, limit_msat: float, per_minute_msat: float) -> None:
        """At first, and at most, `limit_msat`."""
        self._limit = limit_msat
        self._per_second = per_minute_msat / 60
        self._left = limit_msat
        self._now: float | None = None

    def turn(self, now: float) -> None:
        """Let time pass."""
        if self._now is not None and now > self._now:
            self.honoured(self._per_second * (now - self._now))
        self._now = now if self._now is None else max(now, self._now)

    def allows(self, msat: float) -> bool:
        """Whether that much more may be put at stake now."""
        return msat <= self._left

    def allows_at(self, msat: float) -> float:
        """When it may, if nothing else happens; infinity for never."""
        missing = msat - self._left
        if missing <= 0:
            return -math.inf if self._now is None else self._now
        if msat > self._limit or not self._per_second or self._now is None:
            return math.inf
        return self._now + missing / self._per_second

    def stake(self, msat: float) -> None:
        """That much is at stake from now on."""
        self._left -= msat

    def honoured(self, msat: float) -> None:
        """That much of it was earned, or was never taken."""
        self._left = min(self._left + msat, self._limit)
