"""The seal of a testset: an artifact is scored on it once. More is refused, or asked for and counted.

A scoring is told by its journal. Asking the same question again is none: it is answered from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from oa_compile.errors import UsageError
from oa_compile.events import Evaluated, RunStarted
from oa_compile.journal import FILE_NAME, read


def other_scorings(folder: Path, *, artifact: str, testset: str) -> list[Path]:
    """Folders beside `folder` in which that artifact was scored on that testset, on other lanes or by another
    instrument.
    """
    return [
        journal.parent
        for journal in sorted(folder.parent.glob(f"validate-*/{FILE_NAME}"))
        if journal.parent.name != folder.name and _scored(journal, artifact=artifact, testset=testset)
    ]


def check_seal(folder: Path, *, artifact: str, testset: str, again: bool) -> int:
    """How many other scorings there were. Raises UsageError when there was one, and `again` was not said."""
    others = other_scorings(folder, artifact=artifact, testset=testset)
    if others and not again and not _scored(folder / FILE_NAME, artifact=artifact, testset=testset):
        raise UsageError(
            f"this artifact was scored on its testset before ({others[-1]}): a second try has luck twice",
            hint="use the config that scoring was made with, or say --again: it will be recorded",
        )
    return len(others)


def _scored(journal: Path, *, artifact: str, testset: str) -> bool:
    """Whether that journal holds an evaluation of the artifact on that testset."""
    lines = _events(journal)
    started = next(lines, None)
    if not isinstance(started, RunStarted) or started.command != "validate":
        return False
    if (started.inputs.get("artifact"), started.inputs.get("test")) != (artifact, testset):
        return False
    return any(isinstance(event, Evaluated) for event in lines)


def _events(journal: Path) -> Iterator[object]:
    if journal.is_file():
        yield from (line.event for line in read(journal))
