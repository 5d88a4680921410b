"""docs/ci.md: the workflow is YAML, and every command in it is there, with those options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from oa_compile.errors import ExitCode
from oa_compile.spec.promotion import PromotionSpec

PAGE = (Path(__file__).parents[2] / "docs" / "ci.md").read_text()
WORKFLOW: dict[Any, Any] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[0])
STEPS = WORKFLOW["jobs"]["compile-and-judge"]["steps"]
COMMANDS = [step["run"] for step in STEPS if step.get("run", "").startswith("oacompile ")]


def test_the_workflow_compiles_judges_and_stages() -> None:
    assert [shlex.split(command)[1] for command in COMMANDS] == ["doctor", "optimize", "validate", "promote"]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_options_are_there(command: str) -> None:
    _, name, *rest = shlex.split(command)
    helped = subprocess.run(
        [sys.executable, "-m", "oa_compile", name, "--help"], capture_output=True, text=True, check=True
    )
    for option in (word for word in rest if word.startswith("--")):
        assert option in helped.stdout, option


def test_the_table_has_the_exit_codes_there_are() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d) \|", PAGE, flags=re.MULTILINE)}
    assert told == {int(code) for code in ExitCode} - {int(ExitCode.BUG), int(ExitCode.INTERRUPTED)}


def test_the_defaults_it_names_are_the_defaults() -> None:
    told = dict(re.findall(r"`(min_\w+)` ([\d.]+)", PAGE))
    assert {name: float(value) for name, value in told.items()} == {
        name: float(value) for name, value in PromotionSpec() if name.startswith("min_")
    }
