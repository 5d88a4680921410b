"""MIPROv2's first steps rehearsed: what they ask one after the other though nothing in it waits for anything.

Owns knowing which calls those are: each is one that MIPROv2 is going to make whatever comes of the others, so
none is made in vain. If DSPy took other steps than these, the search would ask for itself.
"""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import dspy
from dspy.propose import GroundedProposer
from dspy.propose.dataset_summary_generator import create_dataset_summary
from dspy.teleprompt.bootstrap import BootstrapFewShot

from oa_compile.optimize.lookahead import LATER, NOW, SOON, LookAhead, Work, early, program_runs

_Metric = Callable[..., Any]


class _Bootstrap(BootstrapFewShot):  # type: ignore[misc]
    """One demo set: as many examples at once as are needed still, which the search tries at the least."""

    def __init__(self, ahead: LookAhead, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._ahead = ahead

    def rehearse(self, student: dspy.Module, trainset: list[dspy.Example]) -> None:
        self.trainset = trainset
        self._prepare_student_and_teacher(student, None)
        left, found = list(trainset), 0
        while left and found < self.max_bootstrapped_demos:
            needed = self.max_bootstrapped_demos - found
            batch, left = left[:needed], left[needed:]
            tried = self._ahead.run([partial(self._try, example) for example in batch], pressing=SOON)
            found += sum(map(bool, tried))

    def _try(self, example: dspy.Example) -> bool:
        teacher = self.teacher.deepcopy()
        for predictor in teacher.predictors():
            predictor.demos = [demo for demo in predictor.demos if demo != example]
        with dspy.context(trace=[], **self.teacher_settings):
            prediction = teacher(**example.inputs())
            return bool(self.metric(example, prediction, dspy.settings.trace))


def rehearse_start(
    ahead: LookAhead,
    program: dspy.Module,
    *,
    trainset: list[dspy.Example],
    valset: list[dspy.Example],
    metric: _Metric,
    sets: int,
    bootstrapped: int,
    labeled: int,
    rng: random.Random,
    proposer_lm: dspy.LM | None,
    view_batch: int,
) -> None:
    """The demo sets, each on its own; beside them the summary of the data (unless `proposer_lm` is None) and
    the first program's score. Ends when the demo sets are there.
    """
    if proposer_lm is not None:
        summary = partial(
            create_dataset_summary,
            trainset=trainset,
            view_data_batch_size=view_batch,
            prompt_model=proposer_lm,
        )
        ahead.submit([summary], pressing=NOW)
    ahead.submit(program_runs(program, valset), pressing=LATER)
    rng = copy.deepcopy(rng)
    jobs: list[Work] = []
    for number in range(-1, sets - 3):
        order, size = list(trainset), bootstrapped
        if number >= 0:
            rng.shuffle(order)
            size = rng.randint(1, bootstrapped)
        one = _Bootstrap(ahead, metric=metric, max_bootstrapped_demos=size, max_labeled_demos=labeled)
        jobs.append(partial(one.rehearse, program.deepcopy(), order))
    threads = [threading.Thread(target=copy_context().run, args=(_quietly, job), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _quietly(job: Work) -> None:
    with early():
        job()


class _Drawn:
    """A generator whose next number is known."""

    def __init__(self, number: int) -> None:
        self._number = number

    def randint(self, _low: int, _high: int) -> int:
        return self._number


class AheadProposer(GroundedProposer):  # type: ignore[misc]
    """DSPy's proposer, which asks for all its proposals at once: none of them looks at another."""

    def __init__(self, *, ahead: LookAhead | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._ahead = ahead

    def propose_instructions_for_program(self, *args: Any, **kwargs: Any) -> Any:
        if self._ahead is not None:
            work: list[Work] = []
            dry = copy.copy(self)
            dry._ahead, dry.rng = None, copy.deepcopy(self.rng)

            def note(**named: Any) -> str:
                one = copy.copy(dry)
                del one.propose_instruction_for_predictor
                one.rng = _Drawn(dry.rng.randint(0, 10**9))
                work.append(partial(one.propose_instruction_for_predictor, **named))
                return ""

            dry.propose_instruction_for_predictor = note
            dry.propose_instructions_for_program(*args, **kwargs)
            self._ahead.run(work)
        return super().propose_instructions_for_program(*args, **kwargs)
