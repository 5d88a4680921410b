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
    ``user`` is the user's name. `sieve` is what of it can be seen in UTF-8 bytes, as an expression that is
    met wherever `regex` is; without one it is `regex` itself, which must then be about ASCII only.
    """

    what: What
    kind: str
    regex: re.Pattern[str]
    private: int | str = 0
    sieve: str = ""

    def __post_init__(self) -> None:
        if not self.sieve and not (self.regex.flags & re.ASCII and self.regex.pattern.isascii()):
            raise ValueError(f"{self.kind}: an expression beyond ASCII needs a sieve of its own")

    def find(self, text: str, *, group: str = "") -> list[Span]:
        """The private parts in order, none overlapping; with `group`, that part of each."""
        wanted = group or self.private
        return [Span(*match.span(wanted)) for match in self.regex.finditer(text)]


WORD_START = r"(?:(?<!\w)|(?<=\\[nrt]))"
"""Where a word may begin: also behind a line break or tab that is written out, as JSON does."""

QUOTE = r"(?:\\{0,7}[\"'`])?"
"""A quote that may stand round a name or a value, also in JSON within JSON within JSON."""

ASSIGNED = rf"{QUOTE}\s{{0,3}}(?:=>?|:=?|\\{{1,4}}u003[dD])\s{{0,3}}{QUOTE}"
"""From a name to its value. Some JSON is written with ``\\u003d`` for an equals sign."""


def compiled(regex: str, *, flags: re.RegexFlag = re.ASCII) -> re.Pattern[str]:
    """`regex` with ``\\<`` for where a word may begin."""
    return re.compile(regex.replace(r"\<", WORD_START), flags)


def secret(kind: str, regex: str, *, ignore_case: bool = False, sieve: str = "") -> Pattern:
    """A secret of `kind`; a group ``private`` in `regex` is the part that counts."""
    pattern = compiled(regex, flags=re.ASCII | re.IGNORECASE if ignore_case else re.ASCII)
    return Pattern("secret", kind, pattern, "private" if "private" in pattern.groupindex else 0, sieve)
