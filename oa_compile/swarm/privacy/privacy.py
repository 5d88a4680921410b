"""Privacy: what may leave for the swarm, what stands in for the rest, and the way back.

Owns the policy and the order of things; `redaction` knows what a secret looks like, `naming` what a path or
an identifier is, `placeholders` how a text gets its originals back. A sealed request is a pure function of
request, policy and `RULES`: a run that is taken up again sends the same bytes.

| what is replaced                                             | open | paths | identifiers | full |
|--------------------------------------------------------------|------|-------|-------------|------|
| secrets of a known shape: ``secret_1``                       | yes  | yes   | yes         | yes  |
| the user's name in a home path: ``/home/user_1``             | yes  | yes   | yes         | yes  |
| e-mail addresses: ``email_1``                                |      | yes   | yes         | yes  |
| paths with a folder, part by part: ``path_1/path_2.py``      |      | yes   | yes         | yes  |
| URLs, hosts, IP addresses: ``url_1 host_1 ip_1``             |      |       | yes         | yes  |
| snake_case, camelCase, PascalCase of two words: ``name_1``   |      |       | yes         | yes  |
| dotted names and files without a folder: ``name_1.name_2``   |      |       | yes         | yes  |
| those users' names wherever they are: ``user_1``             |      |       | yes         | yes  |
| quoted strings of five characters or more: ``"text_1"``      |      |       |             | yes  |
| numbers, dates, times of five digits or more: ``number_1``   |      |       |             | yes  |

What stays in every mode: roles, the response format and every word in it, the names of fields and the
values a system message lets a model choose from, and prose. Prose is beyond any rule: who must hide what a
sentence says must not send it.

Secrets are restored in answers like everything else. The answer comes home, where the secret already is; a
program that was asked to move a line with a key in it shall get the line, not a word for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import msgspec

from oa_compile.chat import ChatMessage, ChatRequest, prompt_bytes
from oa_compile.redaction import WORD_START, What, patterns_for
from oa_compile.swarm.privacy.lexicon import COMMON_USERS, SCHEMA_TERMS
from oa_compile.swarm.privacy.naming import URL, Naming
from oa_compile.swarm.privacy.placeholders import Kind, Placeholders, change_between
from oa_compile.swarm.privacy.stays import field_names, format_of, told_names

PrivacyMode = Literal["open", "paths", "identifiers", "full"]

RULES = 2
"""The version of what each mode replaces: counted up with every change that seals a request differently."""

MAX_PROMPT_BYTES = 32 * 1024
"""What fits into one event of 64 KB after encryption, with room for the rest of the job."""

_LEVELS: Mapping[PrivacyMode, int] = {"open": 0, "paths": 1, "identifiers": 2, "full": 3}
_HOME: frozenset[What] = frozenset({"home"})
_PUBKEY = re.compile(r"[0-9a-f]{64}")


class PromptTooLarge(ValueError):
    """The sealed prompt has `bytes` bytes of UTF-8, and the policy allows `cap`."""

    def __init__(self, size: int, cap: int) -> None:
        super().__init__(
            f"a prompt of {size:,} bytes is over the {cap:,} that may go to the swarm; "
            "shorten it, raise max_prompt_bytes, or send it to another lane"
        )
        self.bytes = size
        self.cap = cap


class SchemaTellsSecret(ValueError):
    """The response format holds a secret or a home path. It must go as it is, so it cannot go at all."""


@dataclass(frozen=True, slots=True)
class PrivacyPolicy:
    """What may leave, and to whom. `allow` are providers' public keys (64 hex digits); empty: everybody.

    Raises ValueError for what is no policy.
    """

    mode: PrivacyMode = "paths"
    max_prompt_bytes: int = MAX_PROMPT_BYTES
    allow: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.mode not in _LEVELS:
            raise ValueError(f"no privacy mode {self.mode!r}; there are {', '.join(_LEVELS)}")
        if self.max_prompt_bytes < 1:
            raise ValueError(f"max_prompt_bytes must be 1 or more, not {self.max_prompt_bytes}")
        for key in sorted(self.allow):
            if _PUBKEY.fullmatch(key) is None:
                raise ValueError(f"not a provider's public key (64 hex digits, lower case): {key!r}")

    def permits(self, pubkey: str) -> bool:
        """Whether that provider may see sealed requests."""
        return not self.allow or pubkey in self.allow


@dataclass(frozen=True, slots=True)
class Sealed:
    """`request` is what may leave; `restore` gives a text its originals back; `counts` says how many
    different things of each kind were replaced.
    """

    request: ChatRequest
    restore: Callable[[str], str]
    counts: Mapping[str, int]


def describe(policy: PrivacyPolicy) -> dict[str, Any]:
    """The policy as plain JSON, for the journal and the artifact."""
    return {
        "mode": policy.mode,
        "rules": RULES,
        "max_prompt_bytes": policy.max_prompt_bytes,
        "allow": sorted(policy.allow),
    }


def seal(request: ChatRequest, policy: PrivacyPolicy) -> Sealed:
    """`request` as `policy` lets it leave: messages and stop words sealed, all else as it is.

    Raises PromptTooLarge, counted after sealing, and SchemaTellsSecret.
    """
    stays = format_of(request.response_format)
    if stays.private:
        raise SchemaTellsSecret(
            f"the answer's schema holds what never leaves ({', '.join(stays.private)}); "
            "take it out of the signature's field descriptions"
        )
    texts = [*(message.content for message in request.messages), *request.stop]
    table = Placeholders((*texts, *stays.texts))
    told = told_names(message.content for message in request.messages if message.role == "system")
    kept = _Kept(stays.words | told | field_names(texts), names=stays.names | told)
    sealed = _seal_texts(texts, table, level=_LEVELS[policy.mode], kept=kept)
    if sealed != texts:
        count = len(request.messages)
        messages = tuple(
            ChatMessage(role=message.role, content=text)
            for message, text in zip(request.messages, sealed[:count], strict=True)
        )
        request = msgspec.structs.replace(request, messages=messages, stop=tuple(sealed[count:]))
    size = prompt_bytes(request)
    if size > policy.max_prompt_bytes:
        raise PromptTooLarge(size, policy.max_prompt_bytes)
    return Sealed(request, table.restore, table.counts())


# The passes. Each sees what the ones before it left, in all texts, so a name met in the last message is
# replaced in the first.


class _Kept(NamedTuple):
    """What is not replaced: `words` where they stand alone, `names` also within quotes."""

    words: frozenset[str]
    names: frozenset[str]


def _seal_texts(texts: list[str], table: Placeholders, *, level: int, kept: _Kept) -> list[str]:
    texts = _private(texts, table, "secret")
    texts = _users(texts, table, kept=kept.words, everywhere=level >= 2)
    if level >= 1:
        texts = _private(texts, table, "email")
        naming = Naming(table, kept=kept.words, identifiers=level >= 2)
        if level >= 3:
            quoted = _Quoted(table, naming, kept=kept)
            texts = [_QUOTED.sub(quoted.replace, text) for text in texts]
        if level >= 2:
            texts = [_whole(URL, "url", text, table) if "://" in text else text for text in texts]
        if level >= 3:
            texts = [_NUMBER.sub(partial(_number, table, kept.words), text) for text in texts]
        texts = [naming.seal(text) for text in texts]
    return texts


def _private(texts: Iterable[str], table: Placeholders, what: Literal["secret", "email"]) -> list[str]:
    sealed = []
    for text in texts:
        for pattern in patterns_for(text, what={what}):
            text = table.replace(what, text, pattern.find(text))  # noqa: PLW2901 - one pattern after another
        sealed.append(text)
    return sealed


_MOST_USERS = 32
"""Looked for beyond their home's path: a machine has few, and each is one more word to try everywhere."""


