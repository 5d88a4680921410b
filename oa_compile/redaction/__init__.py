"""What secrets, e-mail addresses and home folders look like, and whether a text may hold any.

Owns the patterns, nothing of what is put in their place: a dataset loses what they find for good
(`extract.redact`), the swarm never sees it and the answer gets it back (`swarm.privacy`). The public door is
everything here.

Patterns are for tokens with an unmistakable shape, or an unmistakable name before them; a password in plain
prose is beyond any pattern. Every pattern runs in linear time on any text, also on one written to make it
slow: a match may begin only where the run of characters it is made of begins, a run that fails is not tried
again from its middle, and what is tried at every place is bounded.
"""

from oa_compile.redaction.kinds import KINDS
from oa_compile.redaction.named import looks_secret, names_a_secret
from oa_compile.redaction.pattern import WORD_START, Pattern, Span, What
from oa_compile.redaction.patterns import all_patterns, patterns_for

__all__ = [
    "KINDS",
    "WORD_START",
    "Pattern",
    "Span",
    "What",
    "all_patterns",
    "looks_secret",
    "names_a_secret",
    "patterns_for",
]
