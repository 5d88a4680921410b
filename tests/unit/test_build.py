"""Lanes from a config: only what is named, with the keys that are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.errors import DigestMismatch, UsageError
from oa_compile.events import Attempt, PhaseStarted, RunStarted
from oa_compile.journal import Journal
from oa_compile.lanes.build import build_lanes
from oa_compile.lanes.fallback import FallbackLane
from oa_compile.lanes.litellm import LiteLLMLane
from oa_compile.lanes.recorded import RecordedLane
from oa_compile.spec.config import Config
from tests.support.accounts import RecordingAccount

ASKED = ChatRequest(messages=(ChatMessage("user", "hi"),))
HOSTED = {"kind": "litellm", "model": "openai/gpt-4o-mini"}


def config(**lanes: dict[str, Any]) -> Config:
    return Config.model_validate({"lanes": lanes, "stages": {"compile": {"task": next(iter(lanes))}}})


def keys(**held: str) -> Callable[[str], str | None]:
    """A source of secrets that has only `held`."""
    return held.get


def write_journal(folder: Path) -> Path:
    path = folder / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(
            RunStarted(
                command="optimize",
                run="r1",
                program="p",
                inputs={},
                lanes={"local": "embedded:smollm2"},
                settings={},
                versions={},
            )
        )
        answer = ChatAnswer(text="bash")
        common = {"lane": "local", "stage": "compile", "role": "task", "outcome": "ok"}
        journal.append(Attempt(hold=1, key="sha256:k", request=ASKED, answer=answer, **common))
    return path


def test_only_the_named_lanes_are_built() -> None:
    wanted = config(swarm=HOSTED, premium={**HOSTED, "api_key_env": "NOT_THERE"})
    lanes = build_lanes(wanted, ["swarm"], secrets=keys(OPENAI_API_KEY="k"))
    assert list(lanes) == ["swarm"]
    assert isinstance(lanes["swarm"], LiteLLMLane)


def test_a_fallback_brings_its_members_and_shares_them() -> None:
    wanted = config(
        either={"kind": "fallback", "lanes": ["a", "b"]},
        a={**HOSTED, "api_base": "http://127.0.0.1:1/v1"},
        b={**HOSTED, "api_base": "http://127.0.0.1:2/v1"},
        c=HOSTED,
    )
    lanes = build_lanes(wanted, ["either", "b"], secrets=keys())
    assert sorted(lanes) == ["a", "b", "either"]
    either = lanes["either"]
    assert isinstance(either, FallbackLane)
    assert either.members == (lanes["a"], lanes["b"])


@pytest.mark.parametrize(
    ("lane", "variable"),
    [
        ({**HOSTED, "api_key_env": "MY_KEY"}, "MY_KEY"),
        (HOSTED, "OPENAI_API_KEY"),
        ({**HOSTED, "model": "gpt-4o-mini"}, "OPENAI_API_KEY"),
        ({**HOSTED, "model": "anthropic/claude-sonnet-4-5"}, "ANTHROPIC_API_KEY"),
        ({**HOSTED, "api_base": "http://gpu.lan/v1", "api_key_env": "GPU_KEY"}, "GPU_KEY"),
    ],
)
def test_a_missing_key_is_named(lane: dict[str, Any], variable: str) -> None:
    for secrets in (keys(), keys(**{variable: ""})):
        with pytest.raises(UsageError, match=rf"`swarm`.*{variable}") as missing:
            build_lanes(config(swarm=lane), ["swarm"], secrets=secrets)
        assert variable in missing.value.hint
    assert build_lanes(config(swarm=lane), ["swarm"], secrets=keys(**{variable: "k"}))


def test_a_server_of_one_s_own_needs_no_key() -> None:
    for lane in (
        {**HOSTED, "api_base": "http://127.0.0.1:1/v1"},
        {"kind": "litellm", "model": "ollama/llama3"},
    ):
        assert build_lanes(config(swarm=lane), ["swarm"], secrets=keys(OPENAI_API_KEY="not to be sent"))


def test_a_key_never_shows() -> None:
    lanes = build_lanes(config(swarm=HOSTED), ["swarm"], secrets=keys(OPENAI_API_KEY="sk-hidden"))
    assert "sk-hidden" not in f"{lanes!r} {lanes['swarm'].identity}"


@pytest.mark.parametrize("of_the_folder", [True, False])
def test_a_recorded_lane_reads_its_journal(tmp_path: Path, of_the_folder: bool) -> None:
    path = write_journal(tmp_path)
    spec = {"kind": "recorded", "journal": str(tmp_path if of_the_folder else path), "lane": "local"}
    played = build_lanes(config(played=spec), ["played"], secrets=keys())["played"]
    assert isinstance(played, RecordedLane)
    assert played.identity == "embedded:smollm2"  # so that keys come out as they were recorded
    assert played.complete(ASKED, RecordingAccount(key="sha256:k")).text == "bash"


def test_a_recorded_lane_that_is_not_in_the_journal(tmp_path: Path) -> None:
    spec = {"kind": "recorded", "journal": str(write_journal(tmp_path)), "lane": "premium"}
    with pytest.raises(UsageError, match="no lane `premium`") as missing:
        build_lanes(config(played=spec), ["played"], secrets=keys())
    assert "local" in missing.value.hint


def test_a_journal_without_its_start_has_no_lanes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(PhaseStarted(phase="search"))
    spec = {"kind": "recorded", "journal": str(path), "lane": "local"}
    with pytest.raises(UsageError, match="no lane `local`"):
        build_lanes(config(played=spec), ["played"], secrets=keys())
    path.write_text('{"not": "a line"}\n')
    with pytest.raises(DigestMismatch):
        build_lanes(config(played=spec), ["played"], secrets=keys())


def test_an_unknown_lane_is_said_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no lane `premium`") as unknown:
        build_lanes(config(swarm=HOSTED), ["premium"], secrets=keys())
    assert "swarm" in unknown.value.hint


def test_what_was_built_is_closed_when_the_rest_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(LiteLLMLane, "close", lambda self: closed.append(self.name))
    wanted = config(swarm={**HOSTED, "api_base": "http://127.0.0.1:1/v1"}, premium=HOSTED)
    with pytest.raises(UsageError):
        build_lanes(wanted, ["swarm", "premium"], secrets=keys())
    assert closed == ["swarm"]


def test_importing_the_builder_imports_no_lane_s_library() -> None:
    code = (
        "import sys, oa_compile.lanes.build\n"
        "heavy = {'dspy', 'litellm', 'openai', 'xllamacpp', 'numpy', 'oa_compile.lanes.litellm'}\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
