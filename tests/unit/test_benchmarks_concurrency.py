"""The benchmark of concurrency runs, at a tiny size: the same program, and its last line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_ours_ends_with_stocks_program_and_tells_its_figures() -> None:
    command = [sys.executable, "benchmarks/concurrency.py", "--examples", "8", "--latency", "0.001"]
    done = subprocess.run([*command, "--threads", "4"], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:-1]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        (optimizer, peer, "yes") for optimizer in ("miprov2", "copro", "gepa") for peer in ("stock", "ours")
    ]
    figures = json.loads(done.stdout.splitlines()[-1])
    names = {"miprov2", "copro", "gepa"}
    assert set(figures) == names | {f"stock_{name}" for name in names}
    assert all(value > 0 for value in figures.values())
