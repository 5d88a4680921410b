"""The artifact: a folder with ``manifest.json`` and a ``program.json`` that plain DSPy opens.

The manifest names everything that made the program, and its digest covers all of that; what
differs between two runs that make the same program (times, run names, what was spent) stands in the
provenance instead. Loading checks; nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oa_compile.digest import digest_bytes, digest_json
from oa_compile.errors import DigestMismatch, StorageError, UsageError

MANIFEST = "manifest.json"
PROGRAM = "program.json"
PROVENANCE = "provenance.intoto.json"
TEST_RESULT = "test-result.intoto.json"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProgramPart(_Model):
    """Which program this is, and its fields by predictor: {name, role, type}."""

    name: str
    digest: str
    files: dict[str, str] = {}
    signatures: dict[str, list[dict[str, str]]]
    state: str
    """Digest of the state (instructions, demos, field texts) in program.json."""
    file: str
    """Digest of program.json's bytes."""


class SplitScore(_Model):
    """A score on a split. `mean` is in 0 … 1; `rows` are (example id, score)."""

    split: Literal["val"] = "val"
    candidate: str
    n: int
    mean: float
    rows: list[tuple[str, float]]


class Search(_Model):
    """How the program was found."""

    optimizer: str
    settings: dict[str, Any]
    seed: int
    evaluations: int
    candidates: int


class Manifest(_Model):
    """Everything that made the program; `digest` covers all other fields."""

    schema_version: Literal[1] = 1
    media_type: Literal["application/vnd.oacompile.artifact.v1+json"] = (
        "application/vnd.oacompile.artifact.v1+json"
    )
    digest: str = ""
    status: Literal["complete", "partial"]
    reason: str = ""
    program: ProgramPart
    adapter: str
    metric: str
    dataset: dict[str, str]
    models: dict[str, str]
    search: Search
    versions: dict[str, str]
    parent: str
    """State digest of the program as it was before."""
    scores: list[SplitScore] = Field(default_factory=list)
    baseline: list[SplitScore] = Field(default_factory=list)


def manifest_digest(manifest: Manifest) -> str:
    """Digest of every field but `digest` itself. Scores enter as text, so that no float is hashed."""
    body = manifest.model_dump(mode="json", exclude={"digest"})
    return digest_json(_without_floats(body))


def _without_floats(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, dict):
        return {key: _without_floats(item) for key, item in value.items()}
    return [_without_floats(item) for item in value] if isinstance(value, list | tuple) else value


def sealed(manifest: Manifest) -> Manifest:
    """`manifest` with its digest filled in."""
    return manifest.model_copy(update={"digest": manifest_digest(manifest)})


def json_bytes(value: Any) -> bytes:
    """JSON as files hold it: indented, sorted, with a final newline."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def write_artifact(folder: Path, *, manifest: Manifest, program: bytes, provenance: dict[str, Any]) -> None:
    """Write the three files; the manifest last, so that a torn write leaves no artifact."""
    for name, data in (
        (PROGRAM, program),
        (PROVENANCE, json_bytes(provenance)),
        (MANIFEST, json_bytes(manifest.model_dump(mode="json"))),
    ):
        write_whole(folder / name, data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises StorageError when the disk refuses."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise StorageError(
            f"{path}: cannot write it: {error.strerror}",
            hint="free some space; a run goes on with --resume, and pays for nothing twice",
        ) from error


def load_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder, with its own digest and program.json's checked.

    Raises UsageError when it is not an artifact, DigestMismatch when it was changed.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        program = (folder / PROGRAM).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder} is not an artifact: {error.strerror}: {error.filename}",
            hint="an artifact is the folder `artifact` that `oacompile optimize` wrote",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DigestMismatch(f"{path}: not an artifact manifest: {where}: {first['msg']}") from error
    if manifest_digest(manifest) != manifest.digest:
        raise DigestMismatch(
            f"{path}: the content has digest {manifest_digest(manifest)}, it claims {manifest.digest}",
            hint="the manifest was changed after the compile; restore it from the bundle",
        )
    if digest_bytes(program) != manifest.program.file:
        raise DigestMismatch(
            f"{folder / PROGRAM}: not the program that {MANIFEST} names",
            hint="program.json was changed after the compile; restore it from the bundle",
        )
    return manifest
