"""The benchmark of extract runs, finds the same calls whoever looks for them, and says all its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RATIOS = {"vs_orjson_limit", "vs_duckdb", "vs_duckdb_objects", "vs_duckdb_paired", "whole_vs_limit"}
SPEEDS = {"orjson_mb_s", "ours_mb_s", "duckdb_mb_s", "extract_mb_s"}
NOT_EVERYWHERE = {"vs_jq", "jq_mb_s", "scaling", "scaling_by_cpu"}


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What a small run prints; it ends well only if all found the same calls."""
    command = [sys.executable, "benchmarks/extract.py", "--size", "1000000", "--rounds", "1", "--shipped"]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.timeout(120)
def test_the_last_line_holds_every_figure(told: list[str]) -> None:
    figures = json.loads(told[-1])
    assert set(figures) == RATIOS | SPEEDS | NOT_EVERYWHERE | {"peak_mb"}
    assert all(figures[name] > 0 for name in RATIOS | SPEEDS)
    assert all(figures[name] is None or figures[name] > 0 for name in NOT_EVERYWHERE)
    assert figures["peak_mb"] < 400


@pytest.mark.timeout(120)
def test_it_says_what_was_found_and_what_is_missed(told: list[str]) -> None:
    text = "\n".join(told)
    logs = sorted((ROOT / "datasets" / "tool-selection" / "sessions").glob("*.jsonl"))
    calls = sum(log.read_text("utf-8").count('"type":"tool_use"') for log in logs)
    assert f"grown from {len(logs)} shipped logs" in text
    assert f"{calls:,} tool calls each, {calls:,} of them with a result" in text
    figures = json.loads(told[-1])
    for name, holds in (
        ("vs_orjson_limit", figures["vs_orjson_limit"] >= 0.6),
        ("vs_duckdb", figures["vs_duckdb"] > 1),
        ("peak_mb", figures["peak_mb"] < 400),
    ):
        (line,) = [line for line in told[:-1] if line.startswith(f"{name} ")]
        assert line.endswith("yes" if holds else "MISSED")
