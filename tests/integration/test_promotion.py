"""Promotion: gates on a validation's own rows, a journaled store, a pointer that heals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oa_compile.artifact.folder import RunFolder, create, read_inputs
from oa_compile.artifact.manifest import MANIFEST, PROGRAM, load_manifest
from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import DigestMismatch, ExitCode, LaneError, UsageError
from oa_compile.events import Moved
from oa_compile.journal import FILE_NAME, read
from oa_compile.lanes.lane import LaneFault
from oa_compile.lanes.metered import Sent
from oa_compile.promote.promote import Promotion, promote
from oa_compile.promote.store import CURRENT, Store, read_store
from oa_compile.spec.load import load_program
from oa_compile.spec.promotion import PromotionSpec
from oa_compile.validate.question import ask
from oa_compile.validate.runner import validate
from tests.support.world import RuleLane, make_config, make_dataset, make_program, run

EASY = PromotionSpec(min_gain=0, min_examples=10, min_win_rate=0, alpha=0.999)
FREE = PromotionSpec(min_gain=None, min_win_rate=None, min_examples=10)
PROXIES = """
[[metrics]]
kind = "format"
field = "colour"
pattern = "red|green|blue"
weight = 0

[[metrics]]
kind = "syntax"
field = "colour"
language = "yaml"
weight = 0
"""
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two validated artifacts of one program on one testset."""
    root = tmp_path_factory.mktemp("original")
    dataset = make_dataset(root / "dataset", train=10, val=10, test=40)
    program = load_program(make_program(root / "program", extra=PROXIES))
    configs = (
        make_config(optimizer__name="miprov2"),
        make_config(optimizer__name="miprov2", optimizer__miprov2={"num_candidates": 3, "num_trials": 4}),
    )
    for name, config in zip(NAMES, configs, strict=True):
        folder = create(root / "runs" / name, program=program, config=config, dataset=dataset)
        assert run(folder).status == "complete"
        judge(folder)
    return root


def judge(folder: RunFolder, lane: RuleLane | None = None) -> None:
    inputs = read_inputs(folder)
    question = ask(folder.path, program=inputs.program, config=inputs.config, dataset=None)
    validate(question, lanes={"local": lane or RuleLane()})


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(original, tmp_path / "root"))
    for name in NAMES:
        RunFolder(copy / "runs" / name).origin.write_text(json.dumps({"dataset": str(copy / "dataset")}))
    return copy


def artifact_of(root: Path, name: str) -> Path:
    return root / "runs" / name / "artifact"


def taken(root: Path, name: str, spec: PromotionSpec = EASY, **options: object) -> Promotion:
    with Store(root / "store") as store:
        return promote(artifact_of(root, name), store, spec, **options)  # type: ignore[arg-type]


def pointer(root: Path) -> str:
    link = root / "store" / "colours" / CURRENT
    return os.readlink(link) if link.is_symlink() else ""  # noqa: PTH115


# -- steps ----------------------------------------------------------------------------------------------


def test_a_step_at_a_time_and_each_is_journaled_with_its_evidence(root: Path) -> None:
    states = []
    for _ in range(3):
        promotion = taken(root, "one")
        states.append(promotion.state)
        assert promotion.exit_code == ExitCode.OK
    assert states == ["staged", "shadow", "promoted"]
    moves = [line.event for line in read(root / "store" / FILE_NAME) if isinstance(line.event, Moved)]
    assert [(move.before, move.after) for move in moves] == [
        ("candidate", "staged"),
        ("staged", "shadow"),
        ("shadow", "promoted"),
    ]
    assert [gate["name"] for gate in moves[0].gates] == ["min_format", "min_syntax"]
    assert [gate["passed"] for gate in moves[0].gates] == [True, True]
    assert [(gate["name"], gate["passed"]) for gate in moves[1].gates] == [
        ("min_judge", None),
        ("min_gain", True),
    ]
    assert len(moves[2].evidence["after"]) == 40
    digest = load_manifest(artifact_of(root, "one")).digest
    kept = root / "store" / "colours" / pointer(root)
    assert load_manifest(kept).digest == digest == read_store(root / "store")["colours"].current
    assert (root / "store" / "colours" / CURRENT / PROGRAM).is_file()
    with pytest.raises(UsageError, match="is promoted already"):
        taken(root, "one")


