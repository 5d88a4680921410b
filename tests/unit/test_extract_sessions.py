"""The shipped sessions can be recorded again: every project breaks as told, and the agent does the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools.sessions.__main__ import DATASET, FOLDER, record
from tools.sessions.project import Bug, Project, load_projects
from tools.sessions.voice import INTENTS, REMARKS

PROJECTS = load_projects(DATASET / "projects")
JOBS = [
    (project, bug, f"{project.name}-{number}-{bug.kind.replace('_', '-')}")
    for project in PROJECTS
    for number, bug in enumerate(project.bugs, start=1)
]


def steps(path: Path) -> list[object]:
    """What the agent said, and the tools it used with which arguments."""
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    return [body["message"]["content"] for body in bodies if body["type"] == "assistant"]


def test_there_is_one_session_for_each_bug() -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == {session for _, _, session in JOBS}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_every_bug_fits_its_project(project: Project) -> None:
    for bug in project.bugs:
        broken = project.broken(bug)
        assert broken[bug.path] != project.files[bug.path]
        assert project.home_of(bug.function) in project.files
        assert project.test_file_of(bug.function).startswith("tests/")


@pytest.mark.parametrize(("project", "bug", "session"), [JOBS[0], JOBS[-1]], ids=["first", "last"])
def test_recording_again_gives_the_same_steps(
    project: Project, bug: Bug, session: str, tmp_path: Path
) -> None:
    record(project, bug, session=session, folder=tmp_path)
    assert steps(tmp_path / f"{session}.jsonl") == steps(FOLDER / f"{session}.jsonl")


def test_nothing_of_the_recording_machine_is_in_the_sessions() -> None:
    for path in FOLDER.glob("*.jsonl"):
        text = path.read_text()
        for trace in (
            "/tmp/",
            "/home/",
            f"{FOLDER.parents[2]}/",
            *({sys.prefix, sys.base_prefix} - {"/usr"}),
        ):
            assert trace not in text, f"{path.name} holds {trace}"


def test_sessions_end_with_passing_tests() -> None:
    for path in FOLDER.glob("*.jsonl"):
        results = [json.loads(line) for line in path.read_text().splitlines()]
        last = [r for r in results if r["type"] == "user"][-1]["message"]["content"][0]["content"]
        assert " passed" in last
        assert "failed" not in last


def test_the_wordings_of_one_intent_are_many_and_distinct() -> None:
    for phrases in (*INTENTS.values(), *REMARKS.values()):
        assert len(phrases) == len(set(phrases)) >= 5
