"""What a compile is expected to take: calls, tokens, msat, dollars and time, per phase and lane.

Computed from the plan with no model loaded and nothing sent; the same lines stand beside what
happened after the run. Rates are rules of thumb, named here, and a lane's quote is its ceiling.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from oa_compile.chat import ChatMessage, ChatRequest, prompt_bytes
from oa_compile.lanes.adapters import adapter_for
from oa_compile.lanes.lane import Lane, Quote
from oa_compile.lanes.runtime import caps_of, stage_of
from oa_compile.ledger import RUN, Caps
from oa_compile.optimize.optimizer import PhaseEstimate
from oa_compile.optimize.plan import Plan
from oa_compile.spec.lanes import EmbeddedLaneSpec, FallbackLaneSpec, LaneSpec

BYTES_PER_TOKEN = 4
"""English text over a byte-pair vocabulary."""

PROPOSAL_BYTES = 6_000
"""A proposal's prompt: instructions of the proposer, demos and a data summary."""

EMBEDDED_PREFILL = 200.0
EMBEDDED_DECODE = 70.0
"""Tokens a second of a 135M model on one core; the shared prefix of a candidate is read once."""

JUDGE_BYTES = 900
"""What a judge is told beside the rubric, the task and the answers."""

REMOTE_SECONDS = 1.5
"""One call to a hosted model."""


@dataclass(frozen=True, slots=True)
class ForecastLine:
    """One phase on one lane. `msat` is at the lane's quote for the mean prompt; `seconds` is wall time.

    `at_most` bounds the calls of a program that asks each predictor once an example, when no attempt has
    to be repeated. `cap` names the cap that stops the run by the end of this phase, "" if none does.
    """

    phase: str
    stage: str
    role: str
    lane: str
    calls: int
    at_most: int
    tokens: int
    msat: int
    seconds: float
    cap: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, for the journal."""
        return asdict(self)


def forecast(plan: Plan, *, lanes: dict[str, Lane]) -> list[ForecastLine]:
    """The lines of a compile, in the order its phases run."""
    config = plan.inputs.config
    stage = stage_of(config, "compile")
    lines: list[ForecastLine] = []
    used = _Used(caps_of(config))
    for phase in _phases(plan):
        name = stage.lane(phase.role)
        spec, lane = config.lanes[name], lanes[name]
        request = _mean_request(plan, phase, spec)
        tokens_in = math.ceil(prompt_bytes(request) / BYTES_PER_TOKEN)
        tokens_out = _answer_tokens(plan, phase, spec)
        quote = lane.quote(request)
        seconds = phase.calls * _seconds(spec, tokens_in, tokens_out, phase) / _parallel(plan, lane)
        line = ForecastLine(
            phase=phase.phase,
            stage="compile",
            role=phase.role,
            lane=name,
            calls=phase.calls,
            at_most=phase.at_most,
            tokens=phase.calls * (tokens_in + tokens_out),
            msat=phase.calls * quote.msat,
            seconds=round(seconds, 1),
        )
        lines.append(replace(line, cap=used.add(line, scopes=_scopes(spec, name), quote=quote)))
    return lines


def _phases(plan: Plan) -> list[PhaseEstimate]:
    """The optimizer's phases, after the probe of its proposer."""
    rollouts = plan.inputs.program.spec.evaluation.rollouts
    phases = [
        each
        for phase in plan.optimizer.forecast(plan.settings, sizes=plan.sizes)
        for rolled in [_rolled(phase, rollouts)]
        for each in (rolled, *_judging(plan, rolled))
    ]
    if plan.inputs.config.optimizer.preflight and plan.optimizer.proposes(plan.settings):
        phases.insert(0, PhaseEstimate("preflight", "proposer", 1, 1))
    return phases


def _rolled(phase: PhaseEstimate, rollouts: int) -> PhaseEstimate:
    """Every run that is scored is made so often; demos are made of one."""
    if phase.role != "task" or phase.phase == "bootstrap demos":
        return phase
    return replace(phase, calls=phase.calls * rollouts, at_most=phase.at_most * rollouts)


