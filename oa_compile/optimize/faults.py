"""Keeps faults of the infrastructure out of scores: whose example met one, and what it counts then.

Owns telling faulted examples from wrong ones, taking the faulted out of what an optimizer sees, and how many
are too many. Whether a candidate is valid is the recorder's.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from oa_compile.errors import LaneError
from oa_compile.evaluate.scoring import fault_in
from oa_compile.events import ExampleScore
from oa_compile.lanes.lane import LaneFault


@dataclass(slots=True)
class Watched:
    """The faults of one evaluation: (inputs of the example, kind of fault)."""

    program: dspy.Module
    faults: list[tuple[dict[str, Any], str]] = field(default_factory=list)

    def of(self, example: dspy.Example) -> str:
        """The kind of fault an example met, "" if none."""
        if not self.faults:
            return ""
        inputs = example.inputs().toDict()
        return next((kind for other, kind in self.faults if other == inputs), "")


_run: ContextVar[tuple[Watched, dict[str, Any]] | None] = ContextVar("oa_compile_program_run", default=None)
"""The evaluation and the inputs of the example that this thread ran last, or is running."""


class FaultWatch(BaseCallback):  # type: ignore[misc]
    """Follows each example of an evaluation through its calls.

    The exception a program ends with would not tell: DSPy's evaluation keeps none, and a Python program
    may have caught the fault and gone on.
    """

    def __init__(self) -> None:
        self._open: list[Watched] = []

    def begin(self, program: dspy.Module) -> Watched:
        """An evaluation of `program` begins."""
        watched = Watched(program)
        self._open.append(watched)
        return watched

    def end(self, watched: Watched) -> None:
        """It ended."""
        self._open.remove(watched)

    @property
    def watching(self) -> bool:
        """Whether an evaluation is under way."""
        return bool(self._open)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module runs: if it is a program under evaluation, this thread is in one of its examples."""
        del call_id
        for watched in self._open:
            if instance is watched.program:
                _run.set((watched, inputs["kwargs"]))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A call came to its end."""
        del call_id, outputs
        fault = fault_in(exception) if exception is not None else None
        if fault is not None:
            self.met(fault)

    def evaluated(self) -> dspy.Module | None:
        """The program that this thread has just run in an evaluation that is under way."""
        running = _run.get()
        if running is None or not any(watched is running[0] for watched in self._open):
            return None
        return running[0].program

    def met(self, fault: LaneFault) -> bool:
        """The example that this thread runs, or has just run and scores, met a fault. False when it is none
        of an evaluation's.
        """
        running = _run.get()
        if running is None or self.evaluated() is None:
            return False
        watched, inputs = running
        watched.faults.append((inputs, fault.kind))
        return True


def neutralise(outputs: Any, rows: list[ExampleScore]) -> None:
    """Give faulted examples the mean of the answered ones, in what the optimizer sees: no fault moves a
    candidate up or down. At least one row must have a score.
    """
    answered = [row.score for row in rows if row.score is not None]
    if len(answered) == len(rows):
        return
    mean = sum(answered) / len(answered)
    traced = any(isinstance(prediction, tuple) for _, prediction, _ in outputs.results)
    nothing: Any = (dspy.Prediction(), []) if traced else dspy.Prediction()
    outputs.results = [
        (example, nothing, mean) if row.score is None else (example, prediction, score)
        for (example, prediction, score), row in zip(outputs.results, rows, strict=True)
    ]
    outputs.score = round(100 * mean, 2)


def check_share(rows: list[ExampleScore], *, most: float) -> None:
    """Raise LaneError when so many examples failed, over a share of `most` (0 … 1) or all of them, that their
    evaluation says nothing.
    """
    faulted = sum(row.score is None for row in rows)
    if faulted and (faulted == len(rows) or faulted > most * len(rows)):
        raise LaneError(
            f"{faulted} of {len(rows)} examples of one evaluation failed on the lane ({fault_kinds(rows)}), "
            f"above max_fault_share = {most:g}",
            hint="when the lane is well again, go on with --resume; nothing was scored 0",
        )


def fault_kinds(rows: Iterable[ExampleScore]) -> str:
    """The kinds of fault in some rows, for a sentence."""
    return ", ".join(sorted({row.fault for row in rows if row.fault}))
