"""Redaction of a dataset: home paths, e-mail addresses and well known secrets are replaced on the way in.

Owns what stands in their place, for good: nothing of it can be had back. What they look like is
`oa_compile.redaction`'s, and its `KINDS` says what is counted as what. What was replaced is counted by kind
and never shown. A free-form password is beyond any pattern, which is why datasets stay private unless their
owner publishes them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from oa_compile.redaction import Span, What, looks_secret, names_a_secret, patterns_for

_REPLACEMENTS: Mapping[What, str] = {"secret": "<secret>", "email": "<email>", "home": "~"}

_AT_ONCE = 16 * 1024
"""Characters of short strings that are looked through together: few calls, and all of it in the cache."""


def redact(text: str, *, counts: Counter[str]) -> str:
    """`text` with everything private replaced; adds to `counts` by kind. Redacting twice changes nothing.

    What is replaced may uncover something, such as a token that a hyphen tied to another. So the text is
    looked through until nothing is found. That ends: each time something of it is gone.
    """
    changed = True
    while changed:
        changed = False
        for pattern in patterns_for(text):
            spans = pattern.find(text)
            if not spans:
                continue
            changed = True
            counts[pattern.kind] += len(spans)
            parts: list[str] = []
            end = 0
            for span in _whole_words(text, spans) if pattern.what == "secret" else spans:
                parts += (text[end : span.start], _REPLACEMENTS[pattern.what])
                end = span.end
            text = "".join((*parts, text[end:]))
    return text


_ESCAPE = re.compile(r"(?<=\\[nrt])")


def _whole_words(text: str, spans: list[Span]) -> list[Span]:
    """`spans` with the rest of the words they begin and end in, as one where they meet.

    What is left of a token may still be one, and a secret in the middle of a long word must not leave
    another word's beginning behind: words full of secrets would be looked through once for each.
    """
    whole: list[Span] = []
    for span in spans:
        done = whole[-1].end if whole else 0
        start, end = span.start, max(span.end, done)
        while start > done and _in_word(text[start - 1]) and not _ESCAPE.match(text, start):
            start -= 1
        while end < len(text) and _in_word(text[end]):
            end += 1
        if whole and start <= done:
            start = whole.pop().start
        whole.append(Span(start, end))
    return whole


def _in_word(character: str) -> bool:
    """Whether tokens' patterns see a word's character: ASCII's only."""
    return character == "_" or (character.isascii() and character.isalnum())


def redact_value(value: Any, *, counts: Counter[str]) -> Any:
    """A JSON value with every string in it redacted, keys included; itself where there is nothing to redact.

    A string under a key such as ``password`` is a secret by that name. Keys that would become the same are
    numbered, so that no value is lost.
    """
    if not _may_hold_any(value):
        return value
    top = [value]
    to_do: list[list[Any] | dict[str, Any]] = [top]
    while to_do:  # not by recursion: a log's nesting is whatever somebody wrote
        holder = to_do.pop()
        if isinstance(holder, dict):
            for key, item in holder.items():
                holder[key] = _redacted(item, key, counts, to_do)
        else:
            holder[:] = [_redacted(item, "", counts, to_do) for item in holder]
    return top[0]


def _redacted(item: Any, name: str, counts: Counter[str], to_do: list[list[Any] | dict[str, Any]]) -> Any:
    """`item`, which stands under `name`: a string redacted, anything else a copy that is still `to_do`."""
    if isinstance(item, str):
        text = redact(item, counts=counts)
        if names_a_secret(name) and looks_secret(text):
            counts["named_secret"] += 1
            return _REPLACEMENTS["secret"]
        return text
    if isinstance(item, list | tuple):
        to_do.append(list(item))
        return to_do[-1]
    if isinstance(item, dict):
        to_do.append(_with_keys_redacted(item, counts=counts))
        return to_do[-1]
    return item


def _with_keys_redacted(item: dict[str, Any], *, counts: Counter[str]) -> dict[str, Any]:
    redacted: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for key, value in item.items():
        name = new = redact(key, counts=counts)
        while new in redacted or (new != key and new in item):
            numbers[name] += 1
            new = f"{name}_{numbers[name] + 1}"
        redacted[new] = value
    return redacted


def _may_hold_any(value: Any) -> bool:
    """Whether a pattern may be found in any string of `value`: short ones are looked through as one text."""
    strings: list[str] = []
    names: set[str] = set()
    to_do = [value]
    size = 0
    while to_do:
        item = to_do.pop()
        if isinstance(item, str):
            strings.append(item)
            size += len(item)
            if size > _AT_ONCE:
                if patterns_for("\n".join(strings)):
                    return True
                strings.clear()
                size = 0
        elif isinstance(item, dict):
            names.update(item)
            to_do += item.values()
        elif isinstance(item, list | tuple):
            to_do += item
    return any(map(names_a_secret, names)) or bool(patterns_for("\n".join((*names, *strings))))
