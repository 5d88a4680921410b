"""The benchmark of calls runs, and counts what it says it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_same_search_ends_alike_and_pays_less_at_two_predictors() -> None:
    command = [sys.executable, "benchmarks/calls.py", "--examples", "8", "--optimizers", "gepa", "miprov2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # it ends with 1 where the programs differ
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {"saved_gepa", "saved_gepa_1", "saved_miprov2", "saved_miprov2_1"}
    assert figures["saved_gepa"] > 0
    assert figures["saved_miprov2"] > 0
    rows = [line.split() for line in done.stdout.splitlines()[1:-1]]
    for optimizer, steps, stock, ours, *_ in rows:
        name = f"saved_{optimizer}" + ("_1" if steps == "1" else "")
        made, kept = int(stock.replace(",", "")), int(ours.replace(",", ""))
        assert abs(figures[name] - (1 - kept / made)) < 0.001
