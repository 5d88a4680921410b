"""What the makers make of ten real autopilot sessions. The 34 plans are counted by an independent script; the
other figures are what the rules gave when their labels were looked through, and hold the rules to that.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from oa_compile.extract.drafts import Draft
from oa_compile.extract.lines import Line
from oa_compile.extract.readers import autopilot
from oa_compile.extract.tally import Tally
from tests.support.steps import drafts

REAL = Path(__file__).parents[3] / "shared" / "data" / "autopilot"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the real logs are not here")


def made(maker: str, *wanted: str) -> list[Draft]:
    found: list[Draft] = []
    for path in sorted(REAL.iterdir()):
        lines = enumerate(path.read_bytes().splitlines(keepends=True), start=1)
        records = autopilot.read((Line(number, raw) for number, raw in lines), tally=Tally(path.name))
        found += drafts(records, maker, *wanted)[0]
    return found


def counted(found: list[Draft], field: str) -> Counter[str]:
    return Counter(draft.outputs[field] for draft in found)


def test_plans() -> None:
    found = made("planning")
    assert len(found) == 34
    assert all(draft.outputs["files_to_modify"] and draft.inputs["repository_summary"] for draft in found)
    assert sum("test_strategy" in draft.outputs for draft in found) == 32


def test_causes_of_failed_tests() -> None:
    assert counted(made("test_analyzer"), "root_cause") == {"BUG": 14, "TEST_ISSUE": 4}


def test_kinds_of_failed_builds() -> None:
    assert counted(made("build_analyzer"), "error_category") == {"TYPE_ERROR": 16, "IMPORT_ERROR": 3}


def test_verdicts() -> None:
    assert counted(made("solution_verifier"), "verdict") == {"PASS": 39, "RETRY": 16}


def test_actions() -> None:
    actions = counted(made("execution_strategy", "next_action"), "next_action")
    assert set(actions) == {"READ_FILE", "EDIT_FILE", "RUN_COMMAND", "COMPLETE"}
    assert actions["COMPLETE"] == 42


def test_lines_that_were_found_and_used() -> None:
    assert len(made("rlm")) == 19
