"""What is owed at the end of a run is paid before the run says what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oa_compile.artifact.folder import read_inputs
from oa_compile.artifact.manifest import PROVENANCE
from oa_compile.errors import LaneError
from oa_compile.events import AnyEvent, Attempt, RunFinished
from oa_compile.journal import events, read
from oa_compile.lanes.lane import Books, Payer, Quote, Spent
from oa_compile.swarm.customer.attempt import Intent
from oa_compile.validate.question import Question, ask, validation_folder
from oa_compile.validate.runner import validate
from tests.support.world import RuleLane, make_config, new_run, run

FEE = 7


class Owing(RuleLane):
    """A lane that owes something at the end, and pays it when it is closed. Fulfils Payer."""

    def __init__(self, *, breaks: bool = False, **rule: Any) -> None:
        super().__init__(**rule)
        self.breaks = breaks
        self.books: Books | None = None
        self.owes = False

    def take_up(self, books: Books) -> None:
        self.books = books

    def reconcile(self, intent: Intent, *, written: float) -> Spent | None:
        raise AssertionError

    def settle(self) -> None:
        self.owes = True

    def close(self) -> None:
        super().close()
        if self.owes and self.books is not None:
            self.owes = False
            self.books.settlement(self.name, "tab:somebody", Quote(FEE, 0)).paid(Spent(FEE, 0, {}))
            if self.breaks:
                raise LaneError("the wallet did what it must not")


def is_settlement(event: AnyEvent) -> bool:
    return isinstance(event, Attempt) and not event.calls


def test_a_compile_finishes_when_its_debts_are_paid_and_counts_them(tmp_path: Path) -> None:
    folder = new_run(tmp_path, config=make_config(optimizer__name="copro"))
    lane = Owing()
    assert isinstance(lane, Payer)
    outcome = run(folder, lane)
    *before, settlement, finished = events(read(folder.journal))
    assert is_settlement(settlement)
    assert isinstance(finished, RunFinished)
    assert outcome.status == finished.status == "complete"
    msat = sum(event.msat for event in [*before, settlement] if isinstance(event, Attempt))
    assert f'"msat":{msat}' in (folder.artifact / PROVENANCE).read_text().replace(" ", "")


def test_what_breaks_at_the_end_is_how_the_run_ended_with_its_artifact_kept(tmp_path: Path) -> None:
    folder = new_run(tmp_path, config=make_config(optimizer__name="copro"))
    outcome = run(folder, Owing(breaks=True))
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.message == "the wallet did what it must not"
    assert outcome.manifest is not None
    *_, finished = events(read(folder.journal))
    assert isinstance(finished, RunFinished)
    assert (finished.status, finished.reason) == ("failed", "the wallet did what it must not")


def validation(root: Path) -> Question:
    folder = new_run(root, config=make_config(optimizer__name="copro"))
    assert run(folder).status == "complete"
    inputs = read_inputs(folder)
    return ask(folder.path, program=inputs.program, config=inputs.config, dataset=None)


def ending(question: Question, lane: Owing) -> list[AnyEvent]:
    """The last two lines of that validation's journal."""
    journal = validation_folder(question, {"local": lane}) / "journal.jsonl"
    return list(events(read(journal)))[-2:]


def test_a_validation_finishes_when_its_debts_are_paid_and_counts_them(tmp_path: Path) -> None:
    question, lane = validation(tmp_path), Owing()
    judged = validate(question, lanes={"local": lane})
    settlement, finished = ending(question, lane)
    assert is_settlement(settlement)
    assert isinstance(finished, RunFinished)
    journal = validation_folder(question, {"local": lane}) / "journal.jsonl"
    attempts = [event for event in events(read(journal)) if isinstance(event, Attempt)]
    assert judged.evidence.spent.msat == sum(attempt.msat for attempt in attempts)


def test_what_breaks_at_the_end_of_a_validation_is_in_its_journal(tmp_path: Path) -> None:
    question, lane = validation(tmp_path), Owing(breaks=True)
    with pytest.raises(LaneError, match="the wallet did what it must not"):
        validate(question, lanes={"local": lane})
    _, finished = ending(question, lane)
    assert isinstance(finished, RunFinished)
    assert (finished.status, finished.reason) == ("failed", "the wallet did what it must not")
