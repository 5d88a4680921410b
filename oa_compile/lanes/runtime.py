"""A run's machinery, opened from its journal: ledger, calls, lanes and the LMs DSPy is given.

Owns taking up a journal (new, resumed or replayed) and letting go of it; what is run on it is the
callers' matter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import dspy

from oa_compile.errors import UsageError
from oa_compile.events import (
    AnyEvent,
    Line,
    Noted,
    Role,
    RunStarted,
    SandboxRan,
    SegmentStarted,
    Stage,
)
from oa_compile.journal import Journal, Listener, events
from oa_compile.lanes.adapters import LaneAdapter
from oa_compile.lanes.books import RunBooks
from oa_compile.lanes.calls import Calls
from oa_compile.lanes.engine import Engine, RunLM
from oa_compile.lanes.lane import Lane, Payer
from oa_compile.lanes.left import settle_left
from oa_compile.lanes.recorded import Recording, recorded_answers
from oa_compile.ledger import RUN, Caps, CapWarning, Ledger
from oa_compile.money import format_msat
from oa_compile.spec.config import Config, StageSpec

SETTLED_WITHIN = 5.0
"""Seconds a stopping run waits for calls under way."""

_MAX_ERRORS = 1_000_000_000
"""DSPy gives up an evaluation after a few errors; whether to go on is decided here, by kind of fault."""


def caps_of(config: Config) -> dict[str, Caps]:
    """Every cap of a config, by the ledger's scope names."""
    rate = config.money.rate
    caps = {RUN: config.budget.caps(rate)}
    caps |= {f"stage {name}": stage.budget.caps(rate) for name, stage in config.stages.items()}
    caps |= {f"lane {name}": lane.budget.caps(rate) for name, lane in config.lanes.items()}
    return caps


def stage_of(config: Config, stage: Stage) -> StageSpec:
    """The lanes of a stage; a stage left out uses the compile stage's."""
    return config.stages.get(stage) or config.stages["compile"]


def lane_names(config: Config, stages: Iterable[Stage]) -> list[str]:
    """Names of the lanes those stages use, each once."""
    names: dict[str, None] = {}
    for stage in stages:
        spec = stage_of(config, stage)
        names |= dict.fromkeys(spec.lane(role) for role in ("task", "proposer", "judge"))
    return list(names)


def worked_ms(lines: Iterable[Line]) -> int:
    """Milliseconds all segments of a journal ran; the time between segments does not count."""
    total = first = last = 0
    for line in lines:
        if not first or isinstance(line.event, SegmentStarted):
            total += max(0, last - first)  # clocks are set back at times
            first = line.at
        last = line.at
    return total + max(0, last - first)


