"""The artifact store: artifacts by digest, their states, and a pointer to the one in use.

Its journal is the truth: states and pointers are a fold over it. The pointer on disk (``PROGRAM/current``,
a symbolic link) is a projection that is put right whenever the store is opened for writing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oa_compile.artifact.manifest import Manifest, load_manifest
from oa_compile.digest import short
from oa_compile.errors import DigestMismatch, StorageError, UsageError
from oa_compile.events import Line, Moved
from oa_compile.journal import FILE_NAME, Journal, read
from oa_compile.promote.evidence import Evidence
from oa_compile.promote.gates import Gate, State

CURRENT = "current"


@dataclass(slots=True)
class ProgramStates:
    """One program's artifacts: their states by digest, and those in use before and now, the last one now."""

    states: dict[str, State] = field(default_factory=dict)
    in_use: list[str] = field(default_factory=list)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    history: list[tuple[int, Moved]] = field(default_factory=list)

    @property
    def current(self) -> str:
        """The digest of the artifact in use, "" when there is none."""
        return self.in_use[-1] if self.in_use else ""


def fold(lines: Iterable[Line]) -> dict[str, ProgramStates]:
    """Every program's states, as the journal tells them."""
    programs: dict[str, ProgramStates] = {}
    for line in lines:
        event = line.event
        if not isinstance(event, Moved):
            continue
        program = programs.setdefault(event.program, ProgramStates())
        program.history.append((line.at, event))
        program.states[event.artifact] = event.after
        if event.evidence:
            program.evidence[event.artifact] = Evidence(**event.evidence)
        if event.after == "promoted":
            program.in_use.append(event.artifact)
        elif event.after == "rolled_back":
            # The one before it is in use again, if there was one.
            program.in_use = [digest for digest in program.in_use if digest != event.artifact]
    return programs


def read_store(path: Path) -> dict[str, ProgramStates]:
    """The states of a store, without opening it for writing; none when there is no store."""
    journal = path / FILE_NAME
    return fold(read(journal)) if journal.is_file() else {}


class Store:
    """A store open for writing: one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the store at `path`; a pointer that a dead process left behind is put right."""
        self.path = path
        self._journal = Journal(path / FILE_NAME)
        self.programs = fold(self._journal.history)
        for name in self.programs:
            self._point(name)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def program(self, name: str) -> ProgramStates:
        """A program's states; empty for one that is not here."""
        return self.programs.get(name) or ProgramStates()

    def folder(self, program: str, artifact: str) -> Path:
        """Where an artifact lies."""
        return self.path / program / short(artifact)

    def add(self, source: Path, manifest: Manifest) -> Path:
        """A copy of an artifact, whole or not at all. Raises DigestMismatch when another has its name."""
        target = self.folder(manifest.program.name, manifest.digest)
        if target.is_dir():
            if load_manifest(target).digest != manifest.digest:
                raise DigestMismatch(f"{target} holds another artifact", hint="move it out of the store")
            return target
        part = target.with_name(f".{target.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source, part, ignore=shutil.ignore_patterns("validate-*"))
            if load_manifest(part).digest != manifest.digest:
                raise DigestMismatch(f"{source} changed while it was copied", hint="promote it again")
            part.rename(target)
        except OSError as error:
            raise StorageError(f"{target}: cannot keep the artifact: {error.strerror}") from error
        return target

    def move(
        self,
        program: str,
        artifact: str,
        after: State,
        *,
        gates: Iterable[Gate] = (),
        evidence: Evidence | None = None,
        reason: str = "",
    ) -> Moved:
        """Journal a decision with its evidence, then put the pointer right."""
        states = self.program(program)
        event = Moved(
            program=program,
            artifact=artifact,
            before=states.states.get(artifact, "candidate"),
            after=after,
            current=states.current,
            gates=[gate.as_dict() for gate in gates],
            evidence=_plain(evidence) if evidence else {},
            reason=reason,
        )
        self._journal.append(event, sync=True)
        self._journal.history.append(Line(v=1, seq=0, at=0, event=event))
        self.programs = fold(self._journal.history)
        self._point(program)
        return event

    def rollback(self, program: str, *, reason: str = "") -> Moved:
        """Take the artifact in use out of use; the one before it is in use again. Raises UsageError when none
        is, DigestMismatch when the one before is not whole any more.
        """
        states = self.program(program)
        if not states.current:
            raise UsageError(f"{self.path}: no artifact of `{program}` is in use", hint="oacompile status")
        if len(states.in_use) > 1:
            load_manifest(self.folder(program, states.in_use[-2]))
        return self.move(program, states.current, "rolled_back", reason=reason)

    def _point(self, program: str) -> None:
        """Make ``current`` what the journal says: atomically, or not at all."""
        link = self.path / program / CURRENT
        current = self.program(program).current
        wanted = short(current) if current else ""
        found = os.readlink(link) if link.is_symlink() else ""  # noqa: PTH115 - the text of the link
        if wanted == found:
            return
        try:
            if not wanted:
                link.unlink()
                return
            fresh = link.with_name(f".{CURRENT}.part")
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            fresh.symlink_to(wanted)
            fresh.replace(link)
        except OSError as error:
            raise StorageError(
                f"{link}: cannot set the pointer: {error.strerror}",
                hint="the decision is kept; any further command puts the pointer right",
            ) from error


def _plain(evidence: Evidence) -> dict[str, Any]:
    return {
        "artifact": evidence.artifact,
        "testset": evidence.testset,
        "metric": evidence.metric,
        "before": dict(evidence.before),
        "after": dict(evidence.after),
        "parts": dict(evidence.parts),
        "journal": evidence.journal,
        "scorings": evidence.scorings,
    }
