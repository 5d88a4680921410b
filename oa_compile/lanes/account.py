"""A run's accounts: what a lane is given of a run, and all it sees of it.

Owns the life of an attempt: reserved, written, sent, written again, settled. Which calls there are is the
desk's matter (`calls`), how much may be spent the ledger's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import LaneError, StopRun
from oa_compile.events import (
    Attempt,
    Borrowed,
    GaveUp,
    Noted,
    PaymentIntended,
    Reserved,
    Role,
    SandboxRan,
    Stage,
)
from oa_compile.journal import Journal, JournalWriteError
from oa_compile.lanes.lane import LaneFault, Quote, RequestRefused, Spent
from oa_compile.lanes.stop import StopSwitch
from oa_compile.ledger import Hold, Ledger
from oa_compile.swarm.customer.attempt import Intent


class Accounts:
    """All attempts of one run, from any thread: in the journal first, then in the ledger."""

    def __init__(
        self,
        *,
        journal: Journal,
        ledger: Ledger,
        switch: StopSwitch,
        settled: Callable[[Attempt], None],
    ) -> None:
        """`settled` is told of every attempt's end."""
        self.switch = switch
        self._journal = journal
        self._ledger = ledger
        self._settled = settled

    def begin_attempt(
        self, account: RunAccount, lane: str, quote: Quote, *, wait: bool = True
    ) -> OpenAttempt:
        """Reserve and write the reservation, before anything is sent. What is no call (`account.calls` is 0)
        pays for answers that are there already: a run that ended at a cap, or was interrupted, still does.
        """
        self.switch.check(owed=not account.calls)
        hold = self._ledger.reserve(
            key=account.key,
            lane=lane,
            stage=account.stage,
            role=account.role,
            msat=quote.msat,
            tokens=quote.tokens,
            calls=account.calls,
            wait=wait,
        )
        try:
            # The run may have ended while this call waited for room.
            self.switch.check(owed=not account.calls)
            self.append(
                Reserved(
                    hold=hold.number,
                    key=hold.key,
                    lane=lane,
                    stage=hold.stage,
                    role=hold.role,
                    msat=hold.msat,
                    tokens=hold.tokens,
                    calls=hold.calls,
                )
            )
        except StopRun:
            self._ledger.release(hold)
            raise
        return OpenAttempt(self, hold, account.request, time.monotonic())

    def end_attempt(
        self,
        attempt: OpenAttempt,
        outcome: str,
        *,
        msat: int = 0,
        tokens: int = 0,
        answer: ChatAnswer | None = None,
        fault: str = "",
        message: str = "",
        receipt: dict[str, object] | None = None,
    ) -> None:
        """Write what became of an attempt, then settle its hold."""
        hold = attempt.hold
        event = Attempt(
            hold=hold.number,
            key=hold.key,
            lane=hold.lane,
            stage=hold.stage,
            role=hold.role,
            outcome=outcome,  # type: ignore[arg-type]
            msat=msat,
            tokens=tokens,
            calls=hold.calls,
            latency_ms=round((time.monotonic() - attempt.started) * 1000),
            request=attempt.request if hold.calls else None,
            answer=answer,
            fault=fault,
            message=message,
            receipt=receipt or {},
        )
        self.append(event)
        kept_ceiling = self._ledger.settle(hold, msat=msat, tokens=tokens)
        self._settled(event)
        if not kept_ceiling:
            raise self.switch.stop(
                LaneError(
                    f"lane `{hold.lane}` charged {msat} msat and {tokens} tokens, above its own ceiling of "
                    f"{hold.msat} msat and {hold.tokens} tokens",
                    hint="set the lane's [price] to what the provider really charges",
                )
            )

    def pend(self, hold: Hold) -> None:
        """Nobody knows when that attempt ends: it counts as spent until then."""
        self._ledger.pend(hold)

    def end_left(self, hold: Hold, spent: Spent) -> Attempt:
        """Write what became of an attempt of a process that died, then settle its hold."""
        event = Attempt(
            hold=hold.number,
            key=hold.key,
            lane=hold.lane,
            stage=hold.stage,
            role=hold.role,
            outcome="lost",
            msat=spent.msat,
            tokens=spent.tokens,
            calls=hold.calls,
            message="the process died before the answer was journaled",
            receipt=dict(spent.receipt),
        )
        self._journal.append(event)
        self._ledger.settle(hold, msat=spent.msat, tokens=spent.tokens)
        return event

    def intend(self, hold: Hold, intent: Intent, *, sync: bool) -> None:
        """Write an intent to pay, on the disk when this returns if `sync` is set."""
        self.append(
            PaymentIntended(
                hold=hold.number,
                payment_hash=intent.payment_hash,
                bolt11=intent.bolt11,
                msat=intent.msat,
                max_fee_msat=intent.max_fee_msat,
                wallet=intent.wallet,
                provider=intent.provider,
                job=intent.job,
                settles=list(intent.settles),
            ),
            sync=sync,
        )

    def append(
        self,
        event: Reserved | PaymentIntended | Attempt | GaveUp | Borrowed | Noted | SandboxRan,
        *,
        sync: bool = False,
    ) -> None:
        """Write an event; a journal that takes none ends the run. Raises StopRun."""
        try:
            self._journal.append(event, sync=sync)
        except JournalWriteError as error:
            raise self.switch.stop(error) from error


@dataclass(slots=True)
class OpenAttempt:
    """Fulfils lanes.lane.Attempted: writes the event, then settles the hold."""

    accounts: Accounts
    hold: Hold
    request: ChatRequest
    started: float

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        self.accounts.intend(self.hold, intent, sync=sync)

    def pending(self) -> None:
        self.accounts.pend(self.hold)

    def answered(self, answer: ChatAnswer, spent: Spent) -> None:
        self._end("ok", spent, answer=answer)

    def unused(self, answer: ChatAnswer, spent: Spent) -> None:
        self._end("unused", spent, answer=answer)

    def paid(self, spent: Spent) -> None:
        self._end("ok", spent)

    def refused(self, error: RequestRefused) -> None:
        self.accounts.end_attempt(self, "refused", message=error.message)

    def failed(self, fault: LaneFault, spent: Spent | None = None) -> None:
        if spent is None:
            spent = Spent(self.hold.msat, self.hold.tokens) if fault.billed else Spent(0, 0)
        self._end("fault", spent, fault=fault.kind, message=fault.message)

    def _end(
        self,
        outcome: str,
        spent: Spent,
        *,
        answer: ChatAnswer | None = None,
        fault: str = "",
        message: str = "",
    ) -> None:
        self.accounts.end_attempt(
            self,
            outcome,
            msat=spent.msat,
            tokens=spent.tokens,
            answer=answer,
            fault=fault,
            message=message,
            receipt=dict(spent.receipt),
        )


@dataclass(slots=True)
class RunAccount:
    """Fulfils lanes.lane.Account for one call, or (`calls` is 0) for a payment that is none."""

    accounts: Accounts
    key: str
    request: ChatRequest
    stage: Stage
    role: Role
    calls: int = 1

    def attempt(self, lane: str, quote: Quote, *, wait: bool = True) -> OpenAttempt:
        return self.accounts.begin_attempt(self, lane, quote, wait=wait)

    def pause(self, seconds: float) -> None:
        self.accounts.switch.pause(seconds)
