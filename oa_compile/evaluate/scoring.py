"""Scores a program on examples, in order, in parallel; a fault of the infrastructure is no score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import dspy

from oa_compile.dataset import ExampleRecord
from oa_compile.evaluate.examples import ScoreFunction, to_examples
from oa_compile.events import ExampleScore
from oa_compile.lanes.lane import LaneFault

Answer = Callable[[ExampleRecord, dspy.Example], Any]
"""Runs a program on an example. May raise what the program raises, and LaneFault."""


def score_program(
    answer: Answer,
    records: Sequence[ExampleRecord],
    *,
    score: ScoreFunction,
    threads: int,
    on_scored: Callable[[], None] = lambda: None,
) -> list[ExampleScore]:
    """One row a record, in order. An answer that raises (an answer that does not parse, a bug of its
    own) scores 0; a lane that gave up leaves the score out. StopRun passes through.
    """

    def one(record: ExampleRecord, example: dspy.Example) -> ExampleScore:
        row = _score_one(answer, record, example, score)
        on_scored()
        return row

    pool = ThreadPoolExecutor(threads)
    try:
        futures = [
            pool.submit(copy_context().run, one, record, example)
            for record, example in zip(records, to_examples(records), strict=True)
        ]
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _score_one(
    answer: Answer, record: ExampleRecord, example: dspy.Example, score: ScoreFunction
) -> ExampleScore:
    try:
        prediction = answer(record, example)
    except Exception as error:  # noqa: BLE001 - a program may raise anything; only lanes are excused
        fault = fault_in(error)
        if fault is None:
            return ExampleScore(example=record.id, score=0.0)
        return ExampleScore(example=record.id, score=None, fault=fault.kind)
    try:
        given = score(example, prediction)
        return ExampleScore(example=record.id, score=given.score, parts=dict(given.parts))
    except LaneFault as fault:
        return ExampleScore(example=record.id, score=None, fault=fault.kind)


def pass_on(fault: LaneFault) -> bool:
    """For `score_function`: a judge's fault is raised as what it is, for `score_program` to take."""
    raise fault


def fault_in(error: BaseException) -> LaneFault | None:
    """The lane's fault that an error came from, if it did: DSPy wraps what engines raise."""
    seen: set[int] = set()
    current: Any = error
    while current is not None and id(current) not in seen:
        if isinstance(current, LaneFault):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None
