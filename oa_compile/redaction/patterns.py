"""All patterns, in the order in which they are applied, and which of them a text is worth trying.

The sieve is RE2's: all expressions at once, in one pass of linear time, which says which of them may be met.
Most texts hold nothing, and that is all they cost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import re2

from oa_compile.redaction import keys, named, people, tokens
from oa_compile.redaction.pattern import Pattern, What

EVERYTHING: frozenset[What] = frozenset({"secret", "email", "home"})

_SIEVE_MEMORY = 64 * 1024 * 1024
"""Bytes for the sieve's states, which are made as texts call for them."""


@cache
def all_patterns() -> tuple[Pattern, ...]:
    """Every pattern. Ours with a shape come before the detector's, which may end before a token does; then
    what only a name tells, and last what may stand within a secret.
    """
    from oa_compile.redaction.detector import detector_patterns

    return (*keys.PATTERNS, *tokens.PATTERNS, *detector_patterns(), *named.PATTERNS, *people.PATTERNS)


def patterns_for(text: str, *, what: Collection[What] = EVERYTHING) -> Sequence[Pattern]:
    """The patterns of `what` that may be found in `text`, in order."""
    met = _sieve().Match(text.encode("utf-8", "surrogatepass"))
    if not met:
        return ()
    patterns = all_patterns()
    return [pattern for pattern in (patterns[number] for number in sorted(met)) if pattern.what in what]


@cache
def _sieve() -> re2.Set:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes: text need not be all of Unicode's letters
    options.max_mem = _SIEVE_MEMORY
    options.never_capture = True
    sieve = re2.Set.SearchSet(options)
    for pattern in all_patterns():
        sieve.Add(pattern.sieve.encode("ascii"))
    sieve.Compile()
    return sieve