def _users(texts: Iterable[str], table: Placeholders, *, kept: frozenset[str], everywhere: bool) -> list[str]:
    found: dict[str, None] = {}
    sealed = []
    for text in texts:
        for pattern in patterns_for(text, what=_HOME):
            spans = pattern.find(text, group="user")
            found |= dict.fromkeys(text[span.start : span.end] for span in spans)
            text = table.replace("user", text, spans)  # noqa: PLW2901 - one pattern after another
        sealed.append(text)
    names = [
        name for name in found if len(name) > 2 and name.lower() not in COMMON_USERS and name not in kept
    ]
    if not everywhere or not names:
        return sealed
    spelled = "|".join(re.escape(name) for name in sorted(names[:_MOST_USERS], key=len, reverse=True))
    anywhere = re.compile(rf"{WORD_START}(?:{spelled})(?!\w)", re.IGNORECASE)
    return [_whole(anywhere, "user", text, table) for text in sealed]


def _whole(pattern: re.Pattern[str], kind: Kind, text: str, table: Placeholders) -> str:
    return table.replace(kind, text, (match.span() for match in pattern.finditer(text)))


_NUMBER = re.compile(WORD_START + r"(?<![0-9][.,_:/-])[0-9](?:[.,_:/-]?[0-9])*+(?!\w)")