def test_a_missed_gate_stops_there_and_says_what_was_measured(root: Path) -> None:
    promotion = taken(root, "one", PromotionSpec(min_gain=0.99), to="promoted")
    assert (promotion.state, promotion.exit_code) == ("staged", ExitCode.GATE_MISSED)
    last = promotion.steps[-1]
    assert (last.after, last.taken) == ("shadow", False)
    gate = next(gate for gate in last.gates if gate.name == "min_gain")
    assert gate.passed is False
    assert "asked for are +99.0" in gate.reason
    assert pointer(root) == ""


def test_the_form_of_the_answers_is_the_first_gate(root: Path) -> None:
    """A model that answers in another form than asked for, now and then, is not staged."""

    class Mumbling(RuleLane):
        def send(self, request: ChatRequest, key: str) -> Sent:
            sent = super().send(request, key)
            text = sent.answer.text.replace("red", "crimson")
            return Sent(ChatAnswer(text, sent.answer.usage), sent.spent)

    folder = RunFolder(root / "runs" / "one")
    unvalidated(folder)
    judge(folder, Mumbling())
    promotion = taken(root, "one")
    assert (promotion.state, promotion.exit_code) == ("candidate", ExitCode.GATE_MISSED)
    assert promotion.evidence.parts["format"] < 0.95


def unvalidated(folder: RunFolder) -> None:
    for path in folder.path.glob("validate-*"):
        shutil.rmtree(path)


def test_an_artifact_that_was_never_validated_is_told_how(root: Path) -> None:
    unvalidated(RunFolder(root / "runs" / "one"))
    with pytest.raises(UsageError, match="was never validated") as caught:
        taken(root, "one")
    assert "oacompile validate" in caught.value.hint


def test_a_candidate_never_admits_itself(root: Path) -> None:
    """Whatever its manifest says of its scores, the gates read the validation's rows."""
    plain = taken(root, "one", PromotionSpec(min_gain=0.6, alpha=0.5), to="shadow")
    assert plain.state == "staged"
    path = artifact_of(root, "one") / MANIFEST
    body = json.loads(path.read_text())
    body["scores"][0]["mean"] = 0.987
    path.write_text(json.dumps(body))
    with pytest.raises(DigestMismatch):
        taken(root, "one", PromotionSpec(min_gain=0.6), to="shadow")


def test_what_could_not_be_judged_is_no_evidence(root: Path) -> None:
    folder = RunFolder(root / "runs" / "one")
    unvalidated(folder)
    judge(folder, RuleLane(fault=lambda _request: LaneFault("server", "down")))
    with pytest.raises(LaneError, match="could not be judged") as caught:
        taken(root, "one")
    assert caught.value.exit_code == ExitCode.LANE


def test_the_evidence_of_another_artifact_does_not_count(root: Path) -> None:
    folder = RunFolder(root / "runs" / "one")
    unvalidated(folder)
    for path in (root / "runs" / "two").glob("validate-*"):
        shutil.copytree(path, folder.path / path.name)
    with pytest.raises(UsageError, match="was never validated"):
        taken(root, "one")


def test_a_later_one_must_win_over_the_one_in_use(root: Path) -> None:
    assert taken(root, "one", to="promoted").state == "promoted"
    against = taken(root, "two", FREE, to="shadow")
    assert against.state == "shadow"
    last = taken(root, "two", PromotionSpec(min_gain=0, min_examples=10), to="promoted").steps[-1]
    gate = next(gate for gate in last.gates if gate.name == "min_win_rate")
    assert "against the artifact in use" in gate.reason


# -- back ------------------------------------------------------------------------------------------------


def test_rollback_puts_the_one_before_back(root: Path) -> None:
    first = taken(root, "one", to="promoted")
    second = taken(root, "two", FREE, to="promoted")
    assert second.replaced == first.artifact
    with Store(root / "store") as store:
        event = store.rollback("colours", reason="it was slow")
    assert (event.artifact, event.after, event.reason) == (second.artifact, "rolled_back", "it was slow")
    states = read_store(root / "store")["colours"]
    assert states.current == first.artifact
    assert states.states == {first.artifact: "promoted", second.artifact: "rolled_back"}
    assert load_manifest(root / "store" / "colours" / pointer(root)).digest == first.artifact
    with Store(root / "store") as store:
        store.rollback("colours")
    assert pointer(root) == ""
    with (
        Store(root / "store") as store,
        pytest.raises(UsageError, match="no artifact of `colours` is in use"),
    ):
        store.rollback("colours")


