"""Why a run must end, and who has heard of it: the switch that every call of a run looks at.

Owns that the first reason stays; what is done about it is its callers' matter.
"""

from __future__ import annotations

import threading

from oa_compile.errors import BudgetExhausted, Interrupted, OacompileError, StopRun
from oa_compile.ledger import Ledger


class StopSwitch:
    """One run's. Safe from any thread."""

    def __init__(self, ledger: Ledger) -> None:
        """Nobody waits for room in `ledger` once it is thrown."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.error: OacompileError | None = None
        """What stopped the run, if anything did."""

    def stop(self, error: OacompileError) -> StopRun:
        """Refuse every further call with `error` (the first one given stays). Returns what to raise."""
        with self._lock:
            if self.error is None:
                self.error = error
            self._stopped.set()
            stop = StopRun(self.error)
        self._ledger.stop_waiting()
        return stop

    @property
    def pays_debts(self) -> bool:
        """Whether what is owed can be paid still: not when something broke."""
        return self.error is None or isinstance(self.error, BudgetExhausted | Interrupted)

    def check(self, *, owed: bool = False) -> None:
        """Raise StopRun if the run has ended; what is `owed` may be paid still while debts can be."""
        if self.error is not None and not (owed and self.pays_debts):
            raise StopRun(self.error)

    def pause(self, seconds: float) -> None:
        """Wait before a retry; StopRun as soon as the run stops."""
        self._stopped.wait(seconds)
        self.check()
