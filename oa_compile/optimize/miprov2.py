"""MIPROv2: Bayesian search over demo sets and proposed instructions (DSPy's own)."""

from __future__ import annotations

import math
from typing import Any

import dspy
from dspy.teleprompt.mipro_optimizer_v2 import AUTO_RUN_SETTINGS, MIN_MINIBATCH_SIZE, MIPROv2

from oa_compile.errors import UsageError
from oa_compile.optimize.optimizer import Job, Note, PhaseEstimate, Sizes
from oa_compile.signatures.frozen import Part, Tunable
from oa_compile.spec.config import MiproSettings, OptimizerName

BOOTSTRAP_SUCCESS = 0.5
"""Assumed share of training examples the uncompiled program gets right, for the forecast only."""


class _Search(MIPROv2):  # type: ignore[misc]
    """MIPROv2 that keeps frozen parts as they are: their only candidate is what they were."""

    def __init__(self, *, job: Job, propose: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._job = job
        self._propose = propose

    def _bootstrap_fewshot_examples(self, program: Any, *args: Any, **kwargs: Any) -> Any:
        self._job.phase("bootstrap demos")
        found = super()._bootstrap_fewshot_examples(program, *args, **kwargs)
        if found is None:
            return None
        for index, (name, predictor) in enumerate(program.named_predictors()):
            if not self._job.tunable.allows(name, "demos"):
                found[index] = [list(predictor.demos)]
        return found

    def _propose_instructions(self, program: Any, *args: Any, **kwargs: Any) -> dict[int, list[str]]:
        current = [predictor.signature.instructions for predictor in program.predictors()]
        if not self._propose:
            return {index: [instruction] for index, instruction in enumerate(current)}
        self._job.phase("propose instructions")
        proposed: dict[int, list[str]] = super()._propose_instructions(program, *args, **kwargs)
        for index, (name, _) in enumerate(program.named_predictors()):
            if not self._job.tunable.allows(name, "instruction"):
                proposed[index] = [current[index]]
        return proposed

    def _optimize_prompt_parameters(self, *args: Any, **kwargs: Any) -> Any:
        self._job.phase("search")
        return super()._optimize_prompt_parameters(*args, **kwargs)


class Miprov2:
    """Fulfils Optimizer."""

    name: OptimizerName = "miprov2"
    searched: frozenset[Part] = frozenset({"instruction", "demos"})

    def fit(self, settings: MiproSettings, *, sizes: Sizes, tunable: Tunable, note: Note) -> MiproSettings:
        changes: dict[str, Any] = {}
        if settings.instructions and not tunable.any("instruction"):
            changes["instructions"] = False
        if not tunable.any("demos"):
            changes |= {"max_bootstrapped_demos": 0, "max_labeled_demos": 0}
        fitted = settings.model_copy(update=changes)
        if not fitted.instructions and not (fitted.max_bootstrapped_demos or fitted.max_labeled_demos):
            raise UsageError(
                "miprov2 has nothing to search: instructions are off and so are demos",
                hint="set optimizer.miprov2.instructions = true, or a number of demos",
            )
        if fitted.max_labeled_demos and not fitted.max_bootstrapped_demos:
            note("fitted", "miprov2 needs at least one bootstrapped demo: max_bootstrapped_demos 0 -> 1")
            fitted = fitted.model_copy(update={"max_bootstrapped_demos": 1})
        if fitted.max_labeled_demos > sizes.train:
            note(
                "fitted",
                f"max_labeled_demos {fitted.max_labeled_demos} -> {sizes.train}: all of the trainset",
            )
            fitted = fitted.model_copy(update={"max_labeled_demos": sizes.train})
        if fitted.auto is None:
            if fitted.num_trials is None:
                trials = _trials(sizes.predictors, fitted.num_candidates, zeroshot=_zeroshot(fitted))
                fitted = fitted.model_copy(update={"num_trials": trials})
            if fitted.minibatch and sizes.val <= fitted.minibatch_size:
                note(
                    "fitted",
                    f"{sizes.val} validation examples fit one minibatch of {fitted.minibatch_size}: "
                    "every trial scores all of them",
                )
                fitted = fitted.model_copy(update={"minibatch": False})
        elif min(sizes.val, AUTO_RUN_SETTINGS[fitted.auto]["val_size"]) <= MIN_MINIBATCH_SIZE:
            fitted = fitted.model_copy(update={"minibatch": False})
        elif sizes.val < fitted.minibatch_size:
            note("fitted", f"minibatch_size {fitted.minibatch_size} -> {sizes.val}: the valset's size")
            fitted = fitted.model_copy(update={"minibatch_size": sizes.val})
        return fitted

    def val_limit(self, settings: MiproSettings) -> int | None:
        return AUTO_RUN_SETTINGS[settings.auto]["val_size"] if settings.auto else None

    def proposes(self, settings: MiproSettings) -> bool:
        return settings.instructions

    def forecast(self, settings: MiproSettings, *, sizes: Sizes) -> list[PhaseEstimate]:
        run = AUTO_RUN_SETTINGS[settings.auto] if settings.auto else None
        sets = run["n"] if run else settings.num_candidates
        val = min(sizes.val, run["val_size"]) if run else sizes.val
        trials = _trials(sizes.predictors, sets, zeroshot=_zeroshot(settings)) if run else settings.num_trials
        assert trials is not None
        minibatch = val > MIN_MINIBATCH_SIZE if run else settings.minibatch
        per = sizes.calls_per_example
        boot = settings.max_bootstrapped_demos or 3
        wanted = boot + max(sets - 3, 0) * (1 + boot) / 2
        phases = [
            PhaseEstimate(
                "bootstrap demos",
                "task",
                min(round(wanted / BOOTSTRAP_SUCCESS), sizes.train * max(sets - 2, 1)) * per,
                sizes.train * max(sets - 2, 1) * per,
            )
        ]
        if settings.instructions:
            number = (sets if _zeroshot(settings) else sets // 2) if run else sets
            proposals = 12 + number * sizes.predictors * 2
            phases.append(PhaseEstimate("propose instructions", "proposer", proposals, proposals + 20))
        if minibatch:
            full = trials // settings.full_eval_steps + 1 + (trials % settings.full_eval_steps != 0)
            programs = val * full + settings.minibatch_size * trials
        else:
            programs = val * (trials + 1)
        distinct = min(trials, sets * (sets // 2 if run else sets) if settings.instructions else sets)
        expected = val * (distinct + 1) if not minibatch else programs
        demos = 0.0 if _zeroshot(settings) else max(settings.max_labeled_demos, boot) * 0.8
        phases.append(PhaseEstimate("search", "task", expected * per, programs * per, demos))
        return phases

    def probe(self, lm: dspy.LM, *, instruction: str, settings: MiproSettings) -> str:
        del settings
        with dspy.context(lm=lm):
            probe = dspy.Predict("task_demos, basic_instruction, tip -> proposed_instruction")
            answer = probe(
                task_demos="No task demos provided.",
                basic_instruction=instruction,
                tip="Keep the instruction clear and concise.",
            )
        return str(answer.proposed_instruction)

    def compile(self, job: Job, settings: MiproSettings) -> dspy.Module:
        def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> float | bool:
            score = job.score(example, prediction).score
            return score if trace is None else score >= settings.metric_threshold

        search = _Search(
            job=job,
            propose=settings.instructions,
            metric=metric,
            prompt_model=job.proposer_lm,
            task_model=job.task_lm,
            max_bootstrapped_demos=settings.max_bootstrapped_demos,
            max_labeled_demos=settings.max_labeled_demos,
            auto=settings.auto,
            num_candidates=None if settings.auto else settings.num_candidates,
            num_threads=job.threads,
            seed=job.seed + 9,  # DSPy's default seed, shifted: it takes 0 for "not given"
            init_temperature=settings.init_temperature,
        )
        return search.compile(
            job.program,
            trainset=job.trainset,
            valset=job.valset,
            num_trials=None if settings.auto else settings.num_trials,
            minibatch=settings.minibatch,
            minibatch_size=settings.minibatch_size,
            minibatch_full_eval_steps=settings.full_eval_steps,
            # The program-aware proposer reads the module's source, which a bundle may not have.
            program_aware_proposer=False,
        )


def _zeroshot(settings: MiproSettings) -> bool:
    return not settings.max_bootstrapped_demos and not settings.max_labeled_demos


def _trials(predictors: int, candidates: int, *, zeroshot: bool) -> int:
    """MIPROv2's own rule for the number of trials."""
    variables = predictors if zeroshot else predictors * 2
    return int(max(2 * variables * math.log2(candidates), 1.5 * candidates))


OPTIMIZER = Miprov2()
