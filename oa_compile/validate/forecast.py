"""What a validation is expected to take, before any call: the lines a run is told beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oa_compile.chat import ChatRequest
from oa_compile.lanes.lane import Lane
from oa_compile.lanes.runtime import stage_of
from oa_compile.validate.question import Question

DISSENT = 0.25
"""Assumed share of answers that others do not agree with."""


def forecast(question: Question, lanes: Mapping[str, Lane]) -> list[dict[str, Any]]:
    """Lines as a compile's forecast has them, for both sides of the comparison."""
    once = 2 * len(question.testset.records) * max(len(question.parent), 1)
    wanted, most = question.redundancy.agree, question.redundancy.of
    asked = round(once * (wanted + DISSENT * (most - wanted)))
    lines = [_line("score", "validate", lanes[question.lane], calls=asked, most=once * most)]
    if question.court:
        samples = stage_of(question.config, "verify").consistency.samples
        expected = round(once * DISSENT * samples)
        lines.append(_line("verify", "verify", lanes[question.court], calls=expected, most=once * samples))
    return lines


def _line(phase: str, stage: str, lane: Lane, *, calls: int, most: int) -> dict[str, Any]:
    # What a call costs before its first token: all of it where calls have one price.
    each = lane.quote(ChatRequest(())).msat
    return {
        "phase": phase,
        "stage": stage,
        "role": "task",
        "lane": lane.name,
        "calls": calls,
        "at_most": most,
        "tokens": 0,
        "msat": calls * each,
        "seconds": 0.0,
        "cap": "",
    }
