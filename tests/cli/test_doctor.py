"""``doctor``: each row says what was found, and what is missing comes with its fix."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oa_compile.cli import checks
from tests.support.cli import python

Run = Callable[..., tuple[int, str, str]]

CLOUD = """\
[lanes.cloud]
kind = "litellm"
model = "openai/gpt-4o-mini"
api_key_env = "TEST_KEY_OF_DOCTOR"
[stages.compile]
task = "cloud"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cloud.toml").write_text(CLOUD, encoding="utf-8")
    return tmp_path


def rows(run: Run, *args: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code, out, err = run("doctor", *args, "--json")
    assert err == ""
    report = json.loads(out)
    assert report["ok"] is (code == 0)
    return code, {check["name"]: check for check in report["checks"]}


def test_all_is_well(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY_OF_DOCTOR", "secret-value")
    assert run("init", ".")[0] == 0
    extract = ("extract", "datasets/triage/sessions", "--program", "programs/triage")
    assert run(*extract, "--out", "datasets/triage")[0] == 0
    code, found = rows(run, "--budget", "cloud.toml")
    assert code == 0
    assert {name for name, check in found.items() if check["status"] == "fail"} == set()
    assert found["dspy"]["found"] == f"{importlib.metadata.version('dspy')} (<3.5,>=3.4)"
    assert found["program triage"]["found"] == "programs/triage/program.toml"
    assert "test" in found["dataset of triage"]["found"]
    assert "secret-value" not in json.dumps(found)


def test_a_missing_key_names_the_variable(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY_OF_DOCTOR", raising=False)
    code, found = rows(run, "--budget", "cloud.toml")
    assert code == 2
    assert found["lane cloud"]["status"] == "fail"
    assert "TEST_KEY_OF_DOCTOR" in found["lane cloud"]["fix"]


def test_a_fix_stands_under_its_row(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY_OF_DOCTOR", raising=False)
    code, out, _err = run("doctor", "--budget", "cloud.toml")
    lines = out.splitlines()
    (row,) = [number for number, line in enumerate(lines) if line.startswith("FAIL")]
    assert code == 2
    assert "lane cloud" in lines[row]
    assert lines[row + 1].strip().startswith("fix: export TEST_KEY_OF_DOCTOR=")
    assert lines[-1] == "1 to fix"


def test_a_broken_config_and_program_are_rows(run: Run, here: Path) -> None:
    (here / "bad.toml").write_text("[run]\nsede = 1\n", encoding="utf-8")
    (here / "program.toml").write_text("name = 1\n", encoding="utf-8")
    code, found = rows(run, "--budget", "bad.toml", "--program", "program.toml")
    assert code == 2
    assert found["config"]["found"].startswith("bad.toml:2:1: `sede` is not a key")
    assert found["config"]["fix"] == "did you mean `seed`?"
    assert "(and 1 more)" in found["program program.toml"]["found"]


def test_a_dataset_that_is_not_there_names_the_command(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY_OF_DOCTOR", "x")
    assert run("init", ".")[0] == 0
    code, found = rows(run, "--budget", "cloud.toml")
    assert code == 0
    assert found["dataset of triage"]["status"] == "warn"
    assert found["dataset of triage"]["fix"] == (
        "oacompile extract SESSIONS --program programs/triage --out datasets/triage"
    )


def test_missing_weights_name_the_file(run: Run, here: Path) -> None:
    (here / "local.toml").write_text(
        '[lanes.local]\nkind = "embedded"\nmodel = "gone.gguf"\n[stages.compile]\ntask = "local"\n',
        encoding="utf-8",
    )
    code, found = rows(run, "--budget", "local.toml")
    assert code == 2
    assert "gone.gguf" in found["lane local"]["found"]


def test_packages_out_of_range_and_missing(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "orjson":
            raise importlib.metadata.PackageNotFoundError(name)
        return "3.5.0rc1" if name == "dspy" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, found = rows(run, "--budget", "cloud.toml")
    assert code == 2
    assert found["package dspy"]["found"] == "3.5.0rc1, needs <3.5,>=3.4"
    assert found["package orjson"]["fix"] == "pip install 'orjson>=3.10'"


@pytest.mark.parametrize(
    ("version", "bounds", "holds"),
    [
        ("3.4.1", ">=3.4,<3.5", True),
        ("3.5.0", "<3.5,>=3.4", False),
        ("3.10.0", ">=3.9", True),
        ("2026.10.11549", ">=2026.10", True),
        ("0.45.1", ">=0.45,<0.46", True),
        ("26.6.9", ">=26.6", True),
        ("3.15.0a1", ">=3.11,<3.15", False),
        ("1.0", "", True),
        ("1.0", "==1.0.0", True),
        ("1.0", "!=1.0", False),
    ],
)
def test_version_bounds(version: str, bounds: str, holds: bool) -> None:
    assert checks.satisfies(version, bounds) is holds


def test_doctor_loads_no_model_and_no_heavy_package(here: Path) -> None:
    code = """
import json, sys
from oa_compile.cli.main import main
main(["doctor", "--budget", "cloud.toml"])
heavy = ("dspy", "litellm", "optuna", "xllamacpp", "scipy", "nostr_sdk", "pyln")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    done = python(code, cwd=here)
    assert json.loads(done.stdout.splitlines()[-1]) == []
