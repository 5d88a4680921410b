"""Metrics that run an answer's code: really run, in the sandbox, and scored the same on resume and replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from oa_compile.artifact.folder import RunFolder, create
from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import ExitCode, SandboxError, SpecError, UsageError
from oa_compile.evaluate import equipped
from oa_compile.evaluate.metrics import Metric, build_metric
from oa_compile.evaluate.rules import Judged, MetricError
from oa_compile.evaluate.tested import Reading
from oa_compile.events import Evaluated, SandboxRan
from oa_compile.journal import read
from oa_compile.lanes.metered import Sent
from oa_compile.replay.player import replay
from oa_compile.sandbox.sandbox import Job, Limits, SandboxRun
from oa_compile.spec.load import load_program
from oa_compile.spec.program import ProgramSpec
from tests.support.sandboxes import sandbox
from tests.support.world import RuleLane, make_config, make_dataset, make_program, plan_of, run

TESTS = b"""\
from solution import add
def test_one(): assert add(1, 2) == 3
def test_two(): assert add(2, 2) == 4
"""


def metric(folder: Path, entry: dict[str, Any], *, limits: Limits | None = None) -> Metric:
    spec = ProgramSpec.model_validate(
        {
            "name": "demo",
            "signature": {
                "instructions": "Write it.",
                "inputs": [{"name": "task"}],
                "outputs": [{"name": "code"}],
            },
            "metrics": [{"files": {"solution.py": "code"}, **entry}],
        }
    )
    box = sandbox("bubblewrap")

    def test(job: Job, reading: Reading) -> Judged:
        return reading(box.run(Job(job.argv, files=job.files, limits=limits or Limits())))

    return build_metric(spec, folder).with_tester(test)


def scored(built: Metric, code: str, **gold: str) -> tuple[float, str]:
    found = built.score(inputs={"task": "add"}, gold=gold, pred={"code": code})
    return found.score, found.feedback


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_add.py").write_bytes(TESTS)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "score", "told"),
    [
        ("def add(a, b): return a + b", 1.0, "right"),
        ("```python\ndef add(a, b):\n    return a + b\n```", 1.0, "right"),
        ("def add(a, b): return 3", 0.5, "1 of 2 tests failed.\ntest_add.test_two: assert 3 == 4"),
        ("def add(a, b): return 0", 0.0, "2 of 2 tests failed."),
        ("def add(a, b) return", 0.0, "failed"),
        ("import os; os._exit(0)", 0.0, "came to no end"),
        ("raise SystemExit(0)", 0.0, ""),
        ("while True: pass", 0.0, "ended with exit code 152"),
    ],
)
def test_the_share_of_tests_that_pass(folder: Path, code: str, score: float, told: str) -> None:
    built = metric(folder, {"kind": "pytest", "with_files": ["test_add.py"]}, limits=Limits(cpu_seconds=2))
    found, feedback = scored(built, code)
    assert found == score
    assert told in feedback


def test_the_tests_may_be_an_examples_own(tmp_path: Path) -> None:
    built = metric(tmp_path, {"kind": "pytest", "gold_files": {"test_it.py": "tests"}})
    assert scored(built, "def add(a, b): return 3", tests=TESTS.decode())[0] == 0.5
    with pytest.raises(MetricError, match="no gold `tests`"):
        scored(built, "def add(a, b): return 3")


def test_no_test_is_the_specs_fault_and_not_the_answers(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="no test to run"):
        scored(metric(tmp_path, {"kind": "pytest", "tests": ["test_gone.py"]}), "def add(a, b): return a + b")


@pytest.mark.parametrize(
    ("mode", "code", "score", "told"),
    [
        ("exit", "print('fine')", 1.0, "right"),
        ("exit", "raise ValueError('too short')", 0.0, "exit code 1. Traceback"),
        ("stdout", "print('so'); print(0.25)", 0.25, "The command gave 0.25."),
        ("stdout", "print(1)", 1.0, "right"),
        ("stdout", "print(2)", 0.0, "no score in 0 … 1"),
        ("stdout", "print('nan')", 0.0, "no score"),
        ("stdout", "print(0.5); raise SystemExit(1)", 0.0, "exit code 1"),
        ("exit", "import time; time.sleep(60)", 0.0, "limit of seconds"),
    ],
)
def test_a_command_s_end_or_its_last_word(
    tmp_path: Path, mode: str, code: str, score: float, told: str
) -> None:
    entry = {"kind": "command", "argv": ["python", "solution.py"], "score": mode}
    found, feedback = scored(metric(tmp_path, entry, limits=Limits(seconds=3)), code)
    assert found == score
    assert told in feedback


def test_a_missing_answer_is_the_candidates(tmp_path: Path) -> None:
    built = metric(tmp_path, {"kind": "command", "argv": ["true"]})
    assert built.score(inputs={}, gold={}, pred={}).score == 0


def test_files_named_in_the_spec_are_part_of_the_metric(folder: Path) -> None:
    entry = {"kind": "pytest", "with_files": ["test_add.py"]}
    before = metric(folder, entry).digest
    (folder / "test_add.py").write_bytes(TESTS + b"# other\n")
    assert metric(folder, entry).digest != before
    with pytest.raises(SpecError, match="leads out"):
        metric(folder, {"kind": "pytest", "with_files": ["../x.py"]})
    with pytest.raises(SpecError, match="cannot read it"):
        metric(folder, {"kind": "pytest", "with_files": ["gone.py"]})
    with pytest.raises(ValidationError, match="reads `nothing`"):
        metric(folder, {"kind": "pytest", "files": {"a.py": "nothing"}})


# -- in a run ---------------------------------------------------------------------------------------

CHECKED = """
[[metrics]]
kind = "command"
argv = ["python", "check.py"]
files = { "colour.txt" = "colour" }
with_files = ["check.py"]
gold_files = { "wanted.txt" = "colour" }
"""


def new_run(root: Path) -> RunFolder:
    dataset = make_dataset(root / "dataset", train=6, val=5, test=3)
    program = make_program(root / "program", extra=CHECKED)
    (program / "check.py").write_text("assert open('colour.txt').read() == open('wanted.txt').read()\n")
    config = make_config(optimizer__name="copro", optimizer__copro={"breadth": 2, "depth": 1})
    return create(root / "runs" / "run", program=load_program(program), config=config, dataset=dataset)


def test_runs_are_journaled_and_answered_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox("bubblewrap")
    folder = new_run(tmp_path)
    assert run(folder).status == "complete"
    events = [line.event for line in read(folder.journal)]
    ran = [event for event in events if isinstance(event, SandboxRan)]
    assert {event.score for event in ran} == {0.0, 1.0}
    assert len({event.key for event in ran}) == len(ran)
    assert ran[0].record["response"]["runs"][0]["cmd"] == ["python", "check.py"]
    rows = [row for event in events if isinstance(event, Evaluated) for row in event.rows]
    assert {row.score for row in rows} == {0.0, 1.0}  # exact match and the command agree

    class Unused:
        name = "bubblewrap"

        def run(self, job: Job) -> SandboxRun:
            raise AssertionError(f"{job.argv} was run again")

    monkeypatch.setattr(equipped, "sandbox_from", lambda _spec: Unused())
    assert replay(folder.path).identical
    assert run(folder).status == "complete"


def test_a_sandbox_that_breaks_scores_nothing_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name = "bubblewrap"

        def run(self, job: Job) -> SandboxRun:
            raise SandboxError("no space left")

    monkeypatch.setattr(equipped, "sandbox_from", lambda _spec: Broken())
    folder = new_run(tmp_path)
    outcome = run(folder)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.exit_code) == ("no space left", ExitCode.LANE)
    assert not [line for line in read(folder.journal) if isinstance(line.event, Evaluated)]


def test_without_a_sandbox_it_refuses_before_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, lane = new_run(tmp_path), RuleLane()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="`bwrap` is not here"):
        run(folder, lane)
    assert lane.sent == []


def test_what_a_model_writes_has_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: a model's answer runs as code, and reaches for the key."""
    sandbox("bubblewrap")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key")

    class Thief(RuleLane):
        def send(self, request: ChatRequest, key: str) -> Sent:
            sent = super().send(request, key)
            text = "[[ ## colour ## ]]\nimport os; print(os.environ.get('OPENAI_API_KEY', 'nothing'))"
            return Sent(ChatAnswer(text + "\n\n[[ ## completed ## ]]", Usage(1, 1)), sent.spent)

    dataset = make_dataset(tmp_path / "dataset", train=3, val=2, test=1)
    program = make_program(tmp_path / "program")
    text = (
        (program / "program.toml")
        .read_text()
        .split("[[metrics]]")[0]
        .replace(', type = "enum", values = ["red", "green", "blue"]', "")
    )
    metrics = '[[metrics]]\nkind = "command"\nargv = ["python", "a.py"]\nfiles = { "a.py" = "colour" }\n'
    (program / "program.toml").write_text(text + metrics)
    config = make_config(
        optimizer__name="gepa", optimizer__gepa={"max_metric_calls": 4}, optimizer__preflight=False
    )
    folder = create(tmp_path / "runs" / "run", program=load_program(program), config=config, dataset=dataset)
    assert run(folder, Thief()).status == "complete"
    assert plan_of(folder).metric.runs_code
    ran = [line.event for line in read(folder.journal) if isinstance(line.event, SandboxRan)]
    assert {event.record["response"]["runs"][0]["stdout_preview"] for event in ran} == {"nothing\n"}
