"""Two artifacts compared pairwise, the seal of the testset, and what the search's choice was worth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from oa_compile.artifact.folder import RunFolder, create, read_inputs
from oa_compile.errors import DigestMismatch, LaneError, UsageError
from oa_compile.events import Noted
from oa_compile.journal import FILE_NAME, read
from oa_compile.lanes.lane import LaneFault
from oa_compile.lanes.runtime import recorded_answers
from oa_compile.spec.config import Config
from oa_compile.spec.load import load_program
from oa_compile.validate import against, attestation, formats
from oa_compile.validate.question import Question, ask
from oa_compile.validate.runner import validate
from oa_compile.validate.verdict import Validation
from tests.support.world import RuleLane, make_config, make_dataset, make_program, plan_of, run

TEST = 24


def config_of(seed: int = 0, **more: Any) -> Config:
    return make_config(
        optimizer__name="copro", optimizer__copro={"breadth": 3, "depth": 1}, run__seed=seed, **more
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one program on one dataset: another optimizer found another artifact."""
    root = tmp_path_factory.mktemp("original")
    dataset = make_dataset(root / "dataset", train=8, val=8, test=TEST)
    program = load_program(make_program(root / "program"))
    other = make_config(optimizer__name="miprov2")
    for name, config in (("one", config_of()), ("two", other)):
        assert (
            run(create(root / "runs" / name, program=program, config=config, dataset=dataset)).status
            == "complete"
        )
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(original, tmp_path / "root"))
    for name in ("one", "two"):
        RunFolder(copy / "runs" / name).origin.write_text(json.dumps({"dataset": str(copy / "dataset")}))
    return copy


def asked(root: Path, name: str, config: Config | None = None) -> Question:
    folder = RunFolder(root / "runs" / name)
    inputs = read_inputs(folder)
    return ask(folder.path, program=inputs.program, config=config or config_of(), dataset=None)


def judged(question: Question, lane: RuleLane | None = None, **options: Any) -> Validation:
    return validate(question, lanes={"local": lane or RuleLane()}, **options)


def journal_of(validation: Validation) -> Path:
    assert validation.folder is not None
    return validation.folder / FILE_NAME


# -- against -----------------------------------------------------------------------------------------


def test_two_artifacts_are_compared_example_by_example(root: Path) -> None:
    one, two = judged(asked(root, "one")), judged(asked(root, "two"))
    found = against.compare(two, one)
    assert found.paired.n == TEST
    assert found.paired.wins + found.paired.losses == len(found.flips)
    assert one.after is not None
    assert two.after is not None
    assert found.paired.mean_gain == pytest.approx(two.after.mean - one.after.mean)
    swapped = against.compare(one, two)
    assert (swapped.paired.wins, swapped.paired.losses) == (found.paired.losses, found.paired.wins)
    assert swapped.win_rate == pytest.approx(1 - found.win_rate)
    told = "\n".join(against.lines(found))
    assert f"{found.paired.wins} won, {found.paired.losses} lost" in told
    body = against.as_json(found)
    assert json.loads(json.dumps(body)) == body
    assert len(body["flips"]) == len(found.flips)
    assert body["msat_per_call"] == {"other": 10.0, "this": 10.0}


def test_one_against_itself_does_not_differ_and_needs_no_number_of_examples(root: Path) -> None:
    one = judged(asked(root, "one"))
    found = against.compare(one, one)
    assert (found.verdict, found.win_rate, found.flips) == ("no evidence", 0.5, ())
    assert found.examples_needed is None
    assert "they do not differ" in found.sentence


def test_the_parents_answers_are_paid_for_once(root: Path) -> None:
    first = RuleLane()
    one = judged(asked(root, "one"), first)
    second = RuleLane()
    judged(asked(root, "two"), second, borrowed=recorded_answers(read(journal_of(one))))
    assert not set(first.sent) & set(second.sent)
    assert len(second.sent) == TEST  # the artifact's own; the parent is that of the other


def test_what_differs_in_more_than_the_artifact_is_refused(root: Path, tmp_path: Path) -> None:
    one = judged(asked(root, "one"))
    dataset = make_dataset(tmp_path / "dataset", train=8, val=8, test=9)
    program = load_program(make_program(tmp_path / "program"))
    folder = create(tmp_path / "runs" / "x", program=program, config=config_of(), dataset=dataset)
    assert run(folder).status == "complete"
    inputs = read_inputs(folder)
    other = judged(ask(folder.path, program=inputs.program, config=inputs.config, dataset=None))
    with pytest.raises(DigestMismatch, match="another testset"):
        against.compare(one, other)


def test_what_was_not_judged_is_not_compared(root: Path) -> None:
    down = RuleLane(fault=lambda _request: LaneFault("server", "down"))
    one, two = judged(asked(root, "one")), judged(asked(root, "two"), down)
    with pytest.raises(LaneError, match="could not be judged"):
        against.compare(one, two)


def test_latency_is_of_the_artifacts_own_calls(root: Path) -> None:
    one = judged(asked(root, "one"))
    found = against.latency(read(journal_of(one)))
    assert found is not None
    assert found >= 0


# -- the seal ----------------------------------------------------------------------------------------


def other_lane() -> RuleLane:
    lane = RuleLane()
    lane.identity = "rule:2"
    return lane


def test_a_second_scoring_is_refused_without_again_and_counted_with_it(root: Path) -> None:
    question = asked(root, "one")
    first = judged(question)
    assert first.scorings == 1
    assert judged(question, RuleLane()).scorings == 1  # the same question is no scoring
    lane = other_lane()
    with pytest.raises(UsageError, match="was scored on its testset before") as caught:
        judged(question, lane)
    assert lane.sent == []
    assert "--again" in caught.value.hint
    second = judged(question, lane, again=True)
    assert second.scorings == 2
    assert "scored 2 times" in "\n".join(formats.text(second))
    assert {"name": "scorings", "annotations": {"n": 2}} in attestation.statement(second)["predicate"][
        "configuration"
    ]
    notes = [line.event for line in read(journal_of(second)) if isinstance(line.event, Noted)]
    assert [note.code for note in notes] == ["again"]
    assert judged(question, other_lane()).scorings == 2  # asked again, it is answered, and stays the second


def test_a_scoring_that_never_came_to_an_answer_breaks_no_seal(root: Path) -> None:
    question = asked(root, "one")
    with pytest.raises(LaneError):
        judged(question, RuleLane(fault=lambda _request: LaneFault("auth", "no key")))
    assert judged(question, other_lane()).scorings == 1


# -- the selection effect ------------------------------------------------------------------------------


def test_the_score_it_was_chosen_by_stands_beside_the_one_it_has(root: Path) -> None:
    question = asked(root, "two")
    validation = judged(question)
    selection = validation.selection
    assert selection is not None
    assert selection.mean == question.manifest.scores[0].mean
    assert (selection.n, selection.candidates) == (8, question.manifest.search.candidates)
    line = formats.selection_line(validation)
    assert f"best of {selection.candidates} candidates" in line
    body = formats.as_json(validation)["selection"]
    assert validation.after is not None
    assert body["test_minus_val"] == pytest.approx(validation.after.mean - selection.mean, abs=1e-5)
    assert plan_of(RunFolder(root / "runs" / "two")).sizes.val == selection.n
