"""Work done early: its order, what of it fails, and that a call asked early is counted once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from oa_compile.errors import BudgetExhausted, StopRun
from oa_compile.events import Attempt, Evaluated
from oa_compile.journal import events, read
from oa_compile.optimize.lookahead import LATER, NOW, LookAhead, wait
from tests.support.world import RuleLane, make_config, new_run, plan_of, run


def test_what_the_search_waits_for_is_done_before_what_fills_the_seats() -> None:
    begun, go = threading.Event(), threading.Event()
    order: list[str] = []
    with LookAhead(1) as ahead:
        first = ahead.submit([lambda: (begun.set(), go.wait())])
        begun.wait()
        later = ahead.submit([lambda: order.append("later")], pressing=LATER)
        now = ahead.submit([lambda: order.append("now")], pressing=NOW)
        go.set()
        wait([*first, *later, *now])
    assert order == ["now", "later"]


def test_work_that_fails_comes_to_nothing_and_the_next_goes_on() -> None:
    def stop() -> None:
        raise StopRun(BudgetExhausted("spent"))

    def fail() -> None:
        raise ValueError("no")

    with LookAhead(1) as ahead:
        assert ahead.run([stop, fail, lambda: 3]) == [None, None, 3]


def test_what_is_not_begun_at_the_end_is_dropped() -> None:
    begun, go, ran = threading.Event(), threading.Event(), list[int]()
    with LookAhead(1) as ahead:
        first = ahead.submit([lambda: (begun.set(), go.wait())])
        begun.wait()
        rest = ahead.submit([lambda: ran.append(1)])
    go.set()
    wait([*first, *rest])
    assert ran == []


@pytest.mark.parametrize("optimizer", ["miprov2", "copro", "gepa"])
def test_calls_asked_early_are_the_ones_that_are_asked_anyway(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the look-ahead and without it: the same calls, each made once, the same candidates, the same
    artifact.
    """

    def one(name: str) -> tuple[object, ...]:
        config = make_config(optimizer__name=optimizer)
        folder, lane = new_run(tmp_path / name, config=config, steps=2), RuleLane()
        assert plan_of(folder).optimizer.name == optimizer
        outcome = run(folder, lane)
        assert outcome.manifest is not None
        assert (
            len(set(lane.sent))
            == len(lane.sent)
            == sum(isinstance(event, Attempt) for event in events(read(folder.journal)))
        )
        scores = [(e.candidate, e.score) for e in events(read(folder.journal)) if isinstance(e, Evaluated)]
        return sorted(lane.sent), scores, outcome.manifest.digest, outcome.saved

    with_it = one("with")
    monkeypatch.setattr("oa_compile.optimize.driver.LookAhead", _Off)
    without = one("without")
    for mine, plain in zip(with_it, without, strict=True):
        assert mine == plain


class _Off:
    """In place of a look-ahead: none."""

    def __init__(self, _threads: int) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exc: object) -> None:
        return None
