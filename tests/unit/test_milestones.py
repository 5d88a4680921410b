"""Plain progress lines: what is news and what is not."""

from __future__ import annotations

from oa_compile.events import Candidate, Evaluated, ExampleScore, RunStarted, SegmentStarted
from oa_compile.hud.milestones import milestone
from oa_compile.hud.view import RunView
from tests.support.runs import BASELINE, Script

ROWS = [ExampleScore(example=f"sha256:{number:064d}", score=number % 2) for number in range(4)]


def evaluated(ordinal: int, *, calls: int, scope: str = "full") -> Evaluated:
    return Evaluated(
        ordinal=ordinal,
        candidate=BASELINE,
        split="val",
        scope=scope,  # type: ignore[arg-type]
        score=0.5,
        rows=ROWS if scope == "full" else ROWS[:2],
        calls=calls,
        saved=4 - calls,
    )


def told(*events: Evaluated) -> list[str]:
    """The lines a run's evaluations are told in."""
    script, view, lines = Script(), RunView(), []
    started = RunStarted(
        command="optimize", run="r", program="p", inputs={}, lanes={}, settings={}, versions={}
    )
    for event in (started, SegmentStarted(pid=1), Candidate(candidate=BASELINE, state={}), *events):
        line = script.add(event)
        view.apply(line)
        said = milestone(view, line)
        if said is not None and "scored" in said:
            lines.append(said)
    return lines


def test_a_candidate_tried_again_without_a_call_is_no_news() -> None:
    assert len(told(evaluated(1, calls=4), evaluated(2, calls=0), evaluated(3, calls=0))) == 1


def test_the_first_telling_of_a_replay_is_news_although_no_call_is_made() -> None:
    assert len(told(evaluated(1, calls=0))) == 1


def test_another_scope_and_a_paid_repetition_are_news() -> None:
    assert len(told(evaluated(1, calls=2, scope="minibatch"), evaluated(2, calls=0))) == 2
    assert len(told(evaluated(1, calls=4), evaluated(2, calls=4))) == 2
