"""Validation: the testset scored once, on what it was compiled for, and judged only when lanes answered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from oa_compile.artifact.folder import RunFolder, read_inputs
from oa_compile.artifact.manifest import MANIFEST, PROGRAM, TEST_RESULT, load_manifest
from oa_compile.chat import ChatRequest
from oa_compile.dataset import CARD_NAME, SPLITS, load_split
from oa_compile.dataset.near_duplicates import MEASURE
from oa_compile.digest import digest_bytes
from oa_compile.errors import BudgetExhausted, DigestMismatch, ExitCode, LaneError, UsageError
from oa_compile.events import Candidate, Evaluated, RunFinished, RunStarted
from oa_compile.journal import read
from oa_compile.lanes.lane import LaneFault
from oa_compile.spec.config import Config
from oa_compile.spec.load import load_program
from oa_compile.validate.question import Question, ask, validation_folder
from oa_compile.validate.runner import validate
from oa_compile.validate.verdict import Validation
from tests.support.cli import python
from tests.support.world import RuleLane, make_config, make_dataset, make_program, new_run, run

TEST = 12


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a finished run: dataset, program and runs/run."""
    root = tmp_path_factory.mktemp("original")
    config = make_config(optimizer__name="copro", optimizer__copro={"breadth": 3, "depth": 1})
    assert run(new_run(root, config=config, sizes=(8, 6, TEST))).status == "complete"
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to change at will, with its dataset where it came from."""
    copy = Path(shutil.copytree(original, tmp_path / "root"))
    folder(copy).origin.write_text(json.dumps({"dataset": str(copy / "dataset")}))
    return copy


def folder(root: Path) -> RunFolder:
    return RunFolder(root / "runs" / "run")


def asked(root: Path, *, config: Config | None = None, dataset: Path | None = None) -> Question:
    inputs = read_inputs(folder(root))
    return ask(folder(root).path, program=inputs.program, config=config or inputs.config, dataset=dataset)


def judged(question: Question, lane: RuleLane | None = None) -> Validation:
    return validate(question, lanes={"local": lane or RuleLane()})


def journal_of(question: Question) -> Path:
    return validation_folder(question, {"local": RuleLane()}) / "journal.jsonl"


def faulty(things: int, *, kind: str = "server") -> Callable[[ChatRequest], LaneFault | None]:
    """A fault for whatever is asked about the first `things` examples of the testset."""
    names = [f"thing number {8 + 6 + index}\n" for index in range(things)]

    def fault(request: ChatRequest) -> LaneFault | None:
        text = request.messages[-1].content
        return LaneFault(kind, "no answer") if any(name in text for name in names) else None  # type: ignore[arg-type]

    return fault


# -- once ------------------------------------------------------------------------------------------


def test_the_testset_is_scored_once_on_either_side(root: Path) -> None:
    question, lane = asked(root), RuleLane()
    verdict = judged(question, lane)
    assert verdict.n == TEST
    assert verdict.before is not None
    assert verdict.after is not None
    assert len(lane.sent) == verdict.evidence.spent.calls
    assert len(set(lane.sent)) == len(lane.sent) == 2 * TEST

    events = [line.event for line in read(journal_of(question))]
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.command == "validate"
    assert started.inputs["artifact"] == question.manifest.digest
    assert started.inputs["test"] == question.testset.digest
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [(event.ordinal, event.split, event.scope) for event in evaluated] == [
        (1, "test", "full"),
        (2, "test", "full"),
    ]
    ids = [record.id for record in question.testset.records]
    assert [[row.example for row in event.rows] for event in evaluated] == [ids, ids]
    assert [event.candidate for event in evaluated] == [
        question.manifest.parent,
        question.manifest.program.state,
    ]
    assert evaluated[0].score == pytest.approx(verdict.before.mean)
    assert evaluated[1].score == pytest.approx(verdict.after.mean)


def test_asked_again_no_call_is_made_and_the_verdict_is_the_same(root: Path) -> None:
    question, lane = asked(root), RuleLane()
    first = judged(question)
    attested = (question.artifact / TEST_RESULT).read_bytes()
    again = judged(asked(root), lane)
    assert lane.sent == []
    assert again.evidence.spent.calls == 0
    assert again.evidence.spent.saved == 2 * TEST
    assert again.evidence.rows == first.evidence.rows
    assert again.evidence.artifact_cost == first.evidence.artifact_cost
    assert (again.sentence, again.gates, again.outcome) == (first.sentence, first.gates, first.outcome)
    assert (question.artifact / TEST_RESULT).read_bytes() == attested
    events = [line.event for line in read(journal_of(question))]
    assert sum(isinstance(event, Evaluated) for event in events) == 2
    assert sum(isinstance(event, Candidate) for event in events) == 2


def test_other_gates_on_the_same_testset_score_nothing_again(root: Path) -> None:
    judged(asked(root))
    strict = make_config(gates__min_score=1.0, optimizer__name="copro")
    lane = RuleLane()
    verdict = judged(asked(root, config=strict), lane)
    assert lane.sent == []
    assert verdict.exit_code == ExitCode.GATE_MISSED


def test_stopped_by_a_cap_it_goes_on_where_it_was(root: Path) -> None:
    first, second = RuleLane(), RuleLane()
    question = asked(root, config=make_config(budget__calls=TEST, run__threads=1))
    with pytest.raises(BudgetExhausted):
        judged(question, first)
    assert len(first.sent) == TEST
    assert not (question.artifact / TEST_RESULT).exists()
    ended = [line.event for line in read(journal_of(question)) if isinstance(line.event, RunFinished)]
    assert [event.status for event in ended] == ["failed"]

    verdict = judged(asked(root), second)
    assert verdict.n == TEST
    assert set(first.sent).isdisjoint(second.sent)
    assert len(first.sent) + len(second.sent) == 2 * TEST


def test_a_bundle_s_artifact_is_judged_by_the_dataset_one_names(root: Path) -> None:
    elsewhere = root / "elsewhere"
    shutil.move(root / "dataset", elsewhere)
    with pytest.raises(UsageError, match="is not here") as caught:
        asked(root)
    assert "--dataset" in caught.value.hint
    assert judged(asked(root, dataset=elsewhere)).n == TEST


# -- only what it was compiled for -----------------------------------------------------------------


def test_a_dataset_whose_testset_may_hold_what_was_seen_is_refused(root: Path) -> None:
    """Another split of the same examples: its test part overlaps the compile's train and val parts."""
    other = make_dataset(root / "other", train=2, val=2, test=22)
    seen = {record.id for record in read_inputs(folder(root)).train.records}
    assert seen & {record.id for record in load_split(other, "test").records}
    with pytest.raises(DigestMismatch, match="may hold examples the compile has seen"):
        asked(root, dataset=other)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_dataset_that_shares_but_one_split_is_refused(root: Path, split: str) -> None:
    sizes = {"train": 8, "val": 6, "test": TEST, split: 5}
    with pytest.raises(DigestMismatch, match=f"its {split} split is not the one"):
        asked(root, dataset=make_dataset(root / "other", **sizes))


