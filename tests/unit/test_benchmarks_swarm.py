"""The benchmark of the swarm runs, checks every answer and every journal, and says all its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = [
    "ours",
    "ours_encrypted",
    "result_first",
    "pay_first",
    "tab",
    "nostr_sdk",
    "nostr_sdk_customer",
    "echo",
]
RATIOS = [
    "vs_nostr_sdk_client",
    "vs_nostr_sdk_customer",
    "p50_ms_1",
    "paid_vs_unpaid",
    "tab_vs_unpaid",
    "encrypted_vs_unpaid",
]


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What a small run prints; it ends well only if every result was verified and the books are right."""
    command = [sys.executable, "benchmarks/swarm.py", "--small"]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.timeout(120)
def test_the_last_line_holds_every_figure(told: list[str]) -> None:
    figures = json.loads(told[-1])
    for name in RATIOS:
        assert figures.pop(name) > 0
    assert set(figures) == {
        f"{peer}_{figure}_{at_once}"
        for peer in PEERS
        for figure in ("jobs_per_s", "p50_ms", "p99_ms")
        for at_once in (1, 64)
    }
    for peer in PEERS:
        for at_once in (1, 64):
            assert 0 < figures[f"{peer}_p50_ms_{at_once}"] <= figures[f"{peer}_p99_ms_{at_once}"]


@pytest.mark.timeout(120)
def test_it_says_where_the_time_goes_and_what_is_missed(told: list[str]) -> None:
    text = "\n".join(told)
    for step in ("sign an event", "verify an event", "fsync", "the wallet", "relay", "CPU ms a job"):
        assert step in text
    figures = json.loads(told[-1])
    for name, holds in (
        ("vs_nostr_sdk_client", figures["vs_nostr_sdk_client"] >= 3),
        ("p50_ms_1", figures["p50_ms_1"] < 3),
        ("paid_vs_unpaid", figures["paid_vs_unpaid"] >= 0.5),
    ):
        (line,) = [line for line in told[:-1] if line.startswith(name)]
        assert line.endswith("yes" if holds else "MISSED")
