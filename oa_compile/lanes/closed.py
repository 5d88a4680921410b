"""A lane that is configured and cannot be used here (its key is missing): known, and answering nothing."""

from __future__ import annotations

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import UsageError
from oa_compile.lanes.lane import Account, Lane, LaneFault, Quote


class ClosedLane:
    """Stands for `lane`. Every call is a fault, for the reason that it could not be opened."""

    def __init__(self, lane: Lane, error: UsageError) -> None:
        self.name = lane.name
        self.kind = lane.kind
        self.identity = lane.identity
        self.concurrency = lane.concurrency
        self._lane = lane
        self._error = error

    def quote(self, request: ChatRequest) -> Quote:
        return self._lane.quote(request)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:  # noqa: ARG002 - nobody answers
        raise LaneFault("unavailable", self._error.message, hint=self._error.hint)

    def close(self) -> None:
        self._lane.close()
