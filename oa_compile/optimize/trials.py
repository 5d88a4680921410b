"""MIPROv2's trials: each runs in the look-ahead's seats, and beside it the next one where it is certain.

Owns knowing the next trial. While the sampler still draws at random, what a trial scores changes nothing in
what comes after it; later it does, and nothing is asked early then.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import dspy
import optuna
from dspy.utils.callback import BaseCallback

from oa_compile.optimize.lookahead import LATER, LookAhead, Piece, program_runs
from oa_compile.signatures.state import dump_state, state_digest


class Evaluations(BaseCallback):  # type: ignore[misc]
    """Runs what is evaluated in the look-ahead, unless it runs there already."""

    def __init__(self, ahead: LookAhead) -> None:
        self._ahead = ahead
        self._expected: dict[tuple[str, tuple[int, ...]], list[Piece]] = {}

    def expect(self, program: dspy.Module, examples: list[dspy.Example]) -> None:
        """This evaluation is going to come: it begins when there is room."""
        work = program_runs(program, examples, stand=True)
        self._expected[_name(program, examples)] = self._ahead.submit(work, pressing=LATER)

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """It comes: run what of it is not running."""
        del call_id, instance
        program, examples = inputs["program"], inputs["devset"]
        pieces = self._expected.pop(_name(program, examples), None)
        if pieces is None:
            pieces = self._ahead.submit(program_runs(program, examples, stand=True))
        self._ahead.tell(program, examples, pieces)

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """It is over."""
        del call_id, outputs, exception
        self._ahead.forget()


def _name(program: dspy.Module, examples: list[dspy.Example]) -> tuple[str, tuple[int, ...]]:
    return state_digest(dump_state(program)), tuple(map(id, examples))


class Batch(NamedTuple):
    """What trials draw their examples from, and how many."""

    valset: list[dspy.Example]
    size: int

    def draw(self, rng: random.Random) -> list[dspy.Example]:
        """The next trial's, as DSPy draws them."""
        if self.size >= len(self.valset):
            return self.valset
        return [self.valset[index] for index in rng.sample(range(len(self.valset)), self.size)]


def next_trial(
    trial: optuna.Trial, *, batch: Batch, rng: random.Random, insert: Callable[[optuna.Trial], dspy.Module]
) -> tuple[dspy.Module, list[dspy.Example]] | None:
    """The program and the examples of the trial after `trial`, which has drawn none of its own yet; None if
    they are not certain. `insert` makes a trial's program.
    """
    study = trial.study
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    startup = getattr(study.sampler, "_n_startup_trials", 0)
    if len(done) + 2 >= startup:  # this trial's own, and perhaps a score in full
        return None
    rng = copy.deepcopy(rng)
    batch.draw(rng)
    twin = optuna.create_study(direction="maximize", sampler=copy.deepcopy(study.sampler))
    twin.add_trials(done)
    twin.add_trial(
        optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=0.0)
    )
    return insert(twin.ask()), batch.draw(rng)
