"""The path as a user types it: optimize, validate, replay, diff, through the real script, real litellm
and a real HTTP server, with the exit code of every way it can end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oa_compile.chat import ChatMessage, ChatRequest
from tests.support import world
from tests.support.cli import SCRIPT, environment, oacompile
from tests.support.openai_server import OpenAIServer, held, status

pytestmark = pytest.mark.xdist_group("loop")

CONFIG = """\
schema_version = 1

[run]
threads = 4

{budget}

[lanes.api]
kind = "litellm"
model = "openai/gpt-4o-mini"
api_base = "{base}"
api_key_env = "LOOP_KEY"
attempts = 2
price = {{ input = 1.0, output = 2.0 }}

[stages.compile]
task = "api"

[optimizer]
name = "miprov2"

[optimizer.miprov2]
num_candidates = 3
num_trials = 3

[optimizer.copro]
breadth = 2
depth = 2

[optimizer.gepa]
max_metric_calls = 40

{gates}
"""
KEY = {"LOOP_KEY": "sk-loop-secret-0123456789"}


def rule(body: dict[str, Any]) -> str:
    """The world's rule, behind HTTP."""
    messages = tuple(ChatMessage(m["role"], m["content"]) for m in body["messages"])
    return world.answer(ChatRequest(messages), json.dumps(body, sort_keys=True))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer=rule) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: OpenAIServer) -> Path:
    return make_project(tmp_path, server)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, OpenAIServer]]:
    """A project with a compile that ran to its end; importing litellm costs seconds, so it is shared."""
    with OpenAIServer(answer=rule) as running:
        project = make_project(tmp_path_factory.mktemp("finished"), running)
        made = optimize(project)
        assert made.returncode == 0, made.stderr
        (project / "made.json").write_text(made.stdout)
        (project / "made.txt").write_text(made.stderr)
        yield project, running


@pytest.fixture
def copied(finished: tuple[Path, OpenAIServer], tmp_path: Path) -> Path:
    """The finished project, to change at will."""
    shutil.copytree(finished[0], tmp_path / "copied")
    return tmp_path / "copied"


def make_project(folder: Path, server: OpenAIServer) -> Path:
    world.make_dataset(folder / "dataset", train=10, val=8, test=8)
    program = world.make_program(folder / "program")
    spec = program / "program.toml"
    spec.write_text(spec.read_text().replace('name = "colours"', 'name = "colours"\ndataset = "../dataset"'))
    write_config(folder, server)
    return folder


def write_config(project: Path, server: OpenAIServer, *, budget: str = "", gates: str = "") -> None:
    (project / "config.toml").write_text(CONFIG.format(base=server.base_url, budget=budget, gates=gates))


