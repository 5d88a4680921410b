"""Paths, hosts and identifiers in a text, and what they become: each part a placeholder of its own.

    src/billing/late_fees.py:42   path_1/path_2/path_3.py:42     paths
    C:\\work\\app\\main.rs           C:\\path_4\\path_2\\path_5.rs
    late_fees.py                  path_3.py                      identifiers
    client.fetch_user             name_1.name_2
    db.internal.corp, 10.0.0.7    host_1, ip_1

Owns what counts as one of them. A part stands for the same thing wherever it is, so two paths that share a
folder share it still, and an answer may put known parts together anew. The extension stays: it says the
language, and nothing else. In doubt something is a path or an identifier, except for the words and
spellings listed here. A text is taken apart at single characters into runs, each looked at once: linear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from oa_compile.swarm.privacy.lexicon import EXTENSIONS, HOST_ENDS, PROSE, UNITS
from oa_compile.swarm.privacy.placeholders import Placeholders, change_between

URL = re.compile(r"\b(?!file:)[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"'<>`|\\^{}]*[^\s\"'<>`|\\^{}.,;:!?)\]]")

_PUBLIC_FOLDERS = frozenset({"home", "Users"})
_OWN = frozenset({"self", "cls", "this", "super"})

# A closing tag is no path, nor is an element's end.
_RUN = re.compile(r"</[\w.:-]*+|<[\w.:-]++/(?=>)|[\w.~/\\:@%+$-]++")
_COLONS = re.compile(r":++(?!\\)")
# What is written out with a backslash; `\text_1` is one and a placeholder.
_ESCAPE = r"\\[nrt](?!(?:ext|ame|umber)_[0-9])"
_ESCAPES = re.compile(_ESCAPE)
_COLONS_AND_ESCAPES = re.compile(rf":++(?!\\)|{_ESCAPE}")
_SEPARATORS = re.compile(r"[\\/]++")
_NAME = re.compile(r"[\w-]++(?:(?:\.|::|@)[\w-]++)*+")
_NAME_JOINTS = re.compile(r"\.|::|@")
_WORD = re.compile(r"\w++")
_SNAKE = re.compile(r"[^\W_]_++[^\W_]")
_CAMEL = re.compile(r"[a-z][0-9]*+[A-Z]|[A-Z]{2}[a-z]{2}")
_LETTER = re.compile(r"[^\W\d_]")
_ALPHANUMERIC = re.compile(r"[^\W_]")
_DRIVE = re.compile(r"[A-Za-z]:")
_LINE = re.compile(r"(?::[0-9]{1,9}){1,2}\Z")
_EDGES = ".~@%+$:-"


class Naming:
    """Gives placeholders of one request's table to paths, with `identifiers` also to the rest.

    What is in `kept` stays as it is, as a whole or as a part.
    """

    def __init__(self, table: Placeholders, *, kept: Collection[str], identifiers: bool) -> None:
        self._table = table
        self._kept = kept
        self._identifiers = identifiers
        self._known: dict[str, str] = {}

    def seal(self, text: str) -> str:
        """`text` with placeholders. URLs are left to whoever replaces them whole."""
        if "://" in text:
            return change_between(URL, text, self._seal_runs)
        return self._seal_runs(text)

    def covers(self, text: str) -> bool:
        """Whether `text` is one path, with a line number maybe, or one host or identifier: `seal` will
        leave nothing of it.
        """
        text = _LINE.sub("", text)
        if _RUN.fullmatch(text) is None or ":" in text.replace("::", ""):
            return False
        if "/" in text or "\\" in text:
            return _is_path(text)
        if not self._identifiers or _NAME.fullmatch(text) is None:
            return False
        return (
            is_identifier(text) if _WORD.fullmatch(text) else _is_dotted(text) or _address(text) is not None
        )

    def _seal_runs(self, text: str) -> str:
        return _RUN.sub(self._run, text)

    def _run(self, match: re.Match[str]) -> str:
        run = match[0]
        known = self._known.get(run)
        if known is None:
            self._known[run] = known = self._sealed_run(run)
        return known

    def _sealed_run(self, run: str) -> str:
        if run in self._kept or (run.isalpha() and (run.islower() or run.istitle())):
            return run
        if run.startswith("<"):
            return self._names(run)
        if "/" not in run and "\\" not in run:
            if run.count(":") > 1 and self._identifiers and (address := _address(run.strip("."))):
                return run.replace(address, self._table.stand_in("ip", address))
            return self._names(run)
        # `one\nsrc/x.py` in an escaped text: a slash tells that the backslash is no separator.
        joints = _COLONS_AND_ESCAPES if "/" in run and "\\" in run else _COLONS
        return change_between(joints, run, self._piece)

    def _piece(self, piece: str) -> str:
        path = self._path(piece)
        return change_between(_ESCAPES, piece, self._names) if path is None else path

    # Paths

    def _path(self, piece: str) -> str | None:
        """`piece` with its parts replaced; None if it is no path."""
        if not _is_path(piece):
            return None
        return piece if piece in self._kept else change_between(_SEPARATORS, piece, self._part)

    def _part(self, part: str) -> str:
        core = part.strip(_EDGES)
        if not core or self._stays(core) or core in _PUBLIC_FOLDERS or _DRIVE.fullmatch(part):
            return part
        stem = _stem(core)
        if self._stays(stem):
            return part
        lead = part[: len(part) - len(part.lstrip(_EDGES))]
        return lead + self._table.stand_in("path", stem) + part[len(lead) + len(stem) :]

    def _stays(self, word: str) -> bool:
        return word in self._kept or word in self._table

    # Names

    def _names(self, piece: str) -> str:
        return _NAME.sub(self._name, piece) if self._identifiers else piece

    def _name(self, match: re.Match[str]) -> str:
        name = match[0]
        if self._stays(name):
            return name
        if _NAME_JOINTS.search(name) is None:
            return _WORD.sub(self._word, name)
        if _address(name) is not None:
            return self._table.stand_in("ip", name)
        if not _is_dotted(name):
            return _WORD.sub(self._word, name)
        lead = name[: len(name) - len(name.lstrip("-"))]
        core = name[len(lead) :]
        stem = _stem(core)
        if _is_host(core):
            return lead + self._table.stand_in("host", core)
        return lead + change_between(_NAME_JOINTS, stem, self._dotted_part) + core[len(stem) :]

    def _dotted_part(self, part: str) -> str:
        core = part.strip("-")
        if not core or core in _OWN or self._stays(core) or not _LETTER.search(core):
            return part
        return part.replace(core, self._table.stand_in("name", core), 1)

    def _word(self, match: re.Match[str]) -> str:
        word = match[0]
        if not is_identifier(word) or self._stays(word):
            return word
        return self._table.stand_in("name", word)


def is_identifier(word: str) -> bool:
    """Whether a word of letters, digits and underscores is made of two words or more: snake_case,
    camelCase, PascalCase.
    """
    if "_" in word:
        return _SNAKE.search(word) is not None and _LETTER.search(word) is not None
    return len(word) > 3 and _CAMEL.search(word) is not None


def _is_dotted(name: str) -> bool:
    """A dotted name or a host, no number, version or abbreviation (``e.g``, ``v1.2``)."""
    parts = [part for part in _NAME_JOINTS.split(name) if _LETTER.search(part)]
    return len(parts) > 1 and any(len(part) > 1 for part in parts)


def _is_host(name: str) -> bool:
    return "::" not in name and ("@" in name or name.rpartition(".")[2].lower() in HOST_ENDS)


def _address(text: str) -> str | None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return None
    return text if _has_word(text) else None


def _stem(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return stem if dot and stem and extension.lower() in EXTENSIONS else name


def _has_word(text: str) -> bool:
    return _ALPHANUMERIC.search(text) is not None


def _is_path(piece: str) -> bool:
    if "/" not in piece and "\\" not in piece:
        return False
    names = [core for part in _SEPARATORS.split(piece) if (core := part.strip(_EDGES))]
    if not any(_LETTER.search(name) for name in names):
        return False
    if "/" in piece:
        if piece[0] in "/~.":
            return True
        return not (
            piece.strip(_EDGES).lower() in PROSE
            or (len(names) == 2 and names[1] in UNITS)
            or all(len(name) == 1 for name in names)
        )
    # A backslash alone may be an escape, as in `one\ntwo`: a drive, an extension or depth must speak for it.
    if _DRIVE.match(piece) or piece.startswith((".\\", "..\\")) or any(_stem(name) != name for name in names):
        return True
    deep = piece.startswith("\\\\") or piece.count("\\") > 1
    return deep and len(names) > 1 and all(len(name) > 1 for name in names)