def test_a_changed_testset_is_refused(root: Path) -> None:
    path = root / "dataset" / "test.jsonl"
    path.write_text(path.read_text().replace('"red"', '"blue"'))
    with pytest.raises(DigestMismatch) as caught:
        asked(root)
    assert caught.value.exit_code == ExitCode.MISMATCH
    assert "test.jsonl" in caught.value.message


def test_no_testset_no_verdict(root: Path) -> None:
    path = root / "dataset" / CARD_NAME
    card = json.loads(path.read_text())
    del card["splits"]["test"]
    total = sum(info["n"] for info in card["splits"].values())
    for info in card["splits"].values():
        info["share"] = round(info["n"] / total, 4)
    path.write_text(json.dumps(card))
    with pytest.raises(UsageError, match="missing holdout: there is no test split"):
        asked(root)


def test_a_testset_that_was_cut_anew_is_refused(root: Path) -> None:
    with pytest.raises(DigestMismatch, match="its test split is not the one"):
        asked(root, dataset=make_dataset(root / "other", train=8, val=6, test=TEST + 1))


def test_a_testset_with_training_examples_in_it_is_refused(tmp_path: Path) -> None:
    """Also by the run, which has no testset to look into: the card's lists of members say it."""
    config = make_config(optimizer__name="copro", optimizer__copro={"breadth": 2, "depth": 1})
    made = new_run(tmp_path, config=config, sizes=(8, 6, 4))
    dataset = tmp_path / "dataset"
    data = (dataset / "train.jsonl").read_bytes() + (dataset / "test.jsonl").read_bytes()
    (dataset / "test.jsonl").write_bytes(data)
    total = sum(len((dataset / f"{name}.jsonl").read_bytes().splitlines()) for name in SPLITS)
    card = json.loads((dataset / CARD_NAME).read_text())
    card["splits"]["test"] |= {"digest": digest_bytes(data), "n": 12}
    for info in card["splits"].values():
        info["share"] = round(info["n"] / total, 4)
    (dataset / CARD_NAME).write_text(json.dumps(card))
    shutil.copy(dataset / CARD_NAME, made.inputs / "dataset" / CARD_NAME)
    run(made)
    with pytest.raises(DigestMismatch, match=r"contaminated holdout: example .* is in the train split too"):
        asked(tmp_path)

    card["splits"]["test"]["members"] += " " + card["splits"]["train"]["members"]
    (made.inputs / "dataset" / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(DigestMismatch, match="contaminated holdout: the train split has its member"):
        read_inputs(made)


def test_a_testset_with_near_duplicates_of_training_examples_is_refused(root: Path) -> None:
    """The world's things differ in a number only; nobody said they were apart, until this card."""
    for folder_ in (root / "dataset", folder(root).inputs / "dataset"):
        card = json.loads((folder_ / CARD_NAME).read_text())
        card["split"]["near_duplicates"] = {"measure": MEASURE, "threshold": 0.9}
        (folder_ / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(DigestMismatch, match=r"contaminated holdout: example .* is a near-duplicate of"):
        asked(root)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Name the colour", "Say the colour"),
        ('values = ["red", "green", "blue"]', 'values = ["red", "green", "grey"]'),
        ('feedback = "It is', 'feedback = "It was'),
        ('kind = "exact_match"', 'kind = "normalized_match"'),
    ],
)
def test_another_program_or_metric_is_refused(root: Path, old: str, new: str) -> None:
    spec = root / "program" / "program.toml"
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))
    with pytest.raises(DigestMismatch, match="program") as caught:
        ask(folder(root).path, program=load_program(spec), config=make_config(), dataset=None)
    assert caught.value.exit_code == ExitCode.MISMATCH


