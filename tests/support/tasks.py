"""What executors are given to run in tests: functions of a module, that workers elsewhere can import."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from oa_compile.errors import BudgetExhausted, Diagnostic, SpecError, StopRun, UsageError


def square(number: int) -> int:
    """Something to compute."""
    return number * number


def scaled(table: dict[str, int], name: str) -> int:
    """With `table` bound: something that all items share."""
    return table[name]


def place(_item: object) -> tuple[int, int]:
    """The process and the thread that this runs in."""
    return os.getpid(), threading.get_ident()


def length(data: bytes) -> bytes:
    """As much back as came, through a pipe's buffer and more."""
    return data[::-1]


class Picky(Exception):
    """An exception that packs and does not open."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


ERRORS: dict[str, BaseException] = {
    "value": ValueError("no such value"),
    "usage": UsageError("not like this", hint="like that"),
    "budget": BudgetExhausted("over it", cap="run.msat", hint="more"),
    "spec": SpecError(
        "two findings", diagnostics=(Diagnostic("OAC101", "unknown-key", "what is it?", "program.toml", 3),)
    ),
    "stop": StopRun(UsageError("stopped", hint="go on")),
    "exit": SystemExit(3),
    "picky": Picky("this", "that"),
}


def failing(name: str) -> str:
    """Raises what `name` says; gives back other names."""
    if name in ERRORS:
        raise ERRORS[name]
    return name


def unpackable(item: int) -> Any:
    """A value that cannot travel for item 2."""
    return (lambda: item) if item == 2 else item


def modules(start: str) -> list[str]:
    """What this process has imported of what begins so, and of the standard library's heavy parts."""
    heavy = ("multiprocessing.pool", "concurrent.futures", "asyncio")
    return [name for name in sys.modules if name.startswith(start) or name in heavy]


def said(text: str) -> str:
    """Something on stdout, as libraries do, and back."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    os.write(1, b"from below\n")
    return text


def held(gate: Path, name: str) -> str:
    """Tells that it has begun, and then waits to be let through. See Gate."""
    with (gate / "begun").open("wb", buffering=0) as begun:
        begun.write(f"{name} {os.getpid()}\n".encode())  # below PIPE_BUF: whole, whoever else writes
    with (gate / "let").open("rb", buffering=0) as let:
        let.read(1)
    return name


def deadly(gate: Path, name: str) -> str:
    """Kills its own worker over `poison`, every time; is `held` over the rest."""
    if name == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return held(gate, name)


class Gate:
    """Two pipes in a folder that `held` stops at, in whatever process, and that a test opens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("begun", "let"):
            os.mkfifo(folder / name)
        # Open at both ends, so that nobody's opening waits for us and nobody's going closes it.
        self._begun = os.open(folder / "begun", os.O_RDWR)
        self._let = os.open(folder / "let", os.O_RDWR)

    def begun(self, count: int, *, seconds: float = 50.0) -> list[tuple[str, int]]:
        """The next `count` that come to the gate: name and process."""
        text = b""
        while text.count(b"\n") < count:
            assert select.select([self._begun], [], [], seconds)[0], f"nobody came after {text!r}"
            text += os.read(self._begun, 1)
        return [(name, int(pid)) for name, pid in (line.split() for line in text.decode().splitlines())]

    def come(self) -> list[tuple[str, int]]:
        """Who has come since, nobody too."""
        come = []
        while select.select([self._begun], [], [], 0)[0]:
            come += self.begun(1)
        return come

    def let(self, count: int) -> None:
        """Let `count` of them through."""
        os.write(self._let, b"." * count)

    def close(self) -> None:
        """Let nobody through any more; who waits waits for ever."""
        os.close(self._begun)
        os.close(self._let)
