"""The contract of a sandbox: a job in, what became of it out.

A job that fails, runs too long or takes too much is a result. A sandbox that breaks is a SandboxError: it
says nothing about the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, Protocol

from oa_compile.errors import UsageError

RunStatus = Literal["success", "failed", "timeout"]

Exceeded = Literal["", "seconds", "memory", "processes", "output"]
"""The limit that ended a job. One that the job itself is told of (CPU, file size) ends in its own way."""

WORK = PurePosixPath("/job")
"""The job's folder, and its home."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may take. Bytes and seconds."""

    seconds: float = 30.0
    cpu_seconds: int = 30
    memory: int = 1 << 30
    processes: int = 64
    file: int = 32 << 20
    disk: int = 128 << 20
    output: int = 256 << 10


@dataclass(frozen=True, slots=True)
class Job:
    """A command and the files it finds in its folder, by relative path. Raises UsageError for a path that
    leaves the folder.
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not self.argv:
            raise UsageError("a job without a command")
        for name in self.files:
            path = PurePosixPath(name)
            if not name or "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts:
                raise UsageError(f"a file cannot be put at {name!r} in the sandbox: not a path inside it")


@dataclass(frozen=True, slots=True)
class SandboxRun:
    """What became of a job. `exit_code` is 128 + n for signal n; outputs are what was kept of them."""

    argv: tuple[str, ...]
    status: RunStatus
    exit_code: int
    seconds: float
    stdout: bytes
    stderr: bytes
    exceeded: Exceeded = ""
    cut: bool = False
    """Whether there was more output than is kept."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with 0."""
        return self.status == "success"


class Sandbox(Protocol):
    """Runs jobs, from any thread."""

    name: str

    def run(self, job: Job) -> SandboxRun:
        """Run a job to its end. Raises SandboxError when it could not be run."""
