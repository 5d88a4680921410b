"""Placeholders: words that stand for something else, and the way back.

Owns one request's table: who stands for what, which numbers are free, and how a text gets its originals
back. What deserves a placeholder is `privacy`'s matter. Three rules make the way back safe whatever the
texts hold:

- a placeholder is a whole word (``path_3``), never part of one, so ``path_1`` is never found in ``path_12``;
- a number that stands behind an underscore anywhere in the request is given to nobody, so no text of the
  user's can be taken for a placeholder;
- what a placeholder stands for holds no quote, backslash or control character: an answer that was JSON,
  or lines of ``name: value``, is that still when its originals are back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, get_args

from oa_compile.redaction import WORD_START

Kind = Literal["secret", "email", "user", "url", "host", "ip", "path", "name", "text", "number"]

_NUMBER = re.compile(r"_([0-9]{1,9})(?![0-9])")
_INSIDE = re.compile(rf"(?:{'|'.join(get_args(Kind))})_[0-9]{{1,9}}(?![0-9])")
_PLACEHOLDER = re.compile(rf"{WORD_START}{_INSIDE.pattern}(?!\w)", re.IGNORECASE)
_AFTER_ESCAPE = re.compile(r"(?<=\\[nrt])")
_WORD = re.compile(r"\w")
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')


class Placeholders:
    """The table of one request. `texts` are all that will be sent: their numbers are not used.

    Numbers are given in the order in which originals come, so the same texts sealed the same way get the
    same placeholders.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._taken = {number for text in texts for number in _NUMBER.findall(text)}
        self._by_original: dict[str, str] = {}
        self._by_placeholder: dict[str, str] = {}
        self._last: Counter[str] = Counter()

    def __contains__(self, word: str) -> bool:
        """Whether `word` is a placeholder that was given out."""
        return word in self._by_placeholder

    def stand_in(self, kind: Kind, original: str) -> str:
        """The placeholder of `original`: the same one each time, of the kind it was first met as.

        The caller sees to it that `original` stands between non-word characters, and is `safe`.
        """
        known = self._by_original.get(original)
        if known is None and "_" in original:
            # It may hold placeholders of an earlier pass; what it stands for never does. One of them may
            # stand behind an escape's letter that was taken for the word's: `\\nname_1`.
            original = _INSIDE.sub(self._original, original)
            known = self._by_original.get(original)
        if known is not None:
            return known
        number = self._last[kind] + 1
        while str(number) in self._taken:
            number += 1
        self._last[kind] = number
        placeholder = f"{kind}_{number}"
        self._by_original[original] = placeholder
        self._by_placeholder[placeholder] = original
        return placeholder

    def replace(self, kind: Kind, text: str, spans: Iterable[tuple[int, int]]) -> str:
        """`text` with placeholders for `spans` (in order, none overlapping).

        A span in the middle of a word takes in the rest of the word: what is left of one is no protection,
        and a placeholder must be a word of its own.
        """
        parts: list[str] = []
        done = 0
        for start, end in _whole_words(text, spans):
            parts += (text[done:start], self._in_pieces(kind, text[start:end]))
            done = end
        return "".join((*parts, text[done:])) if parts else text

    def _in_pieces(self, kind: Kind, original: str) -> str:
        if _UNSAFE.search(original) is None:
            return self.stand_in(kind, original)
        return change_between(
            _UNSAFE, original, lambda piece: self.stand_in(kind, piece) if _WORD.search(piece) else piece
        )

    def restore(self, text: str) -> str:
        """`text` with every placeholder that was given out, in any case, replaced by what it stands for."""
        return _PLACEHOLDER.sub(self._original, text)

    def _original(self, match: re.Match[str]) -> str:
        return self._by_placeholder.get(match[0].lower(), match[0])

    def counts(self) -> Mapping[str, int]:
        """How many different things of each kind were replaced, by kind in alphabetical order."""
        kinds = Counter(placeholder.rpartition("_")[0] for placeholder in self._by_placeholder)
        return dict(sorted(kinds.items()))


def change_between(joint: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` made to each part between matches of `joint`, which stay as they are."""
    parts: list[str] = []
    done = 0
    for match in joint.finditer(text):
        parts += (change(text[done : match.start()]), match[0])
        done = match.end()
    return "".join((*parts, change(text[done:])))


def _whole_words(text: str, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    whole: list[tuple[int, int]] = []
    for start, end in spans:
        done = whole[-1][1] if whole else 0
        left, right = start, max(end, done)
        while left > done and _in_word(text[left - 1]) and not _AFTER_ESCAPE.match(text, left):
            left -= 1
        while right < len(text) and _in_word(text[right]):
            right += 1
        if whole and left <= done:  # two placeholders with nothing between them would be no words
            left = whole.pop()[0]
        whole.append((left, right))
    return whole


def _in_word(character: str) -> bool:
    return character == "_" or character.isalnum()
