"""jq selecting tool calls: the program where it is installed, else its Python binding."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = (
    'select(.message.content | type == "array") | .message.content[]'
    ' | select(.type == "tool_use") | [.name, .id] | @tsv'
)


def which() -> str:
    """How jq can be had here; empty when it cannot."""
    if shutil.which("jq"):
        return "the program"
    return "PyPI's binding" if importlib.util.find_spec("jq") else ""


def select(files: Sequence[str]) -> Callable[[], Mapping[str, Any]]:
    """Name and id of every tool call; calls counted once by id."""
    return (lambda: _counted(_of_program(files))) if shutil.which("jq") else _of_binding(files)


def _of_program(files: Sequence[str]) -> Iterable[str]:
    command = ["jq", "-r", PROGRAM, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield from running.stdout
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)


def _of_binding(files: Sequence[str]) -> Callable[[], Mapping[str, Any]]:
    import jq

    program = jq.compile(PROGRAM)

    def calls() -> Iterable[str]:
        for file in files:
            with Path(file).open(encoding="utf-8") as handle:
                for line in handle:
                    yield from program.input_text(line)

    return lambda: _counted(calls())


def _counted(calls: Iterable[str]) -> Mapping[str, Any]:
    ids: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        name, call_id = call.rstrip("\n").split("\t")
        ids[name].add(call_id)
    return {"calls": {name: len(found) for name, found in ids.items()}}
