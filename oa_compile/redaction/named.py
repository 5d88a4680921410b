"""Secrets with a name: a header, a variable, a place in a URL or a connection string says what they are.

A name alone proves little: `token = next_token_of_the_line` is code, and so is `{user}:{password}` in a URL.
So a value must also look like one, by its length and its digits.
"""

from __future__ import annotations

import re
from functools import lru_cache

from oa_compile.redaction.pattern import ASSIGNED, QUOTE, Pattern, secret

_NAMES = (
    r"(?:secret|token|passw(?:or)?d|passphrase|credential"
    r"|(?:api|access|account|auth|private|signing)[_-]?key)"
)
_SURE_NAMES = (
    r"(?:password|passwd|passphrase|secret|(?:api|secret|access|private)[_-]?key"
    r"|(?:access|refresh|auth)[_-]?token)"
)
_NO_TEMPLATE = r"(?![$<{(%*])"
"""What begins like this is filled in later: a variable, a template, a command."""

PATTERNS: tuple[Pattern, ...] = (
    secret("bearer", r"\<bearer\s+[A-Za-z0-9._~+/-]{20,}=*", ignore_case=True),
    secret(
        "basic_auth",
        rf"authorization{ASSIGNED}basic[ \t]{{1,3}}(?P<private>[A-Za-z0-9+/_-]{{8,}}={{0,2}})",
        ignore_case=True,
    ),
    secret(
        "cookie",
        rf"\<(?:set-)?cookie{QUOTE}[ \t]{{0,3}}:[ \t]{{0,3}}{QUOTE}"
        r"(?P<private>[\w.-]{1,64}=[^\s\"'\\;]{16,}+(?:;[ ]?[\w.-]{1,64}=[^\s\"'\\;]*+)*+)",
        ignore_case=True,
    ),
    # No quote in it: between two strings of a JSON text there is always one.
    secret(
        "url_password",
        rf"://(?P<private>[\w.~%!$&*+=-]*+:{_NO_TEMPLATE}[^<>\s/@\"'`\\{{}}|^\[\]]++)@",
    ),
    secret(
        "connection_string",
        rf";[ ]?(?:password|pwd)=(?P<private>{_NO_TEMPLATE}[^<>\s;\"'`\\(){{}}]{{4,}})(?=[;\"'`\\\s]|\Z)",
        ignore_case=True,
    ),
    # A long value with two digits or more. Its slashes may be escaped.
    secret(
        "assigned_secret",
        rf"{_NAMES}[\w-]{{0,20}}{ASSIGNED}"
        r"(?P<private>(?=(?:[A-Za-z+/_~-]|\\/)*+[0-9](?:[A-Za-z+/_~-]|\\/)*+[0-9])"
        r"[A-Za-z0-9+_~-](?:[A-Za-z0-9+/_~-]|\\/){19,}={0,2})",
        ignore_case=True,
    ),
    # A line of an .env file: a name in capitals that ends in what it is, no space, a value with a digit.
    secret(
        "env_secret",
        r"\<[A-Z0-9_]{0,60}(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|(?:API|SECRET|ACCESS|PRIVATE)_?KEY)"
        rf"={QUOTE}(?P<private>{_NO_TEMPLATE}(?=[^\s\"'\\]{{0,100}}[0-9])"
        r"[^\s\"'`\\;,<>|&(){}\[\]]{6,}+)(?![(\[{<>])",
    ),
    # A string under a quoted name, as in JSON and YAML.
    secret(
        "named_secret",
        rf"[\"'][\w-]{{0,40}}?{_SURE_NAMES}\\{{0,7}}[\"']\s{{0,3}}:\s{{0,3}}\\{{0,7}}[\"']"
        rf"(?P<private>{_NO_TEMPLATE}(?=[^\s\"'\\]{{0,100}}[0-9])[^\s\"'\\]{{6,}}+)(?=\\{{0,7}}[\"'])",
        ignore_case=True,
    ),
)

_SECRET_NAME = re.compile(rf"[\w-]*{_SURE_NAMES}", re.ASCII | re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"{_NO_TEMPLATE}(?=\S*[0-9])\S{{6,}}", re.ASCII)


@lru_cache(maxsize=4096)
def names_a_secret(name: str) -> bool:
    """Whether a structured value's key says that a secret stands under it; a log has few different keys."""
    return _SECRET_NAME.fullmatch(name) is not None


def looks_secret(value: str) -> bool:
    """Whether a string under such a key is what the key says, and no sentence, word or variable."""
    return _SECRET_VALUE.fullmatch(value) is not None