def test_a_python_metric_that_changed_under_the_same_spec_is_refused(tmp_path: Path) -> None:
    program = make_program(tmp_path / "program")
    spec = program / "program.toml"
    head = spec.read_text().partition("[[metrics]]")[0]
    extra = '[[metrics]]\nkind = "python"\ntarget = "metric.py:score"\n'
    spec.write_text(head + extra)
    source = "def score(inputs, gold, pred):\n    return float(gold['colour'] == pred.get('colour'))\n"
    (program / "metric.py").write_text(source)
    config = make_config(optimizer__name="copro", optimizer__copro={"breadth": 2, "depth": 1})
    made = new_run_of(tmp_path, program, config)
    assert run(made).status == "complete"
    assert ask(made.path, program=load_program(program), config=config, dataset=None).metric.digest
    (program / "metric.py").write_text(source.replace("float(", "1.0 or float("))
    with pytest.raises(DigestMismatch):
        ask(made.path, program=load_program(program), config=config, dataset=None)


def new_run_of(root: Path, program: Path, config: Config) -> RunFolder:
    from oa_compile.artifact.folder import create

    dataset = make_dataset(root / "dataset", train=6, val=5, test=4)
    return create(root / "runs" / "run", program=load_program(program), config=config, dataset=dataset)


@pytest.mark.parametrize("name", [MANIFEST, PROGRAM])
def test_a_changed_artifact_is_refused(root: Path, name: str) -> None:
    path = folder(root).artifact / name
    path.write_text(path.read_text().replace("colour", "color", 1))
    with pytest.raises(DigestMismatch):
        asked(root)


# -- sealed ----------------------------------------------------------------------------------------

SEALED = """
import json, os, sys
from pathlib import Path

opened = []
sys.addaudithook(lambda event, args: opened.append(os.fsdecode(args[0]))
                 if event in ("open", "os.open") and isinstance(args[0], (str, bytes, os.PathLike)) else None)

from tests.support.world import RuleLane, plan_of, run
from oa_compile.artifact.folder import create
from oa_compile.replay.player import replay
from oa_compile.spec.load import load_program
from oa_compile.spec.config import Config

for optimizer in ("miprov2", "copro", "gepa"):
    config = json.loads(Path("config.json").read_text())
    config["optimizer"]["name"] = optimizer
    folder = create(Path("runs") / optimizer, program=load_program(Path("program")),
                    config=Config.model_validate(config), dataset=Path("dataset"))
    assert run(folder).status == "complete"
    assert replay(folder.bundle).identical
print(json.dumps(sorted(set(opened))))
"""


def test_the_optimizer_s_process_never_opens_the_testset(tmp_path: Path) -> None:
    """Not when the run is made, searched, sealed or replayed; and no copy of it is in what they wrote."""
    make_program(tmp_path / "program")
    make_dataset(tmp_path / "dataset", train=8, val=6, test=4)
    config = make_config(optimizer__gepa={"max_metric_calls": 30})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    done = python(SEALED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    opened = {Path(name).name for name in json.loads(done.stdout)}
    assert {"train.jsonl", "val.jsonl", CARD_NAME, "journal.jsonl"} <= opened, "the hook sees what is opened"
    assert "test.jsonl" not in opened

    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in written if path.name == "test.jsonl"]
    for record in load_split(tmp_path / "dataset", "test").records:
        thing = json.dumps(record.inputs["thing"]).encode()
        assert not [path for path in written if thing in path.read_bytes()]


