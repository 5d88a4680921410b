"""The desk every LM call of a run passes: once, in one order, for every lane.

Look-up in the journal, single flight, the lane's attempts, the answer filed. Owns the order; accounts own
what becomes of an attempt, lanes sending, the journal the truth.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import msgspec

from oa_compile import held
from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.digest import PREFIX
from oa_compile.errors import Interrupted, OacompileError, StopRun
from oa_compile.events import Attempt, Borrowed, GaveUp, Role, SandboxRan, Stage
from oa_compile.journal import Journal
from oa_compile.lanes.account import Accounts, RunAccount
from oa_compile.lanes.lane import FATAL, Lane, LaneFault, RequestRefused
from oa_compile.lanes.recorded import Recorded, Recording
from oa_compile.lanes.stop import StopSwitch
from oa_compile.ledger import Ledger


@dataclass(slots=True)
class Look:
    """Calls asked before the search asks them: what goes wrong is told to the call it was for. `stands` when
    the search will not ask again if nothing went wrong, so that they count as its own now.
    """

    stands: bool = False
    failed: bool = False


looking_ahead: ContextVar[Look | None] = ContextVar("oa_compile_looking_ahead", default=None)
"""What this thread asks early for, if it does."""

_key_encoder = msgspec.json.Encoder(order="sorted")


def call_key(identity: str, request: ChatRequest, *, rollout: int | None, sample: int) -> str:
    """The digest a call is filed under: the same call of the same lane, and the n-th sample of it."""
    body = _key_encoder.encode((identity, rollout, sample, request))
    return PREFIX + hashlib.sha256(body).hexdigest()


@dataclass(slots=True)
class Tally:
    """What calls came to. `saved` were answered from the journal; `faults` gave up.

    `msat` was paid now; `worth` is what all answers cost when they were made, saved ones included.
    """

    made: int = 0
    saved: int = 0
    faults: int = 0
    msat: int = 0
    worth: int = 0
    fault_kinds: list[str] = field(default_factory=list)


class _Flight:
    """One call under way, which identical calls wait for."""

    __slots__ = ("ahead", "answer", "error", "under_way")

    def __init__(self, *, ahead: bool) -> None:
        self.ahead = ahead
        # A lock its maker holds until the end: an Event would cost more than all the rest of a call.
        self.under_way = threading.Lock()
        self.under_way.acquire()
        self.answer: ChatAnswer | None = None
        self.error: BaseException | None = None


class Calls:
    """All calls of one run, from any thread."""

    def __init__(
        self,
        *,
        journal: Journal,
        ledger: Ledger,
        recording: Recording,
        borrowed: Recording | None = None,
        replay_faults: bool = False,
    ) -> None:
        """`borrowed` are another run's answers, written to this journal when they are used.
        `replay_faults` raises recorded faults again (strict replay); else such calls are made anew.
        """
        self.switch = StopSwitch(ledger)
        self.accounts = Accounts(journal=journal, ledger=ledger, switch=self.switch, settled=self._settled)
        self._recording = recording
        self._borrowed = borrowed
        self._replay_faults = replay_faults
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._early: set[str] = set()
        self._given_up: dict[str, LaneFault] = {}
        self.tally = Tally()
        self.on_saved: Callable[[], None] = lambda: None
        self.tolerates_faults: Callable[[], bool] = lambda: True
        """Whether a call that is given up can be borne (an evaluation can leave an example out;
        bootstrapping and proposing cannot)."""

    # -- what engines call -----------------------------------------------------------------------

    def complete(
        self, request: ChatRequest, *, lane: Lane, stage: Stage, role: Role, rollout: int | None, sample: int
    ) -> ChatAnswer:
        """Answer one call. Raises StopRun when the run must end, LaneFault when this call must be
        given up, RequestRefused when the request itself cannot be served.
        """
        key = call_key(lane.identity, request, rollout=rollout, sample=sample)
        self.switch.check()
        recorded = self._known(key)
        if recorded is not None:
            return self._from_journal(recorded, key)
        # No lock, one atomic step: threads that queue for locks hand the interpreter round (see held.py).
        ahead = looking_ahead.get() is not None
        flight = _Flight(ahead=ahead)
        while (leading := self._flights.setdefault(key, flight)) is not flight:
            with leading.under_way:
                pass
            # What went wrong for a call that looked ahead is this one's to tell.
            if leading.error is None or not leading.ahead or ahead:
                return self._follow(leading, key)
            self.switch.check()
        try:
            account = RunAccount(self.accounts, key, request, stage, role)
            # An identical call may have ended since the first look: it filed its answer before it left.
            taken = self._known(key) or self._take_over(account, lane)
            flight.answer = self._from_journal(taken, key) if taken else self._lead(account, lane)
            return flight.answer
        except BaseException as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.under_way.release()

    def tested(self, key: str) -> SandboxRan | None:
        """What a sandboxed job came to before; another run's outcome becomes this one's own."""
        found = self._recording.tested(key)
        if found is None and self._borrowed is not None:
            found = self._borrowed.tested(key)
            if found is not None:
                self.file_test(found)
        return found

    def file_test(self, event: SandboxRan) -> None:
        """Journal what a sandboxed job came to."""
        self.accounts.append(event)
        with self._lock:
            self._recording.add(event)

    def worth(self, key: str) -> int:
        """What the answer to a call cost when it was made, msat."""
        recorded = self._recording.get(key)
        return recorded.msat if recorded is not None else 0

    def _known(self, key: str) -> Recorded | None:
        """What this run's journal answers; a fault only where it must happen again."""
        recorded = self._recording.get(key)
        return None if recorded is not None and recorded.fault and not self._replay_faults else recorded

    def _follow(self, flight: _Flight, key: str) -> ChatAnswer:
        """What an identical call that was under way came to: counted as if it had been over before."""
        error = flight.error
        if isinstance(error, LaneFault):
            return self._from_journal(Recorded(fault=error.kind, message=error.message), key)
        if isinstance(error, RequestRefused):
            return self._from_journal(Recorded(message=error.message), key)
        if error is not None:
            raise StopRun(error.error) if isinstance(error, StopRun) else error
        return self._from_journal(self._recording.get(key) or Recorded(answer=flight.answer), key)

    def _take_over(self, account: RunAccount, lane: Lane) -> Recorded | None:
        """Another run's answer or refusal, as this run's own; None if there is none."""
        found = self._borrowed.get(account.key) if self._borrowed is not None else None
        if found is None or found.fault:
            return None
        event = Borrowed(
            key=account.key,
            lane=lane.name,
            stage=account.stage,
            role=account.role,
            request=account.request,
            answer=found.answer,
            message=found.message,
            msat=found.msat,
        )
        self.accounts.append(event)
        with self._lock:
            self._recording.add(event)
        return found

    def _from_journal(self, recorded: Recorded, key: str) -> ChatAnswer:
        look = looking_ahead.get()
        if look is not None and (not look.stands or recorded.fault):
            look.failed = look.failed or recorded.answer is None
            return recorded.replay()
        if key in self._early:  # asked early for this very call, which was counted then
            self._early.discard(key)
            return recorded.replay()
        held.await_free(self._lock)
        with self._lock:
            self.tally.saved += 1
            self.tally.worth += recorded.msat
        try:
            return recorded.replay()
        except LaneFault as fault:
            self._count_fault(fault)
            raise
        finally:
            self.on_saved()

    def _lead(self, account: RunAccount, lane: Lane) -> ChatAnswer:
        look = looking_ahead.get()
        early = self._given_up.pop(account.key, None)
        try:
            if early is not None:
                raise early
            if look is not None and not look.stands:
                self._early.add(account.key)
            return lane.complete(account.request, account)
        except RequestRefused:
            if look is not None:
                look.failed = True
            raise
        except LaneFault as fault:
            if look is not None and fault.kind not in FATAL:
                look.failed = True
                self._early.discard(account.key)
                self._given_up[account.key] = fault
                raise
            if fault.kind in FATAL or not self.tolerates_faults():
                raise self.stop(fault) from fault
            self.accounts.append(
                GaveUp(key=account.key, request=account.request, fault=fault.kind, message=fault.message)
            )
            self._count_fault(fault)
            raise
        except OacompileError as error:
            raise self.stop(error) from error
        except Exception as error:  # DSPy would score a lane's bug as a wrong answer
            bug = OacompileError(f"lane `{lane.name}` broke: {type(error).__name__}: {error}")
            raise self.stop(bug) from error

    def _count_fault(self, fault: LaneFault) -> None:
        with self._lock:
            self.tally.faults += 1
            self.tally.fault_kinds.append(fault.kind)

    def _settled(self, event: Attempt) -> None:
        held.await_free(self._lock)
        with self._lock:
            self.tally.made += event.calls
            self.tally.msat += event.msat
            self.tally.worth += event.msat
            if event.outcome in {"ok", "refused"}:
                self._recording.add(event)

    # -- stopping --------------------------------------------------------------------------------

    def stop(self, error: OacompileError) -> StopRun:
        """Refuse every further call with `error` (the first one given stays). Returns what to raise."""
        return self.switch.stop(error)

    @property
    def stopped_by(self) -> OacompileError | None:
        """The error that stopped the run, if one did."""
        return self.switch.error

    def interrupt(self) -> None:
        """Stop because the user asked; calls under way may still settle."""
        self.stop(Interrupted("interrupted", hint="go on with --resume"))

    def wait_idle(self, seconds: float) -> bool:
        """Wait until no call is under way, at most `seconds`. True if none is."""
        deadline = time.monotonic() + seconds
        while flights := list(self._flights.values()):
            for flight in flights:
                if not flight.under_way.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
                    return False
                flight.under_way.release()
        return True
