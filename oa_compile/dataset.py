"""A dataset: a folder of ``{train,val,test}.jsonl`` and its card, ``dataset.json``.

Owns the shapes of records and card, writing them with deterministic bytes, and reading them with
every digest checked. Does not know where records come from (`extract`), how splits are chosen
(`extract.splits`), or what DSPy makes of them.

`load_split` opens the card and that one split's file, nothing else: that is how the testset stays
sealed from the optimizer's process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oa_compile.digest import canonical_json, digest_bytes, digest_json
from oa_compile.errors import DigestMismatch, UsageError

CARD_NAME = "dataset.json"
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
_REMAKE = "make the dataset again with `oacompile extract`"


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """One example. `inputs` and `outputs` are JSON values by field name; `meta` is the evidence
    (source file and line, session) and no part of the identity.
    """

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, inputs: Mapping[str, Any], *, outputs: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> ExampleRecord:
        """A record with the id its content has. Raises ValueError or TypeError for what JSON cannot hold."""
        return cls(record_id(inputs, outputs=outputs), inputs, outputs, meta or {})


def record_id(inputs: Mapping[str, Any], *, outputs: Mapping[str, Any]) -> str:
    """The digest of the canonical JSON of ``{inputs, outputs}``."""
    return digest_json({"inputs": dict(inputs), "outputs": dict(outputs)})


@dataclass(frozen=True, slots=True)
class Split:
    """The records of one split, in file order, and the digest of the file they came from."""

    name: SplitName
    records: tuple[ExampleRecord, ...]
    digest: str
    path: Path


class _CardModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceInfo(_CardModel):
    """One log that was read. `path` is relative to the deepest folder that holds all sources."""

    path: str
    format: str
    digest: str
    bytes: int = Field(ge=0)
    lines: int = Field(ge=0)
    sessions: int = Field(ge=0)
    examples: int = Field(ge=0)


class LeftOut(_CardModel):
    """Lines, calls or examples that were not used, with one place to look (``file:line``)."""

    reason: str
    count: int = Field(gt=0)
    first: str


class SplitInfo(_CardModel):
    """One split's file, the digest of its bytes and its number of records."""

    file: str = Field(pattern=r"^[\w.-]+\.jsonl$")
    digest: str
    n: int = Field(ge=0)


class SplitMethod(_CardModel):
    """How records were assigned: enough to do it again."""

    method: str
    seed: int
    shares: dict[SplitName, float]
    groups: int = Field(ge=0)
    near_duplicate_threshold: float = Field(gt=0, le=1)


class DatasetCard(_CardModel):
    """``dataset.json``: what the dataset is made of, and what was left out and why."""

    schema_version: Literal[1] = 1
    program: str
    description: str = ""
    sources: tuple[SourceInfo, ...] = ()
    counts: dict[str, int] = {}
    left_out: tuple[LeftOut, ...] = ()
    redacted: dict[str, int] = {}
    """Replacements on the way in, by kind; what was replaced is never shown."""
    split: SplitMethod
    splits: dict[SplitName, SplitInfo] = {}


def write_dataset(
    folder: Path, *, card: DatasetCard, records: Mapping[SplitName, Sequence[ExampleRecord]]
) -> DatasetCard:
    """Write the splits and then the card; returns the card with its `splits` filled in.

    Records are sorted by id, so the same records give the same bytes in whatever order they came.
    Raises UsageError when an id is in two splits or the folder cannot be written.
    """
    seen: dict[str, str] = {}
    infos: dict[SplitName, SplitInfo] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in SPLITS:
            ordered = sorted(records.get(name, ()), key=lambda record: record.id)
            for record in ordered:
                if (other := seen.setdefault(record.id, name)) != name:
                    raise UsageError(f"example {record.id} is in the {other} and the {name} split")
            data = b"".join(_line(record) for record in ordered)
            (folder / f"{name}.jsonl").write_bytes(data)
            infos[name] = SplitInfo(file=f"{name}.jsonl", digest=digest_bytes(data), n=len(ordered))
        card = card.model_copy(update={"splits": infos})
        text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot write the dataset: {error.strerror}") from error
    return card


def _line(record: ExampleRecord) -> bytes:
    body = {"id": record.id, "inputs": record.inputs, "outputs": record.outputs, "meta": record.meta}
    return canonical_json(body) + b"\n"


def load_card(folder: Path) -> DatasetCard:
    """The card of a dataset. Raises UsageError when it is missing or does not hold."""
    path = folder / CARD_NAME
    try:
        return DatasetCard.model_validate_json(_read(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{path}: not a dataset card: {place}: {first['msg']}", hint=_REMAKE) from error


def load_split(folder: Path, split: SplitName) -> Split:
    """The records of one split; opens its file and the card only.

    Raises DigestMismatch when the file is not the one the card names, UsageError with ``file:line``
    for a line that is no record.
    """
    card = load_card(folder)
    info = card.splits.get(split)
    if info is None:
        raise UsageError(f"{folder / CARD_NAME}: there is no {split} split", hint=_REMAKE)
    path = folder / info.file
    data = _read(path)
    digest = digest_bytes(data)
    if digest != info.digest:
        raise DigestMismatch(
            f"{path}: the digest is {digest}, the card says {info.digest}",
            hint=f"restore the file, or {_REMAKE}",
        )
    lines = data.splitlines()
    records = tuple(_record(raw, where=f"{path}:{number}") for number, raw in enumerate(lines, start=1))
    if len(records) != info.n:
        raise DigestMismatch(f"{path}: {len(records)} records, the card says {info.n}", hint=_REMAKE)
    return Split(split, records, digest, path)


def _record(raw: bytes, *, where: str) -> ExampleRecord:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON: {error}", hint=_REMAKE) from error
    if not isinstance(body, dict) or set(body) != {"id", "inputs", "outputs", "meta"}:
        raise UsageError(f"{where}: a record has exactly id, inputs, outputs and meta", hint=_REMAKE)
    if not all(isinstance(body[key], dict) for key in ("inputs", "outputs", "meta")):
        raise UsageError(f"{where}: inputs, outputs and meta must be objects", hint=_REMAKE)
    try:
        expected = record_id(body["inputs"], outputs=body["outputs"])
    except (ValueError, UnicodeError) as error:
        raise UsageError(f"{where}: a value has no canonical JSON form: {error}", hint=_REMAKE) from error
    if body["id"] != expected:
        raise DigestMismatch(f"{where}: the id is not the digest of the record's content", hint=_REMAKE)
    return ExampleRecord(expected, body["inputs"], body["outputs"], body["meta"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", hint=_REMAKE) from error
