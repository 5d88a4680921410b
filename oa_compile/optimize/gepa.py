"""GEPA: reflective evolution of instructions on a Pareto front (DSPy's own)."""

from __future__ import annotations

import math
from typing import Any

import dspy
from dspy.teleprompt.gepa.gepa import AUTO_RUN_SETTINGS, GEPA
from dspy.teleprompt.gepa.instruction_proposal import InstructionProposer

from oa_compile.lanes.adapters import LaneAdapter
from oa_compile.optimize.optimizer import Job, Note, PhaseEstimate, Sizes
from oa_compile.optimize.recorder import CandidateRecorder
from oa_compile.signatures.frozen import Part, Tunable
from oa_compile.spec.config import GepaSettings, OptimizerName

MERGE_SUBSAMPLE = 5
"""Validation examples gepa scores a merged candidate on, before the whole valset."""

PARENTS = 4
"""Assumed number of candidates most proposals come from, for the forecast only."""


class _Watch:
    """gepa's callbacks: which candidate was mutated, and what became of the proposal."""

    def __init__(self, recorder: CandidateRecorder) -> None:
        self._recorder = recorder

    def on_candidate_selected(self, event: dict[str, Any]) -> None:
        """A candidate was chosen to be mutated: the parent of what comes next."""
        self._recorder.set_parent(event["candidate"])

    def on_candidate_accepted(self, event: dict[str, Any]) -> None:
        """The proposal beat its parent on the minibatch."""
        self._recorder.decide_latest(
            kept=True, reason=f"joined the Pareto candidates (minibatch sum {event['new_score']:g})"
        )

    def on_candidate_rejected(self, event: dict[str, Any]) -> None:
        """The proposal did not beat its parent."""
        self._recorder.decide_latest(
            kept=False,
            reason=f"{event['reason']} (minibatch sum {event['new_score']:g}, parent {event['old_score']:g})",
        )


class Gepa:
    """Fulfils Optimizer."""

    name: OptimizerName = "gepa"
    searched: frozenset[Part] = frozenset({"instruction"})

    def fit(self, settings: GepaSettings, *, sizes: Sizes, tunable: Tunable, note: Note) -> GepaSettings:
        del tunable
        fitted = settings
        if not any((settings.auto, settings.max_full_evals, settings.max_metric_calls)):
            fitted = fitted.model_copy(update={"auto": "light"})
        if fitted.reflection_minibatch_size > sizes.train:
            note(
                "fitted",
                f"reflection_minibatch_size {fitted.reflection_minibatch_size} -> {sizes.train}: "
                "the trainset's size",
            )
            fitted = fitted.model_copy(update={"reflection_minibatch_size": sizes.train})
        return fitted

    def val_limit(self, settings: GepaSettings) -> int | None:
        del settings
        return None

    def proposes(self, settings: GepaSettings) -> bool:
        del settings
        return True

    def forecast(self, settings: GepaSettings, *, sizes: Sizes) -> list[PhaseEstimate]:
        if settings.max_metric_calls is not None:
            programs = settings.max_metric_calls
        elif settings.max_full_evals is not None:
            programs = settings.max_full_evals * (sizes.train + sizes.val)
        else:
            programs = _auto_budget(settings.auto or "light", sizes)
        size = settings.reflection_minibatch_size
        # A round scores two minibatches, and about every third proposal goes on to the whole valset.
        left = max(programs - sizes.val, 0)
        rounds = math.ceil(left / (2 * size + sizes.val / 3))
        # A parent meets the same training examples again; and since one predictor changes a round, the
        # steps before it are answered from the journal too.
        asked = min(rounds * size, left)
        parents = PARENTS * sizes.train
        fresh = parents * (1 - math.exp(-asked / parents))
        share = (sizes.predictors + 1) / (2 * sizes.predictors)
        per = sizes.calls_per_example
        calls = round((sizes.val + fresh + share * (left - asked)) * per)
        # The limit is looked at between rounds, and the valset is scored once whatever it is.
        most = max(programs, sizes.val) + sizes.val + max(2 * size, MERGE_SUBSAMPLE)
        phases = [
            PhaseEstimate("reflect", "proposer", rounds, math.ceil(left / size)),
            PhaseEstimate("search", "task", calls, most * per),
        ]
        return [phase for phase in phases if phase.at_most]

    def probe(self, lm: dspy.LM, *, instruction: str, settings: GepaSettings) -> str:
        del settings
        example = {
            "Inputs": {"text": "an example"},
            "Generated Outputs": {"label": "a"},
            "Feedback": "Wrong: b.",
        }
        with dspy.context(lm=lm):
            try:
                proposed = _proposer()(
                    candidate={"self": instruction},
                    reflective_dataset={"self": [example]},
                    components_to_update=["self"],
                )
            except ValueError:
                return ""  # how DSPy's proposer tells of an empty instruction
        return str(proposed["self"])

    def compile(self, job: Job, settings: GepaSettings) -> dspy.Module:
        def metric(
            example: dspy.Example, prediction: Any, trace: Any = None, name: Any = None, part: Any = None
        ) -> dspy.Prediction:
            del trace, name, part
            score = job.score(example, prediction)
            return dspy.Prediction(score=score.score, feedback=score.feedback)

        job.phase("search")
        search = GEPA(
            metric=metric,
            auto=settings.auto,
            max_full_evals=settings.max_full_evals,
            max_metric_calls=settings.max_metric_calls,
            reflection_minibatch_size=settings.reflection_minibatch_size,
            reflection_lm=job.proposer_lm.copy(temperature=settings.reflection_temperature),
            instruction_proposer=_proposer(),
            use_merge=settings.use_merge,
            num_threads=job.threads,
            seed=job.seed,
            gepa_kwargs={"callbacks": [_Watch(job.recorder)]},
        )
        return search.compile(job.program, trainset=job.trainset, valset=job.valset)


def _proposer() -> InstructionProposer:
    """DSPy's own proposer, in the layout of the proposer's lane (its default is always JSON)."""
    return InstructionProposer(adapter=LaneAdapter())


def _auto_budget(auto: str, sizes: Sizes) -> int:
    """GEPA's own rule for its number of metric calls."""
    candidates: int = AUTO_RUN_SETTINGS[auto]["n"]
    trials = int(max(2 * (sizes.predictors * 2) * math.log2(candidates), 1.5 * candidates))
    total = sizes.val + candidates * 5 + trials * 35
    if trials == 0:
        return total
    return total + ((trials + 1) // 5 + 1 + (1 if trials < 5 else 0)) * sizes.val


OPTIMIZER = Gepa()