def _judging(plan: Plan, phase: PhaseEstimate) -> list[PhaseEstimate]:
    """Judges see every answer of a program, where no proxy keeps it from them."""
    if phase.role != "task" or not plan.metric.judges:
        return []

    def judged(calls: int) -> int:
        return math.ceil(calls / plan.sizes.calls_per_example) * plan.metric.judges

    return [PhaseEstimate(phase.phase, "judge", judged(phase.calls), judged(phase.at_most))]


def _scopes(spec: LaneSpec, name: str) -> tuple[str, ...]:
    """The ledger's scopes a call counts in. A fallback's are its members': mostly the first one's."""
    member = spec.lanes[0] if isinstance(spec, FallbackLaneSpec) else name
    return (RUN, "stage compile", f"lane {member}")


class _Used:
    """Adds up lines against the caps, as the ledger will."""

    def __init__(self, caps: dict[str, Caps]) -> None:
        self._caps = caps
        self._sums: dict[tuple[str, str], float] = {}
        self._stopped = ""

    def add(self, line: ForecastLine, *, scopes: tuple[str, ...], quote: Quote) -> str:
        """Take a line in. Returns the cap that has stopped the run by its end: the first to be reached."""
        reached: list[tuple[float, str]] = []
        # A call is refused when its worst case does not fit, and settles at less.
        slack = {"tokens": max(quote.tokens - line.tokens / line.calls, 0.0)}
        for scope in scopes:
            caps = self._caps.get(scope, Caps())
            for unit in ("msat", "calls", "tokens", "seconds"):
                before = self._sums.get((scope, unit), 0)
                amount = getattr(line, unit)
                self._sums[scope, unit] = before + amount
                limit = getattr(caps, unit)
                if limit is None:
                    continue
                room = limit - before - slack.get(unit, 0.0)
                if amount > room:
                    reached.append((max(room, 0.0) / amount, f"{scope}.{unit}"))
        if reached and not self._stopped:
            self._stopped = min(reached, key=lambda cap: cap[0])[1]
        return self._stopped


def _mean_request(plan: Plan, phase: PhaseEstimate, spec: LaneSpec) -> ChatRequest:
    """A request of typical size: the longest predictor's prompt for the middle example, with demos."""
    if phase.role == "proposer":
        return ChatRequest((ChatMessage("user", "x" * PROPOSAL_BYTES),), max_tokens=spec.max_tokens)
    by_size = sorted(plan.trainset, key=lambda example: len(str(example.toDict())))
    middle = by_size[len(by_size) // 2]
    if phase.role == "judge":
        rubrics = max(len(rule.rubric) for rule in plan.inputs.program.spec.judges)
        size = JUDGE_BYTES + rubrics + len(str(middle.toDict())) + len(str(middle.labels().toDict()))
        return ChatRequest((ChatMessage("user", "x" * size),), max_tokens=spec.max_tokens)
    demos = [dict(middle.toDict())] * round(phase.demos)
    adapter = adapter_for(spec.adapter)
    rendered: list[tuple[ChatMessage, ...]] = []
    for predictor in plan.program.predictors():
        fields = {name: middle.get(name, "") for name in predictor.signature.input_fields}
        messages = adapter.format(predictor.signature, demos, fields)
        rendered.append(tuple(ChatMessage(m["role"], str(m["content"])) for m in messages))
    messages = max(rendered, key=lambda group: sum(len(m.content) for m in group))
    return ChatRequest(messages, max_tokens=spec.max_tokens)


def _answer_tokens(plan: Plan, phase: PhaseEstimate, spec: LaneSpec) -> int:
    if phase.role == "proposer":
        return min(spec.max_tokens, 200)
    if phase.role == "judge":
        return min(spec.max_tokens, 60)
    texts = [len(str(example.labels().toDict())) for example in plan.trainset]
    return min(spec.max_tokens, math.ceil(sum(texts) / len(texts) / BYTES_PER_TOKEN) + 4)


def _seconds(spec: LaneSpec, tokens_in: int, tokens_out: int, phase: PhaseEstimate) -> float:
    if not isinstance(spec, EmbeddedLaneSpec):
        return REMOTE_SECONDS
    fresh = tokens_in / (round(phase.demos) + 1)
    return fresh / EMBEDDED_PREFILL + tokens_out / EMBEDDED_DECODE


def _parallel(plan: Plan, lane: Lane) -> int:
    return max(1, min(plan.inputs.config.run.threads, lane.concurrency))
