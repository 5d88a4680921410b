"""The ledger: no spend without a reservation, no reservation past a cap.

A pure fold over the journal plus the holds of this process. Caps exist for the run, each stage and
each lane, in msat, calls, tokens and (for the run) wall seconds. At every interleaving:
settled + reserved <= cap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from oa_compile import held
from oa_compile.errors import BudgetExhausted, DigestMismatch
from oa_compile.events import AnyEvent, Attempt, Reserved, Role, Stage
from oa_compile.money import check_msat

WARN_AT = (50, 80)
"""Percent of a cap at which a warning is due."""

RUN = "run"


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper bounds of one scope; None is no bound. `seconds` are the run's, whatever the scope: those
    since it began, less the time between its segments.
    """

    msat: int | None = None
    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Totals:
    """What one scope has settled and what it holds in reserve."""

    msat: int = 0
    calls: int = 0
    tokens: int = 0
    reserved_msat: int = 0
    reserved_calls: int = 0
    reserved_tokens: int = 0

    def used(self, unit: str) -> int:
        """Settled plus reserved of ``msat``, ``calls`` or ``tokens``."""
        return int(getattr(self, unit)) + int(getattr(self, f"reserved_{unit}"))


_UNITS = ("msat", "calls", "tokens")


@dataclass(frozen=True, slots=True)
class _Scope:
    """A scope's totals and only those of its caps that are set: (unit, limit)."""

    name: str
    totals: Totals
    limits: tuple[tuple[str, int], ...]
    seconds: float | None


class _Refusal(NamedTuple):
    """The cap that has no room, and its limit for people."""

    cap: str
    limit: str


@dataclass(frozen=True, slots=True)
class Hold:
    """One reservation, open until it is settled."""

    number: int
    key: str
    lane: str
    stage: Stage
    role: Role
    msat: int
    tokens: int
    calls: int = 1


@dataclass(frozen=True, slots=True)
class CapWarning:
    """A cap passed 50 or 80 percent."""

    cap: str
    percent: int
    used: int
    limit: int


