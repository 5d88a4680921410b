"""A small project and the ways it can be broken: pure data, written out by the agent's workshop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "operator", "off_by_one", "import", "return", "arguments", "key", "edge_case", "typo", "order", "constant"
]


@dataclass(frozen=True, slots=True)
class Bug:
    """One way to break a project: in `path`, `right` became `wrong` inside `function`.

    `cause` ends a sentence about it ("… `total` <cause>").
    """

    kind: Kind
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

    def module_of(self, function: str) -> str:
        """The dotted module that defines `function`."""
        for path, source in self.files.items():
            if not path.startswith("tests/") and f"def {function}(" in source:
                return path.removesuffix(".py").replace("/", ".")
        raise ValueError(f"{self.name}: nothing defines {function}")

    def test_file_of(self, function: str) -> str:
        """The test file that mentions `function`."""
        for path, source in sorted(self.files.items()):
            if path.startswith("tests/") and function in source:
                return path
        raise ValueError(f"{self.name}: no test mentions {function}")

    def callers_of(self, function: str) -> list[str]:
        """Other source files that mention `function`."""
        home = self.module_of(function).replace(".", "/") + ".py"
        return [
            path
            for path, source in sorted(self.files.items())
            if path.endswith(".py") and path != home and not path.startswith("tests/") and function in source
        ]
