"""A run's books as a paying lane sees them: what was paid and is owed, and a way to pay what is no call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from oa_compile.chat import ChatRequest
from oa_compile.errors import StopRun
from oa_compile.events import AnyEvent, Attempt, Noted, PaymentIntended, Stage
from oa_compile.lanes.account import Accounts, OpenAttempt, RunAccount
from oa_compile.lanes.lane import Quote
from oa_compile.lanes.left import LeftOpen


class RunBooks:
    """Fulfils lanes.lane.Books for one lane."""

    def __init__(self, accounts: Accounts, history: Iterable[AnyEvent], *, lane: str, stage: Stage) -> None:
        """`stage` is where payments that are no call count."""
        self._accounts = accounts
        self._history = history
        self._lane = lane
        self._stage: Stage = stage
        self._left: list[LeftOpen] = []

    def leave(self, left: LeftOpen) -> None:
        """Nobody can know yet what came of it."""
        self._left.append(left)

    def left(self) -> Iterable[LeftOpen]:
        return list(self._left)

    def receipts(self) -> Iterable[Mapping[str, Any]]:
        return [
            event.receipt
            for event in self._history
            if isinstance(event, Attempt) and event.lane == self._lane and event.receipt
        ]

    def payment_hashes(self) -> Iterable[str]:
        return [event.payment_hash for event in self._history if isinstance(event, PaymentIntended)]

    def note(self, code: str, message: str) -> None:
        with contextlib.suppress(StopRun):  # a journal that takes nothing ends the run elsewhere
            self._accounts.append(Noted(code=code, message=message, data={"severity": "warning"}))

    def settlement(self, lane: str, key: str, quote: Quote) -> OpenAttempt:
        account = RunAccount(self._accounts, key, ChatRequest(()), self._stage, "task", calls=0)
        return account.attempt(lane, quote, wait=False)
