"""Redaction: what well known secrets, e-mail addresses and home folders look like.

Owns the patterns, nothing of what is put in their place: a dataset loses what they find for good
(`extract.redact`), the swarm never sees it and the answer gets it back (`swarm.privacy`). Patterns are
for tokens with an unmistakable shape, or an unmistakable name before them; a password in plain prose is
beyond any pattern.

Every pattern runs in linear time on any text, also on one written to make it slow: a match may begin only
where the run of characters it is made of begins, a run that fails is not tried again from its middle, and
what is tried at every place is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

What = Literal["secret", "email", "home"]


class Span(NamedTuple):
    """Where something private stands: ``text[start:end]``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of private thing. A text that holds none of `clues`, in lower case, holds none of it.

    Where `regex` has a group ``private`` that is the private part, otherwise all of it is. In a home
    folder the group ``user`` is the user's name.
    """

    what: What
    kind: str
    regex: re.Pattern[str]
    clues: tuple[str, ...]

    def find(self, text: str, *, group: str = "") -> list[Span]:
        """The private parts in order, none overlapping; with `group`, that part of each."""
        wanted = group or ("private" if "private" in self.regex.groupindex else 0)
        return [Span(*match.span(wanted)) for match in self.regex.finditer(text)]


WORD_START = r"(?:(?<!\w)|(?<=\\[nrt]))"
"""Where a word may begin: also behind a line break or tab that is written out, as JSON does."""


def _compile(regex: str, *, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """`regex` with ``\\<`` for where a word may begin."""
    return re.compile(regex.replace(r"\<", WORD_START), flags)


def _secret(kind: str, regex: str, *clues: str, flags: re.RegexFlag = re.NOFLAG) -> Pattern:
    return Pattern("secret", kind, _compile(regex, flags=flags), clues)


_GITHUB = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_")

PATTERNS: tuple[Pattern, ...] = (
    _secret(
        "private_key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)",
        "private key-----",
        flags=re.DOTALL,
    ),
    # Its first part may begin after any hyphen: looked for from the run's beginning, once, and only when
    # the run is followed by the other two parts.
    _secret(
        "jwt",
        r"(?<![\w-])(?=[\w-]++\.eyJ[\w-]{8,}+\.[\w-]{8})[\w-]*?"
        r"(?P<private>\<eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]{8,}+)",
        ".eyj",
    ),
    _secret(
        "api_key",
        r"\<(?:sk|pk|rk)-(?:ant-|proj-|or-|live-|test-)?[A-Za-z0-9_-]{20,}",
        "sk-",
        "pk-",
        "rk-",
    ),
    _secret("api_key", r"\<(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}", "k_live_", "k_test_"),
    _secret("api_key", r"\<(?:gsk_|xai-)[A-Za-z0-9]{40,}", "gsk_", "xai-"),
    # Beginnings nothing else has count in the middle of a word as well.
    _secret("github_token", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})", *_GITHUB),
    _secret("gitlab_token", r"glpat-[\w-]{20,}", "glpat-"),
    _secret("npm_token", r"npm_[A-Za-z0-9]{36,}", "npm_"),
    _secret("pypi_token", r"pypi-[\w-]{50,}", "pypi-"),
    _secret("aws_key", r"\<(?:AKIA|ASIA)[A-Z0-9]{16}\b", "akia", "asia"),
    _secret("google_key", r"AIza[\w-]{35}", "aiza"),
    _secret("google_token", r"\<ya29\.[\w-]{20,}", "ya29."),
    _secret("slack_token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}", "xox"),
    _secret("slack_hook", r"\<hooks\.slack\.com/services/(?P<private>[\w/]{20,})", "hooks.slack.com"),
    _secret("huggingface_token", r"\<hf_[A-Za-z0-9]{30,}", "hf_"),
    _secret("sendgrid_key", r"\<SG\.[\w-]{16,32}\.[\w-]{16,64}", "sg."),
    _secret("vault_token", r"\<hv[sbr]\.[\w-]{24,}", "hvs.", "hvb.", "hvr."),
    _secret("nostr_secret", r"nsec1[02-9ac-hj-np-z]{50,}", "nsec1"),
    _secret("age_key", r"\<AGE-SECRET-KEY-1[A-Z0-9]{50,}", "age-secret-key-1"),
    _secret(
        "bearer",
        r"\<bearer\s+[A-Za-z0-9._~+/-]{20,}=*",
        "bearer",
        flags=re.IGNORECASE | re.ASCII,
    ),
    _secret("url_password", r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)", "://"),
    # A long value with two digits or more, under a name that says what it is. A name alone proves little:
    # `token = next_token_of_the_line` stays.
    _secret(
        "assigned_secret",
        r"(?:secret|token|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key)[\w-]{0,20}"
        r"[\"']?\s{0,3}(?:=>?|:)\s{0,3}[\"']?"
        r"(?P<private>(?=[A-Za-z+/_~-]*+[0-9][A-Za-z+/_~-]*+[0-9])[A-Za-z0-9+_~-][A-Za-z0-9+/_~-]{19,}={0,2})",
        "secret",
        "token",
        "passw",
        "passphrase",
        "key",
        flags=re.IGNORECASE | re.ASCII,
    ),
    Pattern(
        "email",
        "email",
        re.compile(r"(?<![\w.%+-])[.%+-]*+(?P<private>\w[\w.%+-]*+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}(?!\w))"),
        ("@",),
    ),
    Pattern(
        "home",
        "home_path",
        # What may stand before it is looked at after its first slash: slashes are found fast.
        _compile(
            r"/(?:(?<![\w.~]/)|(?<=\\[nrt]/))(?:(?:mnt/[a-z]|[a-z]|var|export)/)?"
            r"(?:home|Users)/(?P<user>\w(?:[\w.-]*\w)?)"
        ),
        ("/home/", "/users/"),
    ),
    Pattern(
        "home",
        "home_path",
        _compile(r"\<[A-Z]:[\\/]{1,2}Users[\\/]{1,2}(?P<user>\w(?:[\w.-]*\w)?)", flags=re.IGNORECASE),
        ("users",),
    ),
)
"""In the order in which they are applied."""


def patterns_for(text: str, *, what: Collection[What] = ("secret", "email", "home")) -> Iterable[Pattern]:
    """The patterns of `what` that may be found in `text`, in order; quick, so that most are never tried."""
    lowered = text.lower()
    return [
        pattern
        for pattern in PATTERNS
        if pattern.what in what and any(clue in lowered for clue in pattern.clues)
    ]