def _number(table: Placeholders, kept: frozenset[str], match: re.Match[str]) -> str:
    number = match[0]
    if sum(character.isdigit() for character in number) < 5 or number in kept:
        return number
    return table.stand_in("number", number)


# Quoted strings, all kinds of quotes, each within one line. `\"...\"` is one in a text that was escaped.
_QUOTED = re.compile(
    r"""
      (?<!\\)"  (?P<double>  [^"\\\n]*+ (?:\\.[^"\\\n]*+)*+ )  "
    | \\"       (?P<escaped> [^"\\\n]*+ )                      \\"
    | (?<![\w\\])' (?P<single> [^'\\\n]*+ (?:(?:\\.|(?<=\w)'(?=\w))[^'\\\n]*+)*+ ) '(?!\w)
    | `         (?P<code>    [^`\n]++ )                        `
    | “         (?P<curly>   [^“”\n]*+ )                       ”
    | «         (?P<angled>  [^«»\n]*+ )                       »
    """,
    re.VERBOSE,
)
_WORDS = re.compile(r"\w(?:.*\w)?", re.DOTALL)
_MARKER = r"\[\[ \#\# \w+ \#\# \]\]"


class _Quoted:
    """Replaces what stands between quotes, but for names that stay and what breaks a JSON string."""

    def __init__(self, table: Placeholders, naming: Naming, *, kept: _Kept) -> None:
        self._table = table
        self._naming = naming
        self._kept = kept.words
        self._fixed = _fixed_words(kept.names)

    def replace(self, match: re.Match[str]) -> str:
        content = match[match.lastgroup or 0]
        if len(content) < 5 or content in self._kept or content in SCHEMA_TERMS:
            return match[0]
        if self._naming.covers(content):
            return match[0]
        edge = (len(match[0]) - len(content)) // 2
        inner = change_between(self._fixed, content, self._piece)
        return match[0][:edge] + inner + match[0][-edge:]

    def _piece(self, piece: str) -> str:
        words = _WORDS.search(piece)
        if words is None or self._naming.covers(piece.strip()):
            return piece
        return self._table.replace("text", piece, [words.span()])


@lru_cache(maxsize=256)
def _fixed_words(names: frozenset[str]) -> re.Pattern[str]:
    """What stays inside quotes: markers, what cannot stand in a JSON string, and the schema's names."""
    words = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    return re.compile(rf'{_MARKER}|["\\\x00-\x1f\x7f]' + (rf"|(?<!\w)(?:{words})(?!\w)" if words else ""))
