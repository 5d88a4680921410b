"""All patterns, in the order in which they are applied, and which of them a text is worth trying.

The sieve is Hyperscan's: all expressions at once, in one pass of linear time at memory speed, which says
which of them may be met. Most texts hold nothing, and that is all they cost.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence
from functools import cache

import hyperscan

from oa_compile.redaction import keys, named, people, tokens
from oa_compile.redaction.pattern import Pattern, What

EVERYTHING: frozenset[What] = frozenset({"secret", "email", "home"})

_FLAGS = (
    (re.IGNORECASE, hyperscan.HS_FLAG_CASELESS),
    (re.DOTALL, hyperscan.HS_FLAG_DOTALL),
    (re.MULTILINE, hyperscan.HS_FLAG_MULTILINE),
)


@cache
def all_patterns() -> tuple[Pattern, ...]:
    """Every pattern. Ours come before the detector's, which end where a token may go on; secrets before
    what may stand within one.
    """
    from oa_compile.redaction.detector import detector_patterns

    ours = (*keys.PATTERNS, *tokens.PATTERNS, *named.PATTERNS)
    return (*ours, *detector_patterns(), *people.PATTERNS)


def patterns_for(text: str, *, what: Collection[What] = EVERYTHING) -> Sequence[Pattern]:
    """The patterns of `what` that may be found in `text`, in order."""
    patterns = all_patterns()
    found = _sieve().scan(text.encode("utf-8", "surrogatepass"))
    return [pattern for pattern in map(patterns.__getitem__, found) if pattern.what in what] if found else ()


@cache
def _database() -> hyperscan.Database:
    """The patterns compiled to be looked for together.

    In prefilter mode Hyperscan takes what it cannot do, such as a look at what stands before, for met.
    """
    expressions, flags = [], []
    for pattern in all_patterns():
        flag = hyperscan.HS_FLAG_PREFILTER | hyperscan.HS_FLAG_SINGLEMATCH
        expression = pattern.sieve
        if not expression:
            expression = pattern.regex.pattern
            flag |= sum(theirs for ours, theirs in _FLAGS if pattern.regex.flags & ours)
            if pattern.regex.flags & re.VERBOSE:
                expression = f"(?x){expression}"
        expressions.append(expression.encode("ascii"))
        flags.append(flag)
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=expressions, ids=range(len(expressions)), flags=flags)
    return database


class _Sieve(threading.local):
    """One thread's scans: Hyperscan's scratch space is for one scan at a time."""

    def __init__(self) -> None:
        self._database = _database()
        self._scratch = hyperscan.Scratch(self._database)

    def scan(self, data: bytes) -> list[int]:
        """Which patterns may be met in `data`, by number, in order."""
        found: list[int] = []
        self._database.scan(
            data,
            match_event_handler=lambda number, _start, _end, _flags, _context: found.append(number),
            scratch=self._scratch,
        )
        found.sort()
        return found


@cache
def _sieve() -> _Sieve:
    return _Sieve()
