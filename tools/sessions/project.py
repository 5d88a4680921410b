"""The small projects under ``datasets/tool-selection/projects`` and the ways each can be broken.

A project is a folder of working source files with tests, and ``bugs.toml``: the project's subject and,
for each bug, which text of which file becomes which other text.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

BUGS = "bugs.toml"


@dataclass(frozen=True, slots=True)
class Bug:
    """One way to break a project: in `path`, `right` became `wrong`, and `function` no longer works.

    `cause` ends a sentence about it ("… `function` <cause>").
    """

    kind: str
    path: str
    function: str
    right: str
    wrong: str
    cause: str


@dataclass(frozen=True, slots=True)
class Project:
    """A working project: files by path, the subject in two or three words, and its bugs."""

    name: str
    subject: str
    files: dict[str, str]
    bugs: tuple[Bug, ...]

    def broken(self, bug: Bug) -> dict[str, str]:
        """The project's files with `bug` in them. Raises ValueError when the bug does not fit."""
        source = self.files[bug.path]
        if source.count(bug.right) != 1:
            raise ValueError(f"{self.name}: {bug.right!r} is not in {bug.path} exactly once")
        return {**self.files, bug.path: source.replace(bug.right, bug.wrong)}

    def home_of(self, function: str) -> str:
        """The source file that defines `function`."""
        return self._first(f"def {function}(", tests=False)

    def test_file_of(self, function: str) -> str:
        """The test file that mentions `function`."""
        return self._first(function, tests=True)

    def callers_of(self, function: str) -> list[str]:
        """Other source files that mention `function`."""
        home = self.home_of(function)
        return [p for p in self._paths(tests=False) if p != home and function in self.files[p]]

    def _first(self, text: str, *, tests: bool) -> str:
        for path in self._paths(tests=tests):
            if text in self.files[path]:
                return path
        raise ValueError(f"{self.name}: no file has {text!r}")

    def _paths(self, *, tests: bool) -> list[str]:
        return sorted(p for p in self.files if p.endswith(".py") and p.startswith("tests/") is tests)


def load_projects(folder: Path) -> tuple[Project, ...]:
    """All projects in `folder`, by name."""
    return tuple(_load(path) for path in sorted(folder.iterdir()) if (path / BUGS).is_file())


def _load(folder: Path) -> Project:
    body = tomllib.loads((folder / BUGS).read_text())
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.py"))}
    bugs = tuple(Bug(**entry) for entry in body["bug"])
    return Project(folder.name, body["subject"], files, bugs)
