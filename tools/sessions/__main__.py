"""``python -m tools.sessions``: record all shipped sessions into ``datasets/tool-selection/sessions``."""

from __future__ import annotations

import logging
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.sessions.agent import Agent
from tools.sessions.project import Bug, Project, load_projects
from tools.sessions.recorder import Recorder
from tools.sessions.workshop import Workshop

SEED = 20260101
DATASET = Path(__file__).parents[2] / "datasets" / "tool-selection"
FOLDER = DATASET / "sessions"


def record(project: Project, bug: Bug, *, session: str, folder: Path) -> int:
    """Work on one broken project and write its session; returns the bytes written."""
    files = {
        **project.broken(bug),
        "README.md": f"# {project.name}\n\n{project.subject.capitalize()}.\n\nTests: `python -m pytest`.\n",
    }
    with tempfile.TemporaryDirectory() as temporary:
        workshop = Workshop(Path(temporary).resolve(), name=project.name, files=files)
        recorder = Recorder(session, cwd=workshop.home)
        rng = random.Random(f"{SEED}:{session}")
        Agent(project, bug, workshop=workshop, recorder=recorder, rng=rng).work()
    return recorder.save(folder)


def main(folder: Path = FOLDER) -> None:
    """Record every bug of every project."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jsonl"):
        old.unlink()
    jobs = [
        (project, bug, f"{project.name}-{number}-{bug.kind.replace('_', '-')}")
        for project in load_projects(DATASET / "projects")
        for number, bug in enumerate(project.bugs, start=1)
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        sizes = list(pool.map(lambda job: record(job[0], job[1], session=job[2], folder=folder), jobs))
    logging.getLogger(__name__).info("%d sessions, %d bytes in %s", len(sizes), sum(sizes), folder)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
