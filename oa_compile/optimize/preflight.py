"""Probes the proposer before money is spent: can it write an instruction in the optimizer's format?

A proposer whose answers do not parse kills MIPROv2 and COPRO in the middle of a run, and one that
echoes or stammers wastes the whole search. The probe's call is journaled like any other.
"""

from __future__ import annotations

import re

import dspy
from dspy.utils.exceptions import AdapterParseError

from oa_compile.errors import UsageError
from oa_compile.optimize.plan import Plan

LEAST_VARIETY = 0.35
"""Distinct words over words, below which a text stammers (prose of this length has 0.6 and more)."""


def probe_proposer(plan: Plan, lm: dspy.LM, *, lane: str) -> None:
    """Ask once. Raises UsageError with the reason when the answer is no instruction."""
    instruction = plan.program.predictors()[0].signature.instructions
    try:
        text = plan.optimizer.probe(lm, instruction=instruction, settings=plan.settings)
    except AdapterParseError as error:
        answer = " ".join(str(error.lm_response).split())[:160]
        raise _refusal(plan, lane, f"its answer does not parse (it began: {answer!r})") from error
    reason = why_not(text, instruction)
    if reason:
        raise _refusal(plan, lane, reason)


def why_not(text: str, instruction: str) -> str:
    """What is wrong with a proposed instruction; "" if nothing is."""
    words = re.findall(r"\w+", text.lower())
    if len(words) < 3:
        return f"it wrote {text.strip()[:80]!r}, which is no instruction"
    if words == re.findall(r"\w+", instruction.lower()):
        return "it only echoed the instruction it was given"
    if len(words) > 20 and len(set(words)) / len(words) < LEAST_VARIETY:
        return f"it stammers (it began: {' '.join(text.split())[:120]!r})"
    return ""


def _refusal(plan: Plan, lane: str, reason: str) -> UsageError:
    name = plan.optimizer.name
    way_out = (
        "set optimizer.miprov2.instructions = false to search demos only, or "
        if name == "miprov2"
        else "use --optimizer miprov2 with instructions = false, or "
    )
    return UsageError(
        f"the proposer on lane `{lane}` cannot write instructions for {name}: {reason}",
        hint=f"{way_out}name a larger model as stages.compile.proposer "
        "(optimizer.preflight = false skips this check)",
    )