# -- faults ----------------------------------------------------------------------------------------


def test_faults_are_left_out_and_never_score_0(root: Path) -> None:
    clean = judged(asked(root))
    question = asked(root)
    shutil.rmtree(journal_of(question).parent)
    verdict = judged(question, RuleLane(fault=faulty(1)))
    assert verdict.n == TEST - 1
    assert [row.fault for row in verdict.evidence.excluded] == ["server"]
    kept = {row.example: (row.before, row.after) for row in clean.evidence.rows}
    assert all(kept[row.example] == (row.before, row.after) for row in verdict.evidence.counted)
    assert verdict.outcome == "passed"


def test_above_the_share_nothing_is_judged_and_nothing_attested(root: Path) -> None:
    question = asked(root)
    verdict = judged(question, RuleLane(fault=faulty(2)))
    assert (verdict.outcome, verdict.exit_code) == ("not judged", ExitCode.LANE)
    assert verdict.gates == ()
    assert "2 of 12" in verdict.unjudged
    assert not (question.artifact / TEST_RESULT).exists()
    ended = [line.event for line in read(journal_of(question)) if isinstance(line.event, RunFinished)]
    assert [event.status for event in ended] == ["failed"]


def test_when_the_lane_is_back_only_what_failed_is_asked_again(root: Path) -> None:
    question, lane = asked(root), RuleLane()
    judged(question, RuleLane(fault=faulty(2)))
    verdict = judged(asked(root), lane)
    assert len(lane.sent) == 2 * 2
    assert (verdict.n, verdict.outcome) == (TEST, "passed")
    assert (question.artifact / TEST_RESULT).is_file()


def test_a_refused_key_stops_the_scoring_at_once(root: Path) -> None:
    lane = RuleLane(fault=lambda _request: LaneFault("auth", "the key is not known"))
    question = asked(root, config=make_config(run__threads=1))
    with pytest.raises(LaneError) as caught:
        judged(question, lane)
    assert caught.value.exit_code == ExitCode.LANE
    assert lane.sent == []
    assert not (question.artifact / TEST_RESULT).exists()


# -- attested --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gates", "result", "where"),
    [
        ({"gates__min_score": 0.0}, "PASSED", "passedTests"),
        ({"gates__min_score": 1.0}, "FAILED", "failedTests"),
        ({}, "WARNED", ""),
    ],
)
def test_the_result_is_attested_beside_the_artifact(
    root: Path, gates: dict[str, float], result: str, where: str
) -> None:
    question = asked(root, config=make_config(optimizer__name="copro", **gates))
    judged(question)
    written = json.loads((folder(root).artifact / TEST_RESULT).read_bytes())
    assert written["_type"] == "https://in-toto.io/Statement/v1"
    assert written["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    manifest = load_manifest(folder(root).artifact)
    assert written["subject"] == [
        {"name": "colours", "digest": {"sha256": manifest.digest.removeprefix("sha256:")}}
    ]
    assert written["predicate"]["result"] == result
    for tests in ("passedTests", "warnedTests", "failedTests"):
        assert written["predicate"][tests] == (["min_score"] if tests == where else [])
    named = {entry["name"]: entry["digest"]["sha256"] for entry in written["predicate"]["configuration"]}
    assert named["testset"] == question.testset.digest.removeprefix("sha256:")


def test_the_artifact_is_whole_after_it_was_attested(root: Path) -> None:
    before = load_manifest(folder(root).artifact)
    judged(asked(root))
    assert load_manifest(folder(root).artifact) == before


def test_what_faults_left_out_is_in_the_journal_once_it_has_a_score(root: Path) -> None:
    """Whoever reads the journal's rows, as promote does, sees what the verdict stands on."""
    question = asked(root)
    assert judged(question, RuleLane(fault=faulty(6))).unjudged
    verdict = judged(question)
    assert not verdict.unjudged
    events = [line.event for line in read(journal_of(question))]
    rows = {event.ordinal: event.rows for event in events if isinstance(event, Evaluated)}
    assert [row.score for row in rows[2]] == [row.after for row in verdict.evidence.rows]
    assert [row.score for row in rows[1]] == [row.before for row in verdict.evidence.rows]
