"""``oacompile diff``: what changed between two candidates of a run, and which examples it flipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.cli.runs import find_run

if TYPE_CHECKING:
    from oa_compile.hud.diff import CandidateDiff, Flip
    from oa_compile.hud.record import CandidateView


def diff(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name, or latest.")],
    a: Annotated[
        str, typer.Argument(metavar="A", help="A candidate's id, or baseline, or best.")
    ] = "baseline",
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")] = "best",
    json: Json = False,
) -> None:
    """Show what changed between two candidates of a run: instructions, demos, and flipped examples."""
    from oa_compile.hud.diff import diff_candidates, diff_screen
    from oa_compile.hud.screens import candidates_screen
    from oa_compile.hud.view import RunView
    from oa_compile.journal import FILE_NAME, read

    screen = output.current()
    view = RunView.of(read(find_run(run) / FILE_NAME))
    found = diff_candidates(view, a, b)
    if json:
        screen.emit(_as_json(found))
        return
    screen.show(candidates_screen(view), "")
    screen.show(diff_screen(found))


def _as_json(found: CandidateDiff) -> dict[str, Any]:
    scores = found.scores or (None, None)
    return {
        "a": _side(found.before, scores[0]),
        "b": _side(found.after, scores[1]),
        "split": found.split,
        "n": found.n,
        "gain": found.gain,
        "predictors": [
            {
                "predictor": predictor.predictor,
                "presence": predictor.presence,
                "instruction": [change._asdict() for change in predictor.instruction],
                "demos_added": [dict(demo) for demo in predictor.demos_added],
                "demos_removed": [dict(demo) for demo in predictor.demos_removed],
                "demos_kept": predictor.demos_kept,
                "fields": [list(change) for change in predictor.fields],
            }
            for predictor in found.predictors
        ],
        "fixed": [_flip(flip) for flip in found.fixed],
        "broken": [_flip(flip) for flip in found.broken],
    }


def _side(tried: CandidateView, score: float | None) -> dict[str, Any]:
    return {"candidate": tried.candidate, "origin": tried.origin, "parent": tried.parent, "score": score}


def _flip(flip: Flip) -> dict[str, Any]:
    return {"example": flip.example, "before": flip.before, "after": flip.after}
