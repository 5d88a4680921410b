"""Ctrl-C: a real SIGINT to the real command. The first settles and says how to go on; the second ends
it at once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import load_manifest
from oa_compile.events import AnyEvent, Attempt, Reserved, RunFinished
from oa_compile.journal import read
from oa_compile.replay.player import replay
from tests.support.compile_process import Job, Nursery, billed
from tests.support.world import make_config, new_run

pytestmark = pytest.mark.crash

OPTIMIZERS = ("miprov2", "copro", "gepa")
INTERRUPTED = 130
HOLD_FROM = 30
"""The call at which the interrupt comes: by then every optimizer has a candidate that stands."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as process:
        yield process


def fresh(root: Path, optimizer: str, *, threads: int = 8) -> RunFolder:
    config = make_config(optimizer__name=optimizer, run__threads=threads)
    return new_run(root, config=config, sizes=(10, 8, 4))


def events(folder: RunFolder) -> list[AnyEvent]:
    return [line.event for line in read(folder.journal)]


def of(folder: RunFolder, kind: type) -> list[AnyEvent]:
    return [event for event in events(folder) if isinstance(event, kind)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_interrupt_settles_what_is_under_way_and_the_run_can_go_on(
    optimizer: str, nursery: Nursery, tmp_path: Path
) -> None:
    undisturbed = fresh(tmp_path / "undisturbed", optimizer)
    assert nursery.run(Job(str(undisturbed.path), str(tmp_path / "other-books"), via="command")).code == 0

    folder, books = fresh(tmp_path, optimizer), tmp_path / "books"
    job = Job(str(folder.path), str(books), via="command")
    ended = nursery.run(replace(job, hold_from=HOLD_FROM, interrupts=1))
    assert ended.code == INTERRUPTED, ended.stderr

    finished = of(folder, RunFinished)
    assert [end.status for end in finished] == ["interrupted"]
    attempts = of(folder, Attempt)
    assert len(attempts) == len(of(folder, Reserved)), "every reservation was settled"
    assert {attempt.outcome for attempt in attempts} == {"ok"}
    assert Counter(a.key for a in attempts) == Counter(key for key, _ in billed(books))

    told = json.loads(ended.stdout)
    assert told["status"] == "interrupted"
    assert told["next"] == f"oacompile optimize --resume {folder.path}"
    partial = load_manifest(folder.artifact)
    assert partial.status == "partial"
    assert told["digest"] == partial.digest == finished[0].artifact
    assert replay(folder.bundle).identical

    assert nursery.run(job).code == 0
    assert load_manifest(folder.artifact) == load_manifest(undisturbed.artifact)
    assert max(Counter(key for key, _ in billed(books)).values()) == 1, "nothing was sent twice"


def test_interrupted_before_any_candidate_stands_there_is_no_artifact(
    nursery: Nursery, tmp_path: Path
) -> None:
    folder = fresh(tmp_path, "copro")
    job = Job(str(folder.path), str(tmp_path / "books"), via="command")
    ended = nursery.run(replace(job, hold_from=1, interrupts=1))
    assert ended.code == INTERRUPTED, ended.stderr
    assert json.loads(ended.stdout)["artifact"] is None
    assert not folder.artifact.exists()
    assert not folder.bundle.exists()
    assert nursery.run(job).code == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_one_thread_too_the_call_under_way_settles(
    optimizer: str, nursery: Nursery, tmp_path: Path
) -> None:
    """With one thread, calls are made by the search itself and not by its helpers."""
    folder, books = fresh(tmp_path, optimizer, threads=1), tmp_path / "books"
    job = Job(str(folder.path), str(books), via="command")
    ended = nursery.run(replace(job, hold_from=HOLD_FROM, interrupts=1))
    assert ended.code == INTERRUPTED, ended.stderr
    attempts = of(folder, Attempt)
    assert [attempt.outcome for attempt in attempts] == ["ok"] * HOLD_FROM
    assert len(of(folder, Reserved)) == HOLD_FROM
    assert [end.status for end in of(folder, RunFinished)] == ["interrupted"]
    assert replay(folder.bundle).identical


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_second_interrupt_ends_the_process_at_once(
    optimizer: str, nursery: Nursery, tmp_path: Path
) -> None:
    folder, books = fresh(tmp_path, optimizer), tmp_path / "books"
    job = Job(str(folder.path), str(books), via="command")
    ended = nursery.run(replace(job, hold_from=HOLD_FROM, answer=False, interrupts=2))
    assert ended.code == INTERRUPTED, ended.stderr
    assert of(folder, RunFinished) == [], "it did not wait for the call to settle"
    under_way = len(of(folder, Reserved)) - len(of(folder, Attempt))
    assert under_way > 0
    assert nursery.run(job).code == 0
    lost = [attempt for attempt in of(folder, Attempt) if attempt.outcome == "lost"]
    assert len(lost) == under_way
