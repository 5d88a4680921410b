"""The roster: which service providers have announced themselves, and which of them may be asked at all.

Owns the newest announcement of each and the objections to it. Announcements are foreign: there may be any
number of them, so both lists are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping

from oa_compile.swarm.protocol.nip89 import Handler


class Roster:
    """Announcements by hex pubkey: `fit` may be asked, `unfit` may not, with the reason."""

    def __init__(self, *, bid_msat: int, allow: frozenset[str], network: str, most: int) -> None:
        """`most` of either kind are kept; see Market for the rest."""
        self._bid_msat = bid_msat
        self._allow = allow
        self._network = network
        self._most = most
        self._fit: dict[str, Handler] = {}
        self._unfit: dict[str, tuple[Handler, str]] = {}

    @property
    def fit(self) -> Mapping[str, Handler]:
        """Those that may be asked."""
        return self._fit

    @property
    def unfit(self) -> Mapping[str, tuple[Handler, str]]:
        """Those that may not, and why."""
        return self._unfit

    @property
    def full(self) -> bool:
        """Whether there is no room for one more that may be asked."""
        return len(self._fit) >= self._most

    def get(self, pubkey: str) -> Handler | None:
        """The announcement of either kind."""
        unfit = self._unfit.get(pubkey)
        return self._fit.get(pubkey) if unfit is None else unfit[0]

    def objection(self, handler: Handler) -> str:
        """Why this provider must not be asked; empty if it may."""
        if self._allow and handler.provider not in self._allow:
            return "not on the allow-list"
        if handler.price_msat is not None and handler.price_msat > self._bid_msat:
            return f"asks {handler.price_msat:,} msat, more than the bid of {self._bid_msat:,}"
        if handler.price_msat != 0 and self._network and handler.network not in {"", self._network}:
            return f"is paid on {handler.network}, the wallet is on {self._network}"
        return ""

    def put(self, handler: Handler) -> bool:
        """Take up an announcement in place of any before; whether that provider may be asked."""
        reason = self.objection(handler)
        self.drop(handler.provider)
        if not reason:
            self._fit[handler.provider] = handler
            return True
        if len(self._unfit) >= self._most:
            del self._unfit[next(iter(self._unfit))]  # the oldest: they are only kept to be told
        self._unfit[handler.provider] = (handler, reason)
        return False

    def drop(self, pubkey: str) -> None:
        """Forget an announcement; one that is not there is no error."""
        self._fit.pop(pubkey, None)
        self._unfit.pop(pubkey, None)
