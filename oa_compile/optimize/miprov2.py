"""MIPROv2: Bayesian search over demo sets and proposed instructions (DSPy's own)."""

from __future__ import annotations

import math
from typing import Any

import dspy
from dspy.teleprompt.mipro_optimizer_v2 import (
    AUTO_RUN_SETTINGS,
    BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT,
    MIN_MINIBATCH_SIZE,
)

from oa_compile.errors import UsageError
from oa_compile.optimize.mipro_search import VIEW_BATCH, MiproSearch
from oa_compile.optimize.optimizer import Job, Note, PhaseEstimate, Sizes
from oa_compile.signatures.frozen import Part, Tunable
from oa_compile.spec.config import MiproSettings, OptimizerName

BOOTSTRAP_SUCCESS = 0.5
"""Assumed share of training examples the uncompiled program gets right, for the forecast only."""

RETURNS = 0.2
"""Assumed share of trials that come back to a combination the sampler has liked, for the forecast only."""

VIEW_BATCHES = 10
"""The most batches it reads: DSPy's own limit."""


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
        zeroshot = _zeroshot(settings)
        run = AUTO_RUN_SETTINGS[settings.auto] if settings.auto else None
        sets: int = run["n"] if run else settings.num_candidates
        trials = _trials(sizes.predictors, sets, zeroshot=zeroshot) if run else settings.num_trials
        assert trials is not None
        instructions = 1
        if settings.instructions:
            instructions = sets // 2 if run and not zeroshot else sets
        phases = [_bootstrapping(settings, sets=sets, sizes=sizes)]
        if settings.instructions:
            summary = 1 + min(math.ceil(sizes.train / VIEW_BATCH), VIEW_BATCHES)
            proposals = summary + instructions * sizes.predictors
            phases.append(PhaseEstimate("propose instructions", "proposer", proposals, proposals))
        minibatch = sizes.val > MIN_MINIBATCH_SIZE if run else settings.minibatch
        size = settings.minibatch_size if minibatch else sizes.val
        steps = settings.full_eval_steps
        full = 1 + (trials // steps + (trials % steps != 0) if minibatch else 0)
        options = instructions * (1 if zeroshot else sets)
        expected = [
            _examples(options**depth, trials=trials, size=size, full=full, val=sizes.val)
            for depth in range(1, sizes.predictors + 1)
        ]
        # A step whose own prompt is never changed is asked again whenever one before it was.
        total = sum(expected) + expected[-1] * (sizes.calls_per_example - sizes.predictors)
        most = (sizes.val * full + size * trials) * sizes.calls_per_example
        demos = 0.0 if zeroshot else max(settings.max_labeled_demos, settings.max_bootstrapped_demos) * 0.8
        phases.append(PhaseEstimate("search", "task", min(round(total), most), most, demos))
        return [phase for phase in phases if phase.at_most]

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

        search = MiproSearch(
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
        if job.ahead is not None:
            job.ahead.attend(job.program)
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


def _bootstrapping(settings: MiproSettings, *, sets: int, sizes: Sizes) -> PhaseEstimate:
    """Calls for the demo sets: the first is empty, the second holds labels if there are to be any, the
    third wants all its demos, and each of the rest a random number of them.
    """
    boot = settings.max_bootstrapped_demos or BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT
    labeled = settings.max_labeled_demos > 0
    searches = sets - 2 if labeled else sets - 1
    whole = int(sets > 2)
    wanted = whole * boot + (searches - whole) * (1 + boot) / 2
    # Without labels in its prompt a training example is always asked the same, and journaled once.
    most = sizes.train * (searches if labeled else 1)
    expected = min(round(wanted / BOOTSTRAP_SUCCESS), most)
    per = sizes.calls_per_example
    return PhaseEstimate("bootstrap demos", "task", expected * per, most * per)


def _examples(options: int, *, trials: int, size: int, full: int, val: int) -> float:
    """Distinct examples that are asked of one step, when its prompts and those before it have `options`
    combinations: repeats are answered from the journal.
    """
    draws = trials * (1 - RETURNS)
    distinct: float = max(options * (1 - (1 - 1 / options) ** draws), 1.0)
    seen: float = val * (1 - (1 - size / val) ** (trials / distinct))
    # The default program, the candidates' minibatches, and what full evaluations add to them.
    return min(val + distinct * seen + (full - 1) * (val - seen), val * min(distinct + 1, options))


def _trials(predictors: int, candidates: int, *, zeroshot: bool) -> int:
    """MIPROv2's own rule for the number of trials."""
    variables = predictors if zeroshot else predictors * 2
    return int(max(2 * variables * math.log2(candidates), 1.5 * candidates))


OPTIMIZER = Miprov2()