@dataclass(slots=True)
class Ledger:
    """Reserve, settle, and tell. Thread-safe; `elapsed` gives the run's wall seconds, all segments."""

    caps: Mapping[str, Caps] = field(default_factory=dict)
    elapsed: Callable[[], float] = lambda: 0.0
    on_warning: Callable[[CapWarning], None] = lambda _warning: None
    _totals: dict[str, Totals] = field(default_factory=dict, init=False)
    _holds: dict[int, Hold] = field(default_factory=dict, init=False)
    _pending: dict[int, Hold] = field(default_factory=dict, init=False)
    _next: int = field(default=1, init=False)
    _waits: bool = field(default=True, init=False)
    _warned: dict[str, int] = field(default_factory=dict, init=False)
    _scoped: dict[tuple[str, str], tuple[_Scope, ...]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _room: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self._room = threading.Condition(self._lock)

    def reserve(
        self,
        *,
        key: str,
        lane: str,
        stage: Stage,
        role: Role,
        msat: int,
        tokens: int,
        calls: int = 1,
        wait: bool = True,
    ) -> Hold:
        """Set aside one attempt's worst case; `calls` is 0 for a payment that is no call.

        With `wait`, an amount that only open holds stand in the way of waits for them to settle (not for
        those that `pend`), until `stop_waiting`. Raises BudgetExhausted naming the cap that refuses.
        """
        check_msat(msat)
        if tokens < 0:
            raise ValueError(f"tokens must not be negative: {tokens}")
        held.await_free(self._lock)
        with self._lock:
            while True:
                # Anew after each wait: who was let in meanwhile has taken the number.
                hold = Hold(self._next, key, lane, stage, role, msat, tokens, calls)
                refused = self._refusal(hold, reserved=True)
                if refused is None:
                    break
                final = self._refusal(hold, reserved=False)
                if final is not None or not wait or not self._waits or not self._holds:
                    cap, limit = final or refused
                    raise BudgetExhausted(
                        f"the cap {cap} ({limit}) is reached",
                        cap=cap,
                        hint="raise the cap and go on with --resume; everything settled is kept",
                    )
                self._room.wait(timeout=1.0)
            self._next += 1
            self._open(hold)
            return hold

    def stop_waiting(self) -> None:
        """The run ends: whoever waits for room is refused now, and whoever would wait at once."""
        with self._lock:
            self._waits = False
            self._room.notify_all()

    def _scopes(self, stage: str, lane: str) -> tuple[_Scope, ...]:
        """The three scopes a call counts in. Called for every call: what can be computed once, is."""
        scopes = self._scoped.get((stage, lane))
        if scopes is None:
            scopes = tuple(self._scope(name) for name in (RUN, f"stage {stage}", f"lane {lane}"))
            self._scoped[stage, lane] = scopes
        return scopes

    def _scope(self, name: str) -> _Scope:
        caps = self.caps.get(name, Caps())
        limits = ((unit, getattr(caps, unit)) for unit in _UNITS)
        return _Scope(
            name,
            self.totals(name),
            tuple((unit, limit) for unit, limit in limits if limit is not None),
            caps.seconds,
        )

    def _refusal(self, hold: Hold, *, reserved: bool) -> _Refusal | None:
        for scope in self._scopes(hold.stage, hold.lane):
            for unit, limit in scope.limits:
                amount = getattr(hold, unit)
                totals = scope.totals
                used = totals.used(unit) if reserved else getattr(totals, unit) + self._lost(scope, unit)
                if used + amount > limit:
                    return _Refusal(f"{scope.name}.{unit}", f"{limit:,}")
            # What is no call pays for what came in time.
            if scope.seconds is not None and hold.calls and self.elapsed() >= scope.seconds:
                return _Refusal(f"{scope.name}.seconds", f"{scope.seconds:g}")
        return None

    def _lost(self, scope: _Scope, unit: str) -> int:
        """What pending holds keep of it."""
        return sum(
            getattr(hold, unit)
            for hold in self._pending.values()
            if scope in self._scopes(hold.stage, hold.lane)
        )

    def _open(self, hold: Hold) -> None:
        self._holds[hold.number] = hold
        for scope in self._scopes(hold.stage, hold.lane):
            totals = scope.totals
            totals.reserved_msat += hold.msat
            totals.reserved_calls += hold.calls
            totals.reserved_tokens += hold.tokens

    def settle(self, hold: Hold, *, msat: int, tokens: int) -> bool:
        """Replace a hold by what was really spent. False if that was more than the hold: a lane
        that breaks its own ceiling must not be called again. Settling twice raises KeyError.
        """
        check_msat(msat)
        if tokens < 0:
            raise ValueError(f"tokens must not be negative: {tokens}")
        held.await_free(self._lock)
        with self._lock:
            warnings = self._close(hold, msat, tokens)
            self._room.notify_all()
        for warning in warnings:
            self.on_warning(warning)
        return msat <= hold.msat and tokens <= hold.tokens

    def pend(self, hold: Hold) -> None:
        """Nobody knows when this hold will settle: until then it counts as spent, and nobody waits."""
        with self._lock:
            self._pending[hold.number] = self._holds[hold.number]
            self._room.notify_all()

    def release(self, hold: Hold) -> None:
        """Give back a hold that no event names and nothing was sent under. Twice raises KeyError."""
        with self._lock:
            self._unreserve(hold)
            self._room.notify_all()

    def _unreserve(self, hold: Hold) -> None:
        del self._holds[hold.number]
        self._pending.pop(hold.number, None)
        for scope in self._scopes(hold.stage, hold.lane):
            totals = scope.totals
            totals.reserved_msat -= hold.msat
            totals.reserved_calls -= hold.calls
            totals.reserved_tokens -= hold.tokens

    def _close(self, hold: Hold, msat: int, tokens: int) -> list[CapWarning]:
        self._unreserve(hold)
        warnings: list[CapWarning] = []
        for scope in self._scopes(hold.stage, hold.lane):
            totals = scope.totals
            totals.msat += msat
            totals.calls += hold.calls
            totals.tokens += tokens
            if scope.limits:
                warnings += self._due_warnings(scope)
        return warnings

    def _due_warnings(self, scope: _Scope) -> list[CapWarning]:
        due = []
        for unit, limit in scope.limits:
            used = getattr(scope.totals, unit)
            if not limit or used * 100 < limit * WARN_AT[0]:
                continue
            name = f"{scope.name}.{unit}"
            passed = max(percent for percent in WARN_AT if used * 100 >= limit * percent)
            if passed > self._warned.get(name, 0):
                self._warned[name] = passed
                due.append(CapWarning(name, passed, used, limit))
        return due

    def totals(self, scope: str = RUN) -> Totals:
        """The live totals of a scope (``run``, ``stage compile``, ``lane local``)."""
        return self._totals.setdefault(scope, Totals())

    def lanes(self) -> dict[str, Totals]:
        """Totals by lane name."""
        with self._lock:
            return {
                name.removeprefix("lane "): totals
                for name, totals in self._totals.items()
                if name.startswith("lane ")
            }

    def open_holds(self) -> list[Hold]:
        """Holds not settled yet; after a replay of the journal, those a dead process left."""
        return list(self._holds.values())

    def replay(self, events: Iterable[AnyEvent]) -> None:
        """Take up a journal's reservations and settlements, without asking the caps. Raises
        DigestMismatch where they do not pair.
        """
        for event in events:
            if isinstance(event, Reserved):
                if event.hold in self._holds:
                    raise _unpaired(event.hold, "is reserved twice")
                hold = Hold(
                    event.hold,
                    event.key,
                    event.lane,
                    event.stage,
                    event.role,
                    event.msat,
                    event.tokens,
                    event.calls,
                )
                self._open(hold)
                self._next = max(self._next, event.hold + 1)
            elif isinstance(event, Attempt):
                if event.hold not in self._holds:
                    raise _unpaired(event.hold, "is settled, and not reserved before")
                self._close(self._holds[event.hold], event.msat, event.tokens)


def _unpaired(number: int, what: str) -> DigestMismatch:
    return DigestMismatch(
        f"the journal does not add up: hold {number} {what}",
        hint="the journal was changed; restore it from its bundle",
    )
