"""COPRO: coordinate ascent over instructions, a batch of proposals a round (DSPy's own)."""

from __future__ import annotations

from typing import Any

import dspy
from dspy.teleprompt.copro_optimizer import COPRO, BasicGenerateInstruction

from oa_compile.optimize.optimizer import Job, Note, PhaseEstimate, Sizes
from oa_compile.optimize.rounds import Rounds
from oa_compile.signatures.frozen import Part, Tunable
from oa_compile.spec.config import CoproSettings, OptimizerName

NEW_BEST = 0.3
"""Assumed chance that a round finds a predictor a better instruction, for the forecast only."""


class _Search(COPRO):  # type: ignore[misc]
    """COPRO that says which predictor it is at."""

    rounds: Rounds

    def _set_signature(self, predictor: Any, updated_signature: Any) -> None:
        super()._set_signature(predictor, updated_signature)
        self.rounds.at = predictor


class Copro:
    """Fulfils Optimizer. COPRO learns from scores alone, so it scores on the valset."""

    name: OptimizerName = "copro"
    searched: frozenset[Part] = frozenset({"instruction"})

    def fit(self, settings: CoproSettings, *, sizes: Sizes, tunable: Tunable, note: Note) -> CoproSettings:
        del tunable
        note("copro", f"COPRO learns from scores alone: it scores on the {sizes.val} validation examples")
        return settings

    def val_limit(self, settings: CoproSettings) -> int | None:
        del settings
        return None

    def proposes(self, settings: CoproSettings) -> bool:
        del settings
        return True

    def forecast(self, settings: CoproSettings, *, sizes: Sizes) -> list[PhaseEstimate]:
        breadth, depth, count = settings.breadth, settings.depth, sizes.predictors
        proposals = (breadth - 1 + (depth - 1) * breadth) * count
        per = sizes.calls_per_example
        # With several predictors every round scores all candidates so far again.
        rounds = [breadth * (d + 1) if count > 1 else breadth for d in range(depth)]
        most = sum(rounds) * count * per * sizes.val
        # The steps before the changed one are answered from the journal; it and those after it are asked
        # again for an old candidate if the best instruction of another predictor has changed since.
        fresh = 0.0
        for scored in rounds:
            again = breadth + NEW_BEST * (scored - breadth)
            fresh += sum((per - index) * again for index in range(count))
            fresh -= again - breadth  # nothing comes before the first step that could have changed
        calls = min(round(fresh * sizes.val), most)
        return [
            PhaseEstimate("propose instructions", "proposer", proposals, proposals),
            PhaseEstimate("search", "task", calls, most),
        ]

    def probe(self, lm: dspy.LM, *, instruction: str, settings: CoproSettings) -> str:
        with dspy.context(lm=lm):
            answer = dspy.Predict(BasicGenerateInstruction, temperature=settings.init_temperature)(
                basic_instruction=instruction
            )
        return str(answer.proposed_instruction)

    def compile(self, job: Job, settings: CoproSettings) -> dspy.Module:
        def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
            del trace
            return job.score(example, prediction).score

        job.phase("search")
        search = _Search(
            prompt_model=job.proposer_lm,
            metric=metric,
            breadth=settings.breadth,
            depth=settings.depth,
            init_temperature=settings.init_temperature,
        )
        search.rounds = Rounds(job.ahead, predictors=len(job.program.predictors()))
        if job.ahead is not None:
            job.ahead.attend(job.program)
        with dspy.context(callbacks=[*dspy.settings.callbacks, search.rounds]):
            return search.compile(
                job.program,
                trainset=job.valset,
                eval_kwargs={"num_threads": job.threads, "display_progress": False, "display_table": False},
            )


OPTIMIZER = Copro()
