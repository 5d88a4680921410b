"""``config show`` and ``schema``, and how diagnostics look."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oa_compile.spec.schema import json_schema
from tests.support.cli import check_golden, oacompile

Run = Callable[..., tuple[int, str, str]]

BAD_CONFIG = """\
schema_version = 1
seed = 7

[run]
threads = "4"

[budget]
cost = "5 euros"

[lanes.cheap]
kind = "litelm"

[lanes.local]
kind = "embedded"
instanses = 2

[stages.compile]
task = "local"
"""

BAD_PROGRAM = """\
name = "Issue Triage"
descripton = "Sort issues"

[signature]
instructions = ""
inputs = [{ name = "title" }]
outputs = [{ name = "label", type = "enumeration", values = ["bug", "docs"] }]

[[metrics]]
kind = "exactmatch"
field = "label"
weight = -1
"""


def test_every_value_is_shown_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.oacompile.run]\nthreads = 3\n", encoding="utf-8")
    (tmp_path / "budget.toml").write_text("[budget]\ncalls = 10\n[run]\nseed = 1\n", encoding="utf-8")
    env = {"OACOMPILE_RUN__SEED": "7"}
    done = oacompile("config", "show", "--budget", "budget.toml", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout.replace(str(tmp_path), "<here>")
    check_golden("config_show.txt", text)


def test_the_settings_as_json(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "budget.toml").write_text("[budget]\ncalls = 10\n", encoding="utf-8")
    code, out, err = run("config", "show", "--budget", "budget.toml", "--json")
    shown = json.loads(out)
    assert (code, err) == (0, "")
    assert shown["digest"].startswith("sha256:")
    assert shown["settings"]["budget.calls"] == {"value": 10, "layer": "file", "source": "budget.toml:2"}
    assert shown["settings"]["budget.cost"] == {"value": None, "layer": "default", "source": "default"}


def test_all_problems_of_a_config_are_told(tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text(BAD_CONFIG, encoding="utf-8")
    env = {"OACOMPILE_GATES__ALPHA": "2"}
    done = oacompile("config", "show", "--budget", "budget.toml", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    check_golden("bad_config.txt", done.stderr)


def test_all_problems_of_a_program_are_told(tmp_path: Path) -> None:
    (tmp_path / "program.toml").write_text(BAD_PROGRAM, encoding="utf-8")
    done = oacompile("extract", "logs", "--program", "program.toml", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    check_golden("bad_program.txt", done.stderr)


@pytest.mark.parametrize("name", ["program", "config"])
def test_schema_prints_the_schema(run: Run, name: str) -> None:
    code, out, err = run("schema", name)
    assert (code, err) == (0, "")
    assert json.loads(out) == json_schema(name)
