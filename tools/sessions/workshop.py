"""The workshop: a real folder and the tools that really work in it.

Owns running commands and touching files, and making their output repeatable: the folder's path becomes
``/repo/<project>``, durations and addresses become fixed. Nothing else about an output is changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_DURATION = re.compile(r"\bin \d+\.\d+s\b")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_SETTINGS = '[tool.pytest.ini_options]\naddopts = "-q -p no:cacheprovider --tb=short"\npythonpath = ["."]\n'


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool gave back."""

    text: str
    is_error: bool = False


class Workshop:
    """A project's files on disk, and the agent's six tools. Paths are relative to the project."""

    def __init__(self, root: Path, *, name: str, files: dict[str, str]) -> None:
        self._root = root
        self.home = f"/repo/{name}"
        for path, text in {**files, "pyproject.toml": _SETTINGS}.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def text(self, path: str) -> str:
        """A file's content."""
        return (self._root / path).read_text()

    def read(self, path: str) -> Output:
        """The file with line numbers, as agents' tools show it."""
        lines = self.text(path).split("\n")
        return Output("\n".join(f"{n:6}\t{line}" for n, line in enumerate(lines, start=1)))

    def edit(self, path: str, old: str, new: str) -> Output:
        """Replace one occurrence."""
        content = self.text(path)
        if content.count(old) != 1:
            return Output(f"String to replace found {content.count(old)} times in file.", is_error=True)
        (self._root / path).write_text(content.replace(old, new))
        return Output(f"The file {self.home}/{path} has been updated.")

    def write(self, path: str, text: str) -> Output:
        """Create a file."""
        (self._root / path).write_text(text)
        return Output(f"File created successfully at: {self.home}/{path}")

    def bash(self, command: str) -> Output:
        """Run a shell command in the project; a failing one is an error, as agents' tools report it."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._root,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
                "LC_ALL": "C.UTF-8",
                "COLUMNS": "100",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONHASHSEED": "0",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        text = self._repeatable(done.stdout.rstrip("\n"))
        if done.returncode:
            return Output(f"Exit code {done.returncode}\n{text}", is_error=True)
        return Output(text)

    def grep(self, pattern: str, folder: str) -> Output:
        """Lines that match, as ``file:line:text``."""
        wanted = re.compile(pattern)
        hits = [
            f"{path}:{number}:{line}"
            for path in self._files(folder)
            for number, line in enumerate(self.text(path).split("\n"), start=1)
            if wanted.search(line)
        ]
        return Output("\n".join(hits) or "No matches found")

    def glob(self, pattern: str) -> Output:
        """Files that match, as absolute paths."""
        paths = sorted(p.relative_to(self._root).as_posix() for p in self._root.glob(pattern) if p.is_file())
        return Output("\n".join(f"{self.home}/{path}" for path in paths) or "No files found")

    def _files(self, folder: str) -> list[str]:
        paths = (self._root / folder).rglob("*.py")
        return sorted(path.relative_to(self._root).as_posix() for path in paths)

    def _repeatable(self, text: str) -> str:
        for place, name in ((str(self._root), self.home), (sys.prefix, "/usr"), (sys.base_prefix, "/usr")):
            text = text.replace(place, name)
        return _ADDRESS.sub("0x0", _DURATION.sub("in 0.00s", text))
