"""COPRO's rounds: all candidates of one predictor are known before the first is scored, so all run together.

Owns knowing which those are, from what COPRO was proposed. Every one of them is going to be scored, so
nothing is asked in vain.
"""

from __future__ import annotations

from typing import Any

import dspy
from dspy.teleprompt.copro_optimizer import BasicGenerateInstruction, GenerateInstructionGivenAttempts
from dspy.utils.callback import BaseCallback

from oa_compile.optimize.lookahead import LATER, LookAhead, Piece, program_runs

_PROPOSALS = (BasicGenerateInstruction, GenerateInstructionGivenAttempts)


class Rounds(BaseCallback):  # type: ignore[misc]
    """One search's. `at` is the predictor whose candidates are being scored."""

    def __init__(self, ahead: LookAhead | None, *, predictors: int) -> None:
        self.at: Any = None
        self._ahead = ahead
        self._predictors = predictors
        self._proposing: set[str] = set()
        self._proposed: list[Any] = []
        self._round = 0
        self._pieces: list[list[Piece]] = []

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module runs: perhaps COPRO's proposer."""
        del inputs
        if isinstance(instance, dspy.Predict) and instance.signature in _PROPOSALS:
            self._proposing.add(call_id)

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """The proposer has proposed."""
        if call_id in self._proposing:
            self._proposing.discard(call_id)
            if exception is None:
                # The list that COPRO reads: with several predictors, it adds later proposals to it.
                self._proposed.append(outputs.completions)

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A candidate is about to be scored: with the first of a round, all of it begins."""
        del call_id, instance
        if self._ahead is None:
            return
        if not self._pieces:
            self._begin(self._ahead, inputs["program"], inputs["devset"])
        if self._pieces:
            self._ahead.tell(inputs["program"], inputs["devset"], self._pieces.pop(0))

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """It is scored, and COPRO will change it."""
        del call_id, outputs, exception
        if self._ahead is not None:
            self._ahead.forget()

    def _begin(self, ahead: LookAhead, program: dspy.Module, examples: list[dspy.Example]) -> None:
        depth, predictor = divmod(self._round, self._predictors)
        self._round += 1
        number = predictor if self._predictors > 1 else depth
        now = program.predictors()
        if number >= len(self._proposed) or now[predictor] is not self.at:
            return  # another COPRO than the one this knows
        for proposal in self._proposed[number]:
            candidate = program.deepcopy()
            signature = self.at.signature
            *_, last = signature.fields
            candidate.predictors()[predictor].signature = signature.with_instructions(
                proposal.proposed_instruction.strip('"').strip()
            ).with_updated_fields(last, prefix=proposal.proposed_prefix_for_output_field.strip('"').strip())
            self._pieces.append(ahead.submit(program_runs(candidate, examples, stand=True), pressing=LATER))
