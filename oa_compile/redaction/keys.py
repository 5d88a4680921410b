"""Private keys that fill lines: PEM, PGP, SSH and PuTTY.

Logs show them as files are shown: with line breaks written out, each line in quotes, behind a line number or
a diff's sign, or cut off. What is replaced reaches from the first word of the key to its last, and no
further: programs name these headers too, and their code must stay.
"""

from __future__ import annotations

from oa_compile.redaction.pattern import Pattern, secret

_HEADER = r"-{4,5} ?BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_FOOTER = r"-{4,5} ?END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"

_INSIDE = r"(?:[\w+/=\s\\\"',:;>|→#*.]++|-(?!---))*+"
"""All that stands between the two: no bracket, so no code, and no other header."""

_BREAK = r"[ \t\"'`,;+\\]{0,60}(?:\n|\\[nr])"
_BETWEEN_LINES = r"(?:\\[nrt]|[0-9]{1,6}[ \t]{0,4}[→|:\t]|[\s\\\"'`,;>|→#*+-]){1,60}"
_LINES = rf"(?:{_BETWEEN_LINES}[A-Za-z0-9+/=]{{16,}})+"

PATTERNS: tuple[Pattern, ...] = (
    # Whole; cut off by the end of the text; or cut off by something else, and then only lines of it.
    secret(
        "private_key",
        rf"{_HEADER}(?:{_INSIDE}{_FOOTER}|{_BREAK}{_INSIDE}\Z|{_LINES})",
        sieve="BEGIN [A-Z0-9 ]*PRIVATE KEY",
    ),
    secret(
        "private_key",
        rf"Private-Lines: [0-9]{{1,4}}(?P<private>{_LINES})",
        sieve=r"Private-Lines: [0-9]",
    ),
)
