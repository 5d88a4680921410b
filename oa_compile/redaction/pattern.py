"""One pattern: a kind of private thing, the expression that finds it, and how it is told to the sieve.

Owns the words patterns are written in; which there are is said in `tokens`, `keys`, `named`, `people` and
`detector`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

What = Literal["secret", "email", "home"]


class Span(NamedTuple):
    """Where something private stands: ``text[start:end]``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of private thing: `what` it is, in a word, and its `kind`, one of `KINDS`.

    `private` is the group of `regex` that holds the private part; 0 is all of it. In a home folder the group
    ``user`` is the user's name. `sieve` is an expression of RE2 that is met in the UTF-8 of every text that
    `regex` is met in; how many other texts it is met in too is what it costs.
    """

    what: What
    kind: str
    regex: re.Pattern[str]
    sieve: str
    private: int | str = 0

    def find(self, text: str, *, group: str = "") -> list[Span]:
        """The private parts in order, none overlapping; with `group`, that part of each."""
        wanted = group or self.private
        return [Span(*match.span(wanted)) for match in self.regex.finditer(text)]


WORD_START = r"(?:(?<!\w)|(?<=\\[nrt]))"
"""Where a word may begin: also behind a line break or tab that is written out, as JSON does."""

BLANK = r"[ \t\r\n]"

BACKSLASHES = r"\\{1,32}"
"""What escapes become in JSON within JSON: each time there are twice as many and one."""

QUOTE = rf"(?:(?:{BACKSLASHES})?[\"'`])?"
"""A quote that may stand round a name or a value."""

ASSIGNED = rf"{QUOTE}{BLANK}{{0,3}}(?:=>?|:=?|{BACKSLASHES}u003[dD]){BLANK}{{0,3}}{QUOTE}"
"""From a name to its value. Some JSON is written with ``\\u003d`` for an equals sign."""


def compiled(regex: str, *, flags: re.RegexFlag = re.ASCII) -> re.Pattern[str]:
    """`regex` with ``\\<`` for where a word may begin."""
    return re.compile(regex.replace(r"\<", WORD_START), flags)


def secret(kind: str, regex: str, *, ignore_case: bool = False, sieve: str = "") -> Pattern:
    """A secret of `kind`; a group ``private`` in `regex` is the part that counts.

    Where `regex` looks round itself it needs a `sieve` of its own; otherwise `loosened` makes it.
    """
    pattern = compiled(regex, flags=re.ASCII | re.IGNORECASE if ignore_case else re.ASCII)
    private = "private" if "private" in pattern.groupindex else 0
    return Pattern("secret", kind, pattern, loosened(sieve or regex, ignore_case=ignore_case), private)


_AT_MOST = re.compile(r"\{([0-9]+),[0-9]+\}")
_POSSESSIVE = re.compile(r"(?<=[+*}])\+")


def loosened(regex: str, *, ignore_case: bool = False) -> str:
    """`regex` as RE2 can do it, met wherever `regex` is: words begin anywhere, and nothing has an upper
    bound, which in bytes would be another than in characters, and makes many states.
    """
    loose = _POSSESSIVE.sub("", _AT_MOST.sub(r"{\1,}", regex.replace(r"\<", "")))
    return f"(?i:{loose})" if ignore_case else loose