class Runtime:
    """One process's hold on one run."""

    def __init__(
        self,
        path: Path,
        *,
        started: RunStarted,
        config: Config,
        lanes: Mapping[str, Lane],
        recording: Recording | None = None,
        replay_faults: bool = False,
        listener: Listener | None = None,
    ) -> None:
        """Open the journal at `path`, writing `started` if it is new, else checking that it is the
        same run. `recording` adds answers from elsewhere (a bundle): those that are used are taken over
        into this journal, unless `replay_faults` says that this is a strict replay, faults and all.
        Raises UsageError for a mismatch.
        """
        self.config = config
        self.lanes = lanes
        self._settled = False
        self.journal = Journal(path)
        try:
            self._take_up(started, recording, replay_faults=replay_faults, listener=listener)
        except BaseException:
            self.journal.close()
            raise
        self.journal.history = []

    def _take_up(
        self,
        started: RunStarted,
        recording: Recording | None,
        *,
        replay_faults: bool,
        listener: Listener | None,
    ) -> None:
        lines = self.journal.history
        history = [line.event for line in lines]
        self._check_same_run(history, started)
        self.resumed = bool(history)
        self.history: list[AnyEvent] = history
        prior = worked_ms(lines) / 1000
        begun = time.monotonic()
        self.ledger = Ledger(
            caps_of(self.config),
            elapsed=lambda: prior + time.monotonic() - begun,
            on_warning=self._warn,
        )
        self.ledger.replay(history)
        own = recording if replay_faults and recording is not None else Recording()
        for event in history:
            own.add(event)
        self.calls = Calls(
            journal=self.journal,
            ledger=self.ledger,
            recording=own,
            borrowed=recording,
            replay_faults=replay_faults,
        )
        if listener is not None:
            for line in lines:
                listener(line)
            self.journal.listen(listener)
        if not history:
            self.journal.append(started)
        changed = self.resumed and started.settings != _started(history).settings
        self.journal.append(
            SegmentStarted(
                pid=os.getpid(),
                resumed=sum(isinstance(event, SegmentStarted) for event in history),
                torn_bytes=self.journal.torn_bytes,
                settings=started.settings if changed else {},
            ),
            sync=True,
        )
        if self.resumed:
            self._note_versions(_started(history).versions, started.versions)
        stage: Stage = "compile" if started.command == "optimize" else "validate"
        books: dict[str, RunBooks] = {}
        for lane in self.lanes.values():
            if isinstance(lane, Payer):
                books[lane.name] = RunBooks(self.calls.accounts, history, lane=lane.name, stage=stage)
                lane.take_up(books[lane.name])
        payers = {name: lane for name, lane in self.lanes.items() if isinstance(lane, Payer)}
        ended, left = settle_left(
            self.ledger.open_holds(), lines, accounts=self.calls.accounts, payers=payers
        )
        self.history += ended
        for one in left:
            books[one.hold.lane].leave(one)

    def _note_versions(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Another version of an optimizer may search otherwise, and then asks for calls anew."""
        moved = {name: (before.get(name, "-"), new) for name, new in now.items() if before.get(name) != new}
        changed = [f"{name} {old} -> {new}" for name, (old, new) in moved.items()]
        if changed:
            message = f"versions changed since the run began ({', '.join(changed)}): it may go another way"
            self.journal.append(Noted(code="versions", message=message, data={"severity": "warning"}))

    @staticmethod
    def _check_same_run(history: list[AnyEvent], started: RunStarted) -> None:
        if not history:
            return
        before = _started(history)
        for what in ("command", "program", "optimizer", "seed", "inputs", "lanes"):
            old, new = getattr(before, what), getattr(started, what)
            if old != new:
                raise UsageError(
                    f"run `{before.run}` cannot go on: its {what} changed from {old!r} to {new!r}",
                    hint="start a new run; only budgets and threads may change on --resume",
                )

    def _warn(self, warning: CapWarning) -> None:
        money = warning.cap.endswith(".msat")
        used = format_msat(warning.used) if money else f"{warning.used:,}"
        limit = format_msat(warning.limit) if money else f"{warning.limit:,}"
        self.journal.append(
            Noted(
                code="budget",
                message=f"{warning.percent} % of {warning.cap} used ({used} of {limit})",
                data={"cap": warning.cap, "percent": warning.percent},
            )
        )

    def lm(self, stage: Stage, role: Role, *, lane: str = "") -> RunLM:
        """The LM of a role in a stage; on another lane than the role's own, where one is named."""
        name = lane or stage_of(self.config, stage).lane(role)
        engine = Engine(self.calls, self.lanes[name], stage=stage, role=role)
        return RunLM(engine, name=f"{name}-{role}", spec=self.config.lanes[name])

    def tested(self, key: str) -> SandboxRan | None:
        """What a sandboxed job came to before, in this run or in the one whose answers it takes."""
        return self.calls.tested(key)

    def file_test(self, event: SandboxRan) -> None:
        """Journal what a sandboxed job came to."""
        self.calls.file_test(event)

    def context(self, lm: RunLM, *, callbacks: list[Any] | None = None) -> AbstractContextManager[None]:
        """DSPy's settings for work on this run."""
        context: AbstractContextManager[None] = dspy.context(
            lm=lm,
            adapter=LaneAdapter(),
            callbacks=callbacks or [],
            num_threads=self.config.run.threads,
            max_errors=_MAX_ERRORS,
            disable_history=True,
            track_usage=False,
        )
        return context

    def settle(self) -> None:
        """Pay what is owed, and let go of the lanes: there are no more calls to come. What it costs is in the
        journal then, and may be told as the run's. Only once: later calls do nothing. Raises what broke in
        it, when all lanes are closed.
        """
        if self._settled:
            return
        self._settled = True
        with ExitStack() as closing:
            for lane in self.lanes.values():
                closing.callback(lane.close)
            for lane in self.lanes.values():
                if isinstance(lane, Payer) and self.calls.switch.pays_debts:
                    lane.settle()

    def close(self) -> None:
        """Wait a moment for calls under way, then let go of lanes and journal."""
        with ExitStack() as closing:  # all of it, whatever one of them raises; the journal last
            closing.callback(self.journal.close)
            closing.callback(self.settle)
            self.calls.wait_idle(SETTLED_WITHIN)


def _started(history: list[AnyEvent]) -> RunStarted:
    first = history[0]
    if not isinstance(first, RunStarted):
        raise UsageError("the journal does not begin with run_started", hint="restore it from its bundle")
    return first


__all__ = ["Runtime", "caps_of", "events", "lane_names", "recorded_answers", "stage_of", "worked_ms"]
