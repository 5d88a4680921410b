"""Resume: what may change, what may not, and what a run that goes on owes to the process before it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest

from oa_compile.artifact.folder import RunFolder, read_inputs, write_config
from oa_compile.artifact.manifest import load_manifest
from oa_compile.chat import ChatRequest
from oa_compile.errors import BudgetExhausted, DigestMismatch, Interrupted, UsageError
from oa_compile.events import Attempt, ForecastMade, Reserved, RunFinished, RunStarted, SegmentStarted
from oa_compile.journal import Journal, read
from oa_compile.lanes.lane import LaneFault
from oa_compile.optimize.resume import with_budgets
from oa_compile.replay.player import replay
from tests.support.world import RuleLane, make_config, new_run, run

SIZES = (10, 8, 4)

Event = TypeVar("Event")


def fresh(root: Path, **changes: Any) -> RunFolder:
    config = make_config(**{"optimizer__name": "copro", "run__threads": 4} | changes)
    return new_run(root, config=config, sizes=SIZES)


def of(folder: RunFolder, kind: type[Event]) -> list[Event]:
    return [line.event for line in read(folder.journal) if isinstance(line.event, kind)]


def stopped(root: Path, *, calls: int = 30, **changes: Any) -> RunFolder:
    folder = fresh(root, budget={"calls": calls}, **changes)
    assert isinstance(run(folder).error, BudgetExhausted)
    return folder


def rebudget(folder: RunFolder, *, threads: int = 4, **budget: Any) -> None:
    config = read_inputs(folder).config
    write_config(folder, with_budgets(config, make_config(budget=budget, run__threads=threads)))


def test_budgets_and_threads_may_change_and_the_journal_says_so(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    rebudget(folder, threads=2)
    assert run(folder).status == "complete"
    first, second = of(folder, SegmentStarted)
    assert (first.resumed, first.settings) == (0, {})
    assert second.resumed == 1
    assert second.settings["run"]["threads"] == 2
    assert second.settings["budget"]["calls"] is None
    assert len(of(folder, RunStarted)) == len(of(folder, ForecastMade)) == 1


def test_a_resume_that_changes_nothing_says_nothing(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    run(folder)
    assert [segment.settings for segment in of(folder, SegmentStarted)] == [{}, {}]


@pytest.mark.parametrize("what", ["seed", "program", "train", "lane"])
def test_what_decides_the_result_may_not_change(what: str, tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    before = folder.journal.read_bytes()
    lane = RuleLane()
    if what == "seed":
        config = read_inputs(folder).config
        write_config(folder, config.model_copy(update={"run": config.run.model_copy(update={"seed": 7})}))
    elif what == "program":
        spec = folder.inputs / "program" / "program.toml"
        spec.write_text(spec.read_text().replace("Name the colour", "Say the colour"))
    elif what == "train":
        (folder.inputs / "dataset" / "train.jsonl").write_bytes(b"")
    else:
        lane.identity = "rule:2"
    with pytest.raises((UsageError, DigestMismatch)) as caught:
        run(folder, lane)
    words = {"seed": "seed", "program": "inputs", "train": "train.jsonl", "lane": "lanes"}
    assert words[what] in caught.value.message
    assert lane.sent == []
    assert folder.journal.read_bytes() == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    with Journal(folder.journal), pytest.raises(UsageError, match="another process is writing this run"):
        run(folder)


def test_answers_are_taken_from_the_journal_whatever_the_lane_would_say_now(tmp_path: Path) -> None:
    clean = run(fresh(tmp_path / "clean"))
    folder = stopped(tmp_path / "stopped", calls=40)
    answered = {attempt.key for attempt in of(folder, Attempt)}
    rebudget(folder)
    lane = RuleLane()
    outcome = run(folder, lane)
    assert outcome.manifest == clean.manifest
    assert answered.isdisjoint(lane.sent)
    assert outcome.saved >= len(answered)


def dies_holding(folder: RunFolder, *, calls: int) -> int:
    """A run whose process "dies" in its `calls`-th call: no attempt is settled from there on.
    Returns the number of holds it leaves open.
    """
    journal = folder.journal
    copy: list[bytes] = []
    lock = threading.Lock()
    seen = 0

    def before(_request: ChatRequest) -> None:
        nonlocal seen
        with lock:
            seen += 1
            if seen == calls:
                copy.append(journal.read_bytes())

    run(folder, RuleLane(before=before))
    journal.write_bytes(copy[0])
    return len(of(folder, Reserved)) - len(of(folder, Attempt))


def test_calls_a_dead_process_had_under_way_are_charged(tmp_path: Path) -> None:
    folder = fresh(tmp_path, run__threads=1)
    assert dies_holding(folder, calls=20) == 1
    outcome = run(folder)
    assert outcome.status == "complete"
    lost = [attempt for attempt in of(folder, Attempt) if attempt.outcome == "lost"]
    assert [(attempt.msat, attempt.tokens) for attempt in lost] == [(10, 10_000)]
    assert sum(a.key == lost[0].key for a in of(folder, Attempt)) == 2, "and made again"


def test_lost_calls_count_against_the_caps(tmp_path: Path) -> None:
    folder = fresh(tmp_path, run__threads=1)
    full = run(fresh(tmp_path / "full", run__threads=1))
    dies_holding(folder, calls=20)
    rebudget(folder, calls=full.made)  # one too few: the lost one counts
    outcome = run(folder)
    assert isinstance(outcome.error, BudgetExhausted)
    rebudget(folder, calls=full.made + 1)
    assert run(folder).status == "complete"


def test_a_fault_is_tried_again_by_a_resume(tmp_path: Path) -> None:
    """The proposer fails, which no evaluation can bear: the run stops, and goes on when it is well."""
    clean = run(fresh(tmp_path / "clean"))
    folder = fresh(tmp_path / "faulty")
    calls = 0

    def fault(_request: ChatRequest) -> LaneFault | None:
        nonlocal calls
        calls += 1
        return LaneFault("unavailable", "gone") if calls == 1 else None

    outcome = run(folder, RuleLane(fault=fault))
    assert isinstance(outcome.error, LaneFault)
    assert outcome.manifest is None
    assert run(folder).manifest == clean.manifest


def test_a_resume_stopped_early_does_not_worsen_the_artifact(tmp_path: Path) -> None:
    """The journal knows more than a segment that is stopped while it catches up."""
    folder = stopped(tmp_path, calls=45)
    before = load_manifest(folder.artifact)
    assert before.search.evaluations > 2
    noticed = threading.Event()
    saved = 0

    def notice(number: int, frame: FrameType | None) -> None:
        noticed.set()
        signal.default_int_handler(number, frame)

    def interrupt() -> None:
        nonlocal saved
        saved += 1
        if saved == 20:
            os.kill(os.getpid(), signal.SIGINT)
            assert noticed.wait(30)

    usual = signal.signal(signal.SIGINT, notice)
    try:
        outcome = run(folder, on_saved=interrupt)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert isinstance(outcome.error, Interrupted)
    assert outcome.manifest == load_manifest(folder.artifact) == before
    last = of(folder, RunFinished)[-1]
    assert (last.status, last.artifact) == ("interrupted", before.digest)
    assert last.results["evaluations"] < before.search.evaluations
    assert replay(folder.bundle).identical
    rebudget(folder)
    assert run(folder).status == "complete"


def test_a_journal_that_lost_a_line_is_refused(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    folder.journal.write_bytes(b"".join(lines[:10] + lines[11:]))
    with pytest.raises(DigestMismatch, match=r"journal\.jsonl:11"):
        run(folder)
