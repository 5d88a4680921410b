"""Lanes in order: the next one answers when the one before is out of attempts.

Owns the order only; each member reserves, retries and reports for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import UsageError
from oa_compile.lanes.lane import FATAL, Account, Lane, LaneFault, Quote


class FallbackLane:
    """A lane made of lanes. Attempts are reserved and told under the name of the member that makes
    them, so that each member's caps hold here too.
    """

    kind = "fallback"

    def __init__(self, name: str, members: Sequence[Lane]) -> None:
        if not members:
            raise UsageError(f"fallback lane `{name}` has no lanes")
        self.name = name
        self.members = tuple(members)
        self.identity = "fallback(" + " | ".join(member.identity for member in members) + ")"
        self.concurrency = members[0].concurrency  # the others are met when the first one fails

    def __repr__(self) -> str:
        return f"FallbackLane({self.name!r}, {[member.name for member in self.members]!r})"

    def quote(self, request: ChatRequest) -> Quote:
        """The worst of the members' quotes, in money and in tokens each."""
        quotes = [member.quote(request) for member in self.members]
        return Quote(max(quote.msat for quote in quotes), max(quote.tokens for quote in quotes))

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        """The first answer. Raises LaneFault, of the last member's kind, when no member answered.

        A fault of the account itself (auth, billing) ends the call at once: passing it over would
        hide a broken key behind a dearer lane for the whole run. A refusal ends it too, also for a
        request too long for this member: a refusal is recorded as what the *call* came to, and a
        longer model answering only the long examples would bend the scores without a word.
        """
        told = []
        for member in self.members:
            try:
                return member.complete(request, account)
            except LaneFault as fault:
                if fault.kind in FATAL:
                    raise
                told.append(f"{member.name}: {fault.message}")
                last = fault
        raise LaneFault(last.kind, f"no lane of `{self.name}` answered ({'; '.join(told)})", hint=last.hint)

    def close(self) -> None:
        """Close every member."""
        for member in self.members:
            member.close()
