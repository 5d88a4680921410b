"""Refine: a program run again with what was wrong, while its answer falls short; the best answer is kept.

DSPy's own Refine swallows errors with a print, needs the module's source, asks a model for advice after every
failed try, and counts failures on the instance, so that it fails for good after a few. Here the reward's own
words are the advice, faults pass through, and nothing is kept between calls. It is around a program, whose
predictors keep their names: what is saved opens in plain DSPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from oa_compile.errors import SpecError
from oa_compile.evaluate.metrics import build_metric
from oa_compile.evaluate.python_metric import check_returned
from oa_compile.evaluate.rules import Judged
from oa_compile.evaluate.scoring import fault_in
from oa_compile.lanes.rollout import Rollout, current, rolled_out
from oa_compile.spec.metrics import RefineSpec
from oa_compile.spec.program import ProgramSpec
from oa_compile.spec.target import load_target

Reward = Callable[[Mapping[str, Any], Mapping[str, Any]], Judged]
"""(inputs, pred) -> how good an answer is, without knowing the right one."""

HINT = "An earlier answer to this was not good enough: {feedback} Do not repeat that."

_ROOM = 50
"""Runs within one rollout of the program."""


def reward_of(spec: ProgramSpec, folder: Path) -> Reward:
    """The reward that a spec names. Raises SpecError for one that cannot be called with (inputs, pred)."""
    if spec.refine.reward:
        return _python(spec.refine.reward, folder)
    free = build_metric(spec, folder).without_gold()

    def proxies(inputs: Mapping[str, Any], pred: Mapping[str, Any]) -> Judged:
        return free.reward(inputs=inputs, pred=pred)

    return proxies


@dataclass(frozen=True, slots=True)
class Refine:
    """Runs `program` up to `spec.rollouts` times. `escalation` gives the model of the last run, where another
    is to make it. Safe to call from many threads.
    """

    program: dspy.Module
    spec: RefineSpec
    reward: Reward
    escalation: dspy.LM | None = None

    def __call__(self, **inputs: Any) -> Any:
        """The first answer that is good enough, else the best. Raises what a lane raises; what the program
        raises only when no run came to an answer.
        """
        best: tuple[float, Any] | None = None
        problem: Exception | None = None
        feedback = ""
        for number in range(self.spec.rollouts):
            is_last = number == self.spec.rollouts - 1
            try:
                answer = self._run(number, feedback, inputs, escalated=is_last and number > 0)
            except Exception as error:
                if fault_in(error) is not None:
                    raise
                problem, feedback = error, "it could not be read."
                continue
            judged = self.reward(inputs, answer.toDict())
            if best is None or judged.score > best[0]:
                best = (judged.score, answer)
            if judged.score >= self.spec.threshold:
                break
            feedback = judged.feedback or f"it was given {judged.score:.2f} of 1."
        if best is None:
            assert problem is not None
            raise problem
        return best[1]

    def _run(self, number: int, feedback: str, inputs: Mapping[str, Any], *, escalated: bool) -> Any:
        program = self.program
        if feedback:
            program = program.deepcopy()
            hint = HINT.format(feedback=" ".join(feedback.split()))
            for predictor in program.predictors():
                signature = predictor.signature
                predictor.signature = signature.with_instructions(f"{signature.instructions}\n\n{hint}")
        around = current() or Rollout(0)
        run = Rollout(
            around.number * _ROOM + number,
            self.spec.temperature if number else around.temperature,
            around.avoid,
        )
        settings = {"lm": self.escalation} if escalated and self.escalation is not None else {}
        try:
            with dspy.context(**settings), rolled_out(run):
                return program(**inputs)
        finally:
            around.add(run)


def _python(target: str, folder: Path) -> Reward:
    loaded = load_target(target, folder)

    def reward(inputs: Mapping[str, Any], pred: Mapping[str, Any]) -> Judged:
        try:
            returned = loaded.call(dict(inputs), dict(pred))
        except Exception as error:  # a user's code may raise anything; it is told, and is nobody's answer
            raise SpecError(
                f"{loaded.path}: reward {target} raised {type(error).__name__}: {error}",
                hint="write it as `def name(inputs, pred)`, returning a score or (score, feedback)",
            ) from error
        return check_returned(returned, f"{loaded.path}: reward {target}")

    return reward
