"""Records: one example each, by content, and what it is related to.

Owns a record's identity, its group and its line in a split's file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oa_compile.digest import canonical_json, digest_json
from oa_compile.errors import DigestMismatch, UsageError

REMAKE = "make the dataset again with `oacompile extract`"
_KEYS = ("id", "group", "inputs", "outputs", "meta")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """One example. `inputs` and `outputs` are JSON values by field name; `meta` is the evidence
    (source file and line, session) and no part of the identity.

    Records of one `group` stem from the same work and go to the same split. It is a digest, because
    what it is made of may be private; a record related to nothing has its own id there.
    """

    id: str
    group: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    meta: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, Any],
        *,
        outputs: Mapping[str, Any],
        meta: Mapping[str, Any] | None = None,
        group: str | None = None,
    ) -> ExampleRecord:
        """A record with the id its content has; `group` is a `group_key`, or None when it stands alone.

        Raises ValueError or TypeError for what JSON cannot hold, and for a group that is no digest.
        """
        identity = record_id(inputs, outputs=outputs)
        if group is not None and not _DIGEST.fullmatch(group):
            raise ValueError("a group is a digest: make it with group_key")
        return cls(identity, group or identity, inputs, outputs, meta or {})

    @property
    def negative(self) -> bool:
        """Whether the outputs are what not to do."""
        return self.meta.get("negative") is True

    @property
    def note(self) -> str:
        """What the log says of failed tries, for feedback; empty when that is nothing."""
        note = self.meta.get("feedback")
        return note if isinstance(note, str) else ""


def record_id(inputs: Mapping[str, Any], *, outputs: Mapping[str, Any]) -> str:
    """The digest of the canonical JSON of ``{inputs, outputs}``."""
    return digest_json({"inputs": dict(inputs), "outputs": dict(outputs)})


def group_key(*parts: str) -> str:
    """The group of everything that shares `parts`, e.g. ``("episode", repository, issue)``.

    The first part says what kind of thing it is, so that an issue and a session of the same name differ.
    """
    return digest_json(list(parts))


def encode_record(record: ExampleRecord) -> bytes:
    """The record's line: canonical JSON and a line feed."""
    return canonical_json({key: getattr(record, key) for key in _KEYS}) + b"\n"


def decode_record(raw: bytes, *, where: str) -> ExampleRecord:
    """The record of one line; `where` is its ``file:line``.

    Raises UsageError for a line that is no record, DigestMismatch when its id is not its content's.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON: {error}", hint=REMAKE) from error
    if not isinstance(body, dict) or set(body) != set(_KEYS):
        raise UsageError(f"{where}: a record has exactly id, group, inputs, outputs and meta", hint=REMAKE)
    if not all(isinstance(body[key], dict) for key in ("inputs", "outputs", "meta")):
        raise UsageError(f"{where}: inputs, outputs and meta must be objects", hint=REMAKE)
    if not isinstance(body["group"], str) or not _DIGEST.fullmatch(body["group"]):
        raise UsageError(f"{where}: the group must be a digest", hint=REMAKE)
    try:
        expected = record_id(body["inputs"], outputs=body["outputs"])
    except (ValueError, UnicodeError) as error:
        raise UsageError(f"{where}: a value has no canonical JSON form: {error}", hint=REMAKE) from error
    if body["id"] != expected:
        raise DigestMismatch(f"{where}: the id is not the digest of the record's content", hint=REMAKE)
    return ExampleRecord(expected, body["group"], body["inputs"], body["outputs"], body["meta"])