def test_what_was_rolled_back_begins_anew(root: Path) -> None:
    taken(root, "one", to="promoted")
    with Store(root / "store") as store:
        store.rollback("colours")
    assert taken(root, "one").state == "staged"


# -- crashes ---------------------------------------------------------------------------------------------


@pytest.mark.crash
def test_killed_between_the_decision_and_the_pointer_it_heals(root: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from oa_compile.promote.promote import promote\nfrom oa_compile.promote.store import Store\n"
        "from oa_compile.spec.promotion import PromotionSpec\n"
        "Path.symlink_to = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "spec = PromotionSpec(min_gain=0, min_examples=10, min_win_rate=0, alpha=0.999)\n"
        "promote(Path(sys.argv[1]), Store(Path(sys.argv[2])), spec, to='promoted')\n"
    )
    argv = [sys.executable, "-c", code, str(artifact_of(root, "one")), str(root / "store")]
    assert subprocess.run(argv, cwd=Path.cwd()).returncode == -signal.SIGKILL
    assert pointer(root) == ""
    current = read_store(root / "store")["colours"].current
    assert current == load_manifest(artifact_of(root, "one")).digest
    with Store(root / "store"):
        pass
    assert load_manifest(root / "store" / "colours" / pointer(root)).digest == current


def test_two_processes_at_once_are_kept_apart(root: Path) -> None:
    with Store(root / "store"), pytest.raises(UsageError, match="another process is writing"):
        Store(root / "store")


def test_a_copy_that_was_changed_in_the_store_is_told(root: Path) -> None:
    first = taken(root, "one", to="promoted")
    taken(root, "two", FREE, to="promoted")
    (first.folder / PROGRAM).write_text("{}")
    with Store(root / "store") as store, pytest.raises(DigestMismatch):
        store.rollback("colours")
    assert read_store(root / "store")["colours"].current != first.artifact


# -- at the terminal ---------------------------------------------------------------------------------------


def test_the_commands_and_their_exit_codes(root: Path) -> None:
    (root / "p.toml").write_text(
        "[promotion]\nmin_gain = 0\nmin_examples = 10\nmin_win_rate = 0\nalpha = 0.999\n"
    )

    def oacompile(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "oa_compile", *argv], capture_output=True, text=True, cwd=root
        )

    empty = oacompile("status")
    assert (empty.returncode, empty.stdout.splitlines()[0]) == (0, "artifacts is empty")
    missed = oacompile("promote", "one", "--to", "promoted")
    assert missed.returncode == 1
    assert "shadow: not taken" in missed.stdout or "promoted: not taken" in missed.stdout
    up = oacompile("promote", "one", "--to", "promoted", "--budget", "p.toml", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["state"] == "promoted"
    told = oacompile("status", "colours")
    assert "in use: " in told.stdout
    assert "shadow -> promoted" in told.stdout
    back = oacompile("rollback", "colours", "--reason", "too slow", "--json")
    assert json.loads(back.stdout)["current"] is None
    assert oacompile("status", "--json").returncode == 0
    assert oacompile("status", "nothing").returncode == 2
    assert oacompile("rollback", "nothing").returncode == 2
    refused = oacompile("validate", "two", "--against", "one")  # the run's own config names another lane
    assert refused.returncode == 2
    assert "--again" in refused.stderr


def test_two_artifacts_are_compared_at_the_terminal(root: Path) -> None:
    """Both were scored before: the recorded lane has nothing to answer, and nobody is asked."""
    journal = next((root / "runs" / "one").glob("validate-*"))
    (root / "recorded.toml").write_text(
        f'[lanes.local]\nkind = "recorded"\njournal = "{journal}"\nlane = "local"\nadapter = "chat"\n'
        'max_tokens = 48\n[stages.compile]\ntask = "local"\n'
    )
    options = ["validate", "two", "--against", "one", "--budget", "recorded.toml"]
    argv = [sys.executable, "-m", "oa_compile", *options]
    told = subprocess.run(argv, capture_output=True, text=True, cwd=root)
    assert told.returncode == 0, told.stderr
    assert " against " in told.stdout
    assert " tied of 40, difference " in told.stdout
    body = json.loads(subprocess.run([*argv, "--json"], capture_output=True, text=True, cwd=root).stdout)
    assert body["n"] == body["wins"] + body["losses"] + body["ties"] == 40
    assert body["msat_per_call"] == {"other": 10.0, "this": 10.0}
