"""The shipped projects, by domain."""

from __future__ import annotations

from tools.sessions.project import Project
from tools.sessions.projects import money, structures, text, time, web

PROJECTS: tuple[Project, ...] = (
    *money.PROJECTS,
    *text.PROJECTS,
    *time.PROJECTS,
    *structures.PROJECTS,
    *web.PROJECTS,
)
