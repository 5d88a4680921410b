"""DSPy's MIPROv2 with its calls asked early, and with frozen parts kept as they are.

Owns where this takes DSPy's steps apart; what is asked early is `rehearsal`'s and `trials`'.
"""

from __future__ import annotations

from typing import Any

import dspy
from dspy.teleprompt.mipro_optimizer_v2 import (
    BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT,
    LABELED_FEWSHOT_EXAMPLES_IN_CONTEXT,
    MIPROv2,
)

from oa_compile.optimize.optimizer import Job
from oa_compile.optimize.rehearsal import AheadProposer, rehearse_start
from oa_compile.optimize.trials import Batch, Evaluations, next_trial

VIEW_BATCH = 10
"""Training examples the data summary reads at a time: DSPy's default."""


class MiproSearch(MIPROv2):  # type: ignore[misc]
    """MIPROv2 that keeps frozen parts as they are: their only candidate is what they were."""

    def __init__(self, *, job: Job, propose: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._job = job
        self._propose = propose
        self._evaluations = Evaluations(job.ahead) if job.ahead is not None else None
        self._batch: Batch | None = None
        self._left = 0
        """Trials to come."""

    def _bootstrap_fewshot_examples(self, program: Any, trainset: Any, *args: Any, **kwargs: Any) -> Any:
        self._job.phase("bootstrap demos")
        if self._job.ahead is not None and not self.teacher_settings:
            boot, labeled = kwargs["max_bootstrapped_demos"], kwargs["max_labeled_demos"]
            if not boot and not labeled:
                boot = BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT
                labeled = LABELED_FEWSHOT_EXAMPLES_IN_CONTEXT
            rehearse_start(
                self._job.ahead,
                program,
                trainset=trainset,
                valset=self._job.valset,
                metric=self.metric,
                sets=kwargs["num_fewshot_candidates"],
                bootstrapped=boot,
                labeled=labeled,
                rng=self.rng,
                proposer_lm=self.prompt_model if self._propose else None,
                view_batch=VIEW_BATCH,
            )
        return super()._bootstrap_fewshot_examples(program, trainset, *args, **kwargs)

    def _propose_instructions(
        self,
        program: Any,
        trainset: Any,
        demos: Any,
        view_batch: int,
        *aware: bool,
        num_instruct_candidates: int,
    ) -> dict[int, list[str]]:
        by_program, by_data, by_tip, by_demos = aware
        current = [predictor.signature.instructions for predictor in program.predictors()]
        if not self._propose:
            return {index: [instruction] for index, instruction in enumerate(current)}
        self._job.phase("propose instructions")
        proposer = AheadProposer(
            ahead=self._job.ahead,
            program=program,
            trainset=trainset,
            prompt_model=self.prompt_model,
            view_data_batch_size=view_batch,
            program_aware=by_program,
            use_dataset_summary=by_data,
            use_task_demos=by_demos,
            num_demos_in_context=BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT,
            use_tip=by_tip,
            set_tip_randomly=by_tip,
            use_instruct_history=False,
            set_history_randomly=False,
            verbose=self.verbose,
            rng=self.rng,
            init_temperature=self.init_temperature,
        )
        proposed: dict[int, list[str]] = proposer.propose_instructions_for_program(
            trainset=trainset,
            program=program,
            demo_candidates=demos,
            N=num_instruct_candidates,
            trial_logs={},
        )
        for index, instruction in enumerate(current):
            proposed[index][0] = instruction
        for index, (name, _) in enumerate(program.named_predictors()):
            if not self._job.tunable.allows(name, "instruction"):
                proposed[index] = [current[index]]
        return proposed

    def _optimize_prompt_parameters(self, *args: Any) -> Any:
        self._job.phase("search")
        program, _, demos, _, valset, self._left, minibatch, size, *_ = args
        self._batch = Batch(valset, size if minibatch else len(valset))
        if demos is not None:
            # Not before: the proposer counts on every predictor having as many demo sets as the first.
            for index, (name, predictor) in enumerate(program.named_predictors()):
                if not self._job.tunable.allows(name, "demos"):
                    demos[index] = [list(predictor.demos)]
        watch = [self._evaluations] if self._evaluations is not None else []
        with dspy.context(callbacks=[*dspy.settings.callbacks, *watch]):
            return super()._optimize_prompt_parameters(*args)

    def _select_and_insert_instructions_and_demos(self, candidate: Any, *args: Any) -> Any:
        instructions, demos, trial, _, number = args
        select = super()._select_and_insert_instructions_and_demos

        def insert(drawn: Any) -> Any:
            other = candidate.deepcopy()  # whatever it holds: each of its parts is set
            select(other, instructions, demos, drawn, {number: {}}, number)
            return other

        chosen = select(candidate, *args)
        self._left -= 1
        if self._evaluations is not None and self._batch is not None and self._left > 0:
            coming = next_trial(trial, batch=self._batch, rng=self.rng, insert=insert)
            if coming is not None:
                self._evaluations.expect(*coming)
        return chosen

    def _perform_full_evaluation(self, *args: Any) -> Any:
        _, _, tried, scored, _, _, _, calls, _, best_score, best_program, *_ = args
        if set(tried) <= set(scored):
            # Few options, many trials: MIPROv2 raises when no combination is left to score in full.
            return best_score, best_program, calls
        return super()._perform_full_evaluation(*args)