def optimize(project: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return oacompile(
        "optimize", "program", "--budget", "config.toml", "--run", "r", "--json", *more, cwd=project, env=KEY
    )


def test_the_whole_path_ends_well_and_stdout_is_data(finished: tuple[Path, OpenAIServer]) -> None:
    project, server = finished
    result = json.loads((project / "made.json").read_text())
    assert result["status"] == "complete"
    assert result["calls"]["made"] == len(server.seen) > 0

    judged = oacompile("validate", "r", "--output-format", "json", cwd=project, env=KEY)
    verdict = json.loads(judged.stdout)
    assert judged.returncode == 0, judged.stderr
    assert verdict["n"] == 8
    assert verdict["cost"]["spent"]["msat"] > 0
    sent = len(server.seen)

    again = oacompile("validate", "latest", "--json", cwd=project, env=KEY)
    assert json.loads(again.stdout)["sentence"] == verdict["sentence"]
    replayed = oacompile("replay", "runs/r/bundle.zip", "--json", cwd=project)
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["replayed"] == result["digest"]
    assert len(server.seen) == sent, "a second validation and a replay make no call"

    shown = oacompile("diff", "r", "--json", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["a"]["origin"] == "the program as written"
    everything = "".join(p.read_text(errors="replace") for p in project.rglob("*") if p.is_file())
    assert KEY["LOOP_KEY"] not in everything


def test_the_forecast_needs_no_key_and_makes_no_call(project: Path, server: OpenAIServer) -> None:
    done = oacompile("optimize", "program", "--budget", "config.toml", "--dry-run", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    forecast = json.loads(done.stdout)
    assert forecast["calls"] > 0
    assert forecast["msat"] > 0
    assert server.seen == []
    assert not (project / "runs").exists()


def test_a_reached_cap_is_exit_3_with_the_best_so_far_and_resumes(
    project: Path, server: OpenAIServer
) -> None:
    write_config(project, server, budget="[budget]\ncalls = 20")
    stopped = optimize(project)
    assert stopped.returncode == 3, stopped.stderr
    result = json.loads(stopped.stdout)
    assert (result["status"], result["calls"]["made"]) == ("partial", 20)
    assert (project / result["artifact"] / "program.json").is_file()
    assert "80 % of run.calls" in stopped.stderr

    write_config(project, server, budget="[budget]\ncalls = 2000")
    resumed = oacompile(
        "optimize", "--resume", "r", "--budget", "config.toml", "--json", cwd=project, env=KEY
    )
    assert resumed.returncode == 0, resumed.stderr
    bodies = [json.dumps(seen.body, sort_keys=True) for seen in server.seen]
    assert len(bodies) == 20 + json.loads(resumed.stdout)["calls"]["made"]


def test_a_missed_gate_is_exit_1_in_every_format(finished: tuple[Path, OpenAIServer]) -> None:
    project, server = finished
    write_config(project, server, gates="[gates]\nmin_score = 1.0\nmax_cost_per_call = 1")
    for form, mark in (("text", "missed"), ("github", "::error"), ("junit", "<failure")):
        summary = project / f"summary-{form}.md"
        judged = oacompile(
            "validate", "r", "--budget", "config.toml", "--output-format", form,
            cwd=project, env=KEY | {"GITHUB_STEP_SUMMARY": str(summary)},
        )  # fmt: skip
        assert judged.returncode == 1, judged.stderr
        assert mark in judged.stdout
        assert "oacompile" in summary.read_text()


def test_a_refused_key_is_exit_4_at_once(project: Path, server: OpenAIServer) -> None:
    server.script(*[status(401) for _ in range(50)])
    done = optimize(project)
    assert done.returncode == 4, done.stderr
    assert len(server.seen) <= 4, "no more than were under way"
    assert "--resume" in json.loads(done.stdout)["next"]


def test_a_missing_key_is_exit_2_before_anything(project: Path, server: OpenAIServer) -> None:
    done = oacompile("optimize", "program", "--budget", "config.toml", "--json", cwd=project)
    assert done.returncode == 2
    assert "LOOP_KEY" in json.loads(done.stdout)["error"]["message"]
    assert server.seen == []


def test_a_changed_bundle_is_exit_5(copied: Path) -> None:
    bundle = copied / "runs" / "r" / "bundle.zip"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    assert oacompile("replay", "runs/r/bundle.zip", cwd=copied).returncode == 5
    bundle.write_bytes(data[: len(data) // 2])
    assert oacompile("replay", "runs/r/bundle.zip", cwd=copied).returncode == 5


def test_another_program_diverges_with_exit_1_and_a_diff(copied: Path) -> None:
    spec = copied / "program" / "program.toml"
    spec.write_text(spec.read_text().replace("Name the colour", "Say the colour"))
    done = oacompile("replay", "r", "--program", "program", "--json", cwd=copied)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "Divergence"
    assert "Say the colour" in error["diff"]


def test_ctrl_c_is_exit_130_and_resumes(project: Path, server: OpenAIServer) -> None:
    server.script(*[held() for _ in range(4)])
    process = subprocess.Popen(
        [str(SCRIPT), "optimize", "program", "--budget", "config.toml", "--run", "r", "--json"],
        cwd=project,
        env=environment(project, **KEY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.arrived.acquire(timeout=60), "no call was made"
    os.kill(process.pid, signal.SIGINT)
    server.release.set()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["status"] == "interrupted"
    resumed = oacompile("optimize", "--resume", "r", "--json", cwd=project, env=KEY)
    assert resumed.returncode == 0, resumed.stderr


def test_a_large_forecast_asks_first(project: Path, server: OpenAIServer) -> None:
    config = project / "config.toml"
    config.write_text(config.read_text().replace("threads = 4", "threads = 4\nconfirm_above = 1"))
    refused = optimize(project)
    assert refused.returncode == 2
    assert "--yes" in json.loads(refused.stdout)["error"]["hint"]
    assert server.seen == []
