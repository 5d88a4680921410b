"""``init`` writes a project from which ``extract`` makes a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oa_compile.dataset import load_split
from oa_compile.spec.load import load_config, load_program
from tests.support.cli import check_golden, oacompile, on_terminal

Run = Callable[..., tuple[int, str, str]]

EXTRACT = ("extract", "datasets/triage/sessions", "--program", "programs/triage", "--out", "datasets/triage")


@pytest.fixture
def project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    code, _out, err = run("init", str(folder))
    assert (code, err) == (0, "")
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_path_from_nothing_to_a_dataset(tmp_path: Path) -> None:
    made = oacompile("init", "project", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    check_golden("init.txt", made.stdout)
    project = tmp_path / "project"
    done = oacompile(*EXTRACT, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    check_golden("extract.txt", done.stdout)


def test_a_bar_is_drawn_for_a_person_only(project: Path) -> None:
    code, out, seen = on_terminal(*EXTRACT, "--json", cwd=project)
    assert code == 0
    assert json.loads(out)["sizes"]
    assert "reading" in seen
    code, out, seen = on_terminal(*EXTRACT, "--json", cwd=project, env={"CI": "true"})
    assert (code, seen) == (0, "")


def test_what_init_writes_holds(project: Path) -> None:
    assert load_program(project / "programs" / "triage").spec.name == "triage"
    config = load_config(project / "configs" / "embedded.toml", environment={}, folder=project)
    assert config.config.lanes["local"].kind == "embedded"
    assert not any("NAME" in path or "NAME" in text for path, text in files(project).items())


def test_the_events_are_labelled_evenly_and_once(project: Path) -> None:
    text = (project / "datasets" / "triage" / "sessions" / "issues.jsonl").read_text(encoding="utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    triaged = [e for e in events if e["success"] and e["event_type"] == "IssueTriaged"]
    assert len({event["context"]["title"] for event in triaged}) == len(triaged) == 60
    labels = [event["output"]["label"] for event in triaged]
    assert {label: labels.count(label) for label in labels} == dict.fromkeys(
        ("bug", "feature", "question", "docs"), 15
    )


def test_extract_as_json(run: Run, project: Path) -> None:
    code, out, err = run(*EXTRACT, "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert sum(report["sizes"].values()) == report["card"]["counts"]["examples_kept"] == 60
    assert {left["reason"] for left in report["card"]["left_out"]} == {
        "event of a failure",
        "event of another type",
    }
    for split, size in report["sizes"].items():
        records = load_split(project / "datasets" / "triage", split).records
        assert len(records) == size
        assert all(set(record.inputs) == {"title"} for record in records)
        assert all(set(record.outputs) == {"label"} for record in records)


def test_the_seed_changes_the_splits(run: Run, project: Path) -> None:
    splits = []
    for seed in ("1", "1", "2"):
        assert run(*EXTRACT, "--seed", seed)[0] == 0
        splits.append(load_split(project / "datasets" / "triage", "test").digest)
    assert splits[0] == splits[1] != splits[2]


def test_the_next_command_is_true_for_another_folder(run: Run, project: Path) -> None:
    code, out, _err = run(*EXTRACT[:-1], "elsewhere")
    assert code == 0
    assert "set dataset in programs/triage/program.toml to this folder, then oacompile optimize" in out


def test_nothing_to_read_is_a_usage_error(run: Run, project: Path) -> None:
    (project / "empty.jsonl").write_text("", encoding="utf-8")
    code, out, err = run("extract", "empty.jsonl", "--program", "programs/triage", "--out", "out")
    assert (code, out) == (2, "")
    assert "no `event` example could be made" in err


def test_init_overwrites_nothing(run: Run, project: Path) -> None:
    spec = project / "programs" / "triage" / "program.toml"
    spec.write_text("mine", encoding="utf-8")
    before = files(project)
    code, out, err = run("init", ".")
    assert (code, out) == (2, "")
    assert "programs/triage/program.toml: already there, nothing was written" in err
    assert files(project) == before


def test_a_second_program_shares_the_config(run: Run, project: Path) -> None:
    code, out, _err = run("init", ".", "--name", "sort-mail", "--json")
    assert code == 0
    assert load_program(project / "programs" / "sort-mail").spec.name == "sort-mail"
    assert json.loads(out)["next"][0].startswith("oacompile extract datasets/sort-mail/sessions")


@pytest.mark.parametrize("name", ["My Program", "", "../x", "a--b", "x" * 65])
def test_a_name_that_cannot_be_a_program(run: Run, tmp_path: Path, name: str) -> None:
    code, _out, err = run("init", str(tmp_path / "p"), "--name", name)
    assert code == 2
    assert "cannot be a program's name" in err
    assert not (tmp_path / "p").exists()


def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _out, err = run("init", str(tmp_path / "file" / "project"))
    assert code == 2
    assert "cannot write the project: Not a directory" in err


def test_what_init_writes_can_be_forecast(run: Run, project: Path) -> None:
    assert run(*EXTRACT)[0] == 0
    code, out, _err = run(
        "optimize", "programs/triage", "--budget", "configs/embedded.toml", "--dry-run", "--json"
    )
    assert code == 0
    assert json.loads(out)


@pytest.mark.model
def test_what_init_writes_compiles(tmp_path: Path) -> None:
    assert oacompile("init", cwd=tmp_path).returncode == 0
    assert oacompile(*EXTRACT, cwd=tmp_path).returncode == 0
    done = oacompile(
        "optimize",
        "programs/triage",
        "--budget",
        "configs/embedded.toml",
        "--json",
        cwd=tmp_path,
        env={
            "OACOMPILE_OPTIMIZER__MIPROV2__NUM_TRIALS": "1",
            "OACOMPILE_OPTIMIZER__MIPROV2__NUM_CANDIDATES": "2",
        },
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    (artifact,) = tmp_path.glob("runs/*/artifact/program.json")
    assert artifact.is_file()


def test_without_the_dataset_optimize_names_the_command_that_makes_it_where_the_program_looks(
    run: Run, project: Path
) -> None:
    spec = project / "programs" / "triage" / "program.toml"
    spec.write_text(spec.read_text().replace("datasets/triage", "datasets/elsewhere"), encoding="utf-8")
    code, _out, err = run("optimize", "programs/triage")
    assert code == 2
    told = " ".join(err.split())
    assert "its dataset datasets/elsewhere is not there" in told
    assert "oacompile extract SESSIONS --program programs/triage --out datasets/elsewhere" in told
