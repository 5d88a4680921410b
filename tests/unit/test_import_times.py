"""What a command imports decides how fast it answers; `tests/cli` holds the same of the first commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("dspy", "litellm", "nostr_sdk", "pyln", "optuna", "xllamacpp", "scipy", "numpy")


def loaded(code: str) -> set[str]:
    """Heavy packages that are there after `code` ran in an interpreter of its own."""
    tell = f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}\n{tell}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_of_any_command_imports_nothing_heavy() -> None:
    code = """
from oa_compile.cli import app
from oa_compile.cli.main import main
assert {"optimize", "validate", "replay", "diff", "doctor"} <= set(app.ENTRIES)
for name in app.ENTRIES:
    assert main([name, "--help"]) == 0
"""
    assert loaded(code) == set()


@pytest.mark.parametrize(
    "module",
    ["oa_compile.spec.load", "oa_compile.journal", "oa_compile.hud.terminal", "oa_compile.lanes.build"],
)
def test_reading_specs_and_journals_imports_nothing_heavy(module: str) -> None:
    assert loaded(f"import {module}") == set()


def test_the_loop_imports_dspy_and_no_lane_s_sdk() -> None:
    """litellm takes six seconds, and is imported by its lane when it sends its first call."""
    code = "import oa_compile.optimize.driver, oa_compile.validate.runner, oa_compile.replay.player"
    assert "dspy" in loaded(code)
    assert not loaded(code) & {"litellm", "xllamacpp", "nostr_sdk", "pyln", "optuna"}
