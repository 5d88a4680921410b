"""Redaction: home paths, e-mail addresses and well known secrets are replaced on the way in.

Owns the patterns. What was replaced is counted by kind and never shown. Patterns are for tokens with
an unmistakable shape; a free-form password is beyond any pattern, which is why datasets stay private
unless their owner publishes them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "private_key",
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)", re.S),
        "<secret>",
    ),
    ("jwt", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"), "<secret>"),
    ("api_key", re.compile(r"\b(?:sk|pk|rk)-(?:ant-|proj-|or-|live-|test-)?[A-Za-z0-9_-]{20,}"), "<secret>"),
    ("api_key", re.compile(r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}"), "<secret>"),
    ("github_token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"), "<secret>"),
    ("gitlab_token", re.compile(r"\bglpat-[\w-]{20,}"), "<secret>"),
    ("aws_key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "<secret>"),
    ("google_key", re.compile(r"\bAIza[\w-]{35}"), "<secret>"),
    ("slack_token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"), "<secret>"),
    ("huggingface_token", re.compile(r"\bhf_[A-Za-z0-9]{30,}"), "<secret>"),
    ("nostr_secret", re.compile(r"\bnsec1[02-9ac-hj-np-z]{50,}"), "<secret>"),
    ("bearer", re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{20,}=*"), "<secret>"),
    ("url_password", re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"), "<secret>"),
    (
        "email",
        re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"),
        "<email>",
    ),
    ("home_path", re.compile(r"(?<![\w.])/(?:home|Users)/[A-Za-z0-9._-]+"), "~"),
    ("home_path", re.compile(r"(?i)\b[A-Z]:\\Users\\[A-Za-z0-9._-]+"), "~"),
)


def redact(text: str, *, counts: Counter[str]) -> str:
    """`text` with everything private replaced; adds to `counts` by kind. Redacting twice changes nothing."""
    for kind, pattern, replacement in _PATTERNS:
        text, found = pattern.subn(replacement, text)
        if found:
            counts[kind] += found
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
