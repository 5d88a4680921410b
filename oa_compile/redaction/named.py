"""Secrets with a name: a header, a variable, a place in a URL or a connection string says what they are.

A name alone proves little: `token = next_token_of_the_line` is code, and so is `{user}:{password}` in a URL.
So a value must also look like one, by its length and its digits.
"""

from __future__ import annotations

import re
from functools import lru_cache

from oa_compile.redaction.pattern import ASSIGNED, BACKSLASHES, BLANK, QUOTE, Pattern, secret

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

_LETTER = rf"(?:[A-Za-z+/_~-]|{BACKSLASHES}/)"
"""What beside digits a long value is made of. Its slashes may be escaped."""

_QUOTED = rf"(?:{BACKSLASHES})?[\"']"

PATTERNS: tuple[Pattern, ...] = (
    secret("bearer", rf"\<bearer{BLANK}+[A-Za-z0-9._~+/-]{{20,}}=*", ignore_case=True),
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
        rf"://(?P<private>[\w.~%!$&+*=-]*+:{_NO_TEMPLATE}[^<>\s/@\"'`\\{{}}|^\[\]]++)@",
        sieve=r"://[\w.~%!$&+*=-]*:[^<>\s/@\"'`\\{}|^\[\]]+@",
    ),
    secret(
        "connection_string",
        rf";[ ]?(?:password|pwd)=(?P<private>{_NO_TEMPLATE}[^<>\s;\"'`\\(){{}}]{{4,}})(?=[;\"'`\\\s]|\Z)",
        ignore_case=True,
        sieve=r";[ ]?(?:password|pwd)=",
    ),
    # A long value with two digits or more.
    secret(
        "assigned_secret",
        rf"{_NAMES}[\w-]{{0,20}}{ASSIGNED}"
        rf"(?P<private>(?={_LETTER}*+[0-9]{_LETTER}*+[0-9])"
        rf"[A-Za-z0-9+_~-](?:[0-9]|{_LETTER}){{19,}}={{0,2}})",
        ignore_case=True,
        sieve=rf"{_NAMES}[\w-]*{ASSIGNED}(?:[0-9]|{_LETTER}){{20}}",
    ),
    # The detector has this one too, but knows no escaped quotes.
    secret(
        "aws_key",
        rf"aws[\w .-]{{0,20}}?(?:key|pwd|password|token)[\w-]{{0,20}}{ASSIGNED}"
        rf"(?P<private>(?:[0-9]|{_LETTER}){{40}})(?![\w+/])",
        ignore_case=True,
        sieve=rf"aws[\w .-]*(?:key|pwd|password|token)[\w-]*{ASSIGNED}(?:[0-9]|{_LETTER}){{40}}",
    ),
    # A line of an .env file: a name in capitals that ends in what it is, no space, a value with a digit.
    secret(
        "env_secret",
        r"\<[A-Z0-9_]{0,60}(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|(?:API|SECRET|ACCESS|PRIVATE)_?KEY)"
        rf"={QUOTE}(?P<private>{_NO_TEMPLATE}(?=[^\s\"'\\]{{0,100}}[0-9])"
        r"[^\s\"'`\\;,<>|&(){}\[\]]{6,}+)(?![(\[{<>])",
        sieve=rf"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|_?KEY)={QUOTE}[^\s\"'`\\;,<>|&(){{}}\[\]]{{6}}",
    ),
    # A string under a quoted name, as in JSON and YAML.
    secret(
        "named_secret",
        rf"[\"'][\w-]{{0,40}}?{_SURE_NAMES}{_QUOTED}{BLANK}{{0,3}}:{BLANK}{{0,3}}{_QUOTED}"
        rf"(?P<private>{_NO_TEMPLATE}(?=[^\s\"'\\]{{0,100}}[0-9])[^\s\"'\\]{{6,}}+)(?={_QUOTED})",
        ignore_case=True,
        sieve=rf"{_SURE_NAMES}{_QUOTED}{BLANK}*:{BLANK}*{_QUOTED}[^\s\"'\\]{{6}}",
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
