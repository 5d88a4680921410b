"""Canonical JSON and SHA-256 digests.

The rule is the one OpenAgents publishes vectors for: sorted keys, no white space, UTF-8, written
``sha256:<hex>``. NaN and infinity are refused: they have no JSON form.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

PREFIX = "sha256:"


def canonical_json(value: Any) -> bytes:
    """Bytes of `value` as canonical JSON. Raises ValueError for NaN, TypeError for non-JSON types."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest_bytes(data: bytes) -> str:
    """``sha256:<hex>`` of `data`."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """``sha256:<hex>`` of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes, read in blocks."""
    with path.open("rb") as handle:
        return PREFIX + hashlib.file_digest(handle, "sha256").hexdigest()


def short(digest: str) -> str:
    """The first 12 hex digits: what people read."""
    return digest.removeprefix(PREFIX)[:12]
