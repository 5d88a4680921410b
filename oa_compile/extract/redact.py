"""Redaction of a dataset: home paths, e-mail addresses and well known secrets are replaced on the way in.

Owns what stands in their place, for good: nothing of it can be had back. What they look like is
`oa_compile.redaction`'s. What was replaced is counted by kind and never shown. A free-form password is
beyond any pattern, which is why datasets stay private unless their owner publishes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from oa_compile.redaction import What, patterns_for

_REPLACEMENTS: Mapping[What, str] = {"secret": "<secret>", "email": "<email>", "home": "~"}


def redact(text: str, *, counts: Counter[str]) -> str:
    """`text` with everything private replaced; adds to `counts` by kind. Redacting twice changes nothing."""
    for pattern in patterns_for(text):
        parts: list[str] = []
        end = 0
        for span in pattern.find(text):
            parts += (text[end : span.start], _REPLACEMENTS[pattern.what])
            end = span.end
            counts[pattern.kind] += 1
        text = "".join((*parts, text[end:]))
    return text


def redact_value(value: Any, *, counts: Counter[str]) -> Any:
    """A JSON value with every string in it redacted, keys included."""
    if isinstance(value, str):
        return redact(value, counts=counts)
    if isinstance(value, list | tuple):
        return [redact_value(item, counts=counts) for item in value]
    if isinstance(value, dict):
        return {redact(key, counts=counts): redact_value(item, counts=counts) for key, item in value.items()}
    return value
