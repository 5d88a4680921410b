"""What names a person: e-mail addresses and home folders.

Every language's letters count in names, so these patterns see letters, and say in bytes what the sieve may
look for. ``/root`` stays: it is the same on every machine. So does ``git@`` before a host, which is how a
repository is written.
"""

from __future__ import annotations

import re

from oa_compile.redaction.pattern import BACKSLASHES, Pattern, compiled, loosened

_BYTE = r"[\w\x80-\xff]"
"""A letter or digit as the sieve sees it: every byte of a character beyond ASCII is one."""

_USER = r"(?P<user>\w(?:[\w.-]*\w)?)"
_SEPARATOR = r"[\\/]{1,32}"


def _home(regex: str, sieve: str, *, private: int | str = 0) -> Pattern:
    return Pattern("home", "home_path", compiled(regex, flags=re.NOFLAG), loosened(sieve), private)


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "email",
        "email",
        # The letter of a line break that is written out is not the address's.
        re.compile(
            r"(?:(?<=\\[nrt])|(?<![\w.%+-])(?!(?<=\\)[nrt]))[.%+-]*+"
            r"(?P<private>(?!git@)\w[\w.%+-]*+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}(?!\w))"
        ),
        sieve=r"[\w\x80-\xff.%+-]@[\w\x80-\xff-]+\.",
        private="private",
    ),
    # Linux, macOS, and Windows as WSL, Cygwin and Git see it. What may stand before it is looked at after
    # its first slash: slashes are found fast.
    _home(
        r"/(?:(?<![\w.~]/)|(?<=\\[nrt]/))"
        r"(?:(?:(?:mnt|cygdrive)/)?[a-z]/|var/|export/|System/Volumes/Data/)?(?:home|Users)/" + _USER,
        rf"/(?:home|Users)/{_BYTE}",
    ),
    # The same with escaped slashes, as some write JSON.
    _home(
        rf"{BACKSLASHES}/(?:home|Users){BACKSLASHES}/{_USER}",
        rf"/(?:home|Users){BACKSLASHES}/{_BYTE}",
    ),
    # Windows, where a name may have spaces; a folder or file behind it says where it ends.
    _home(
        rf"\<[A-Za-z]:{_SEPARATOR}[Uu][Ss][Ee][Rr][Ss]{_SEPARATOR}"
        rf"(?P<user>\w(?:[\w.-]*\w)?(?:(?: [\w.-]+){{1,2}}(?={_SEPARATOR}[\w.]))?)",
        rf"[A-Za-z]:{_SEPARATOR}[Uu][Ss][Ee][Rr][Ss]{_SEPARATOR}{_BYTE}",
    ),
    # WSL as Windows sees it.
    _home(
        rf"[\\/]{{2,32}}wsl(?:\$|\.localhost){_SEPARATOR}[\w.-]+{_SEPARATOR}home{_SEPARATOR}{_USER}",
        rf"wsl(?:\$|\.localhost){_SEPARATOR}",
    ),
    # A home folder as coding agents name a project's folder by it: projects/-home-alice-code.
    _home(
        rf"projects{_SEPARATOR}(?P<private>(?:[A-Z]-)?-(?:home|Users)-(?P<user>[^\W_]+))",
        rf"projects{_SEPARATOR}[A-Z-]+(?:home|Users)-",
        private="private",
    ),
)
