"""A shell line taken apart: the simple commands in it, and what stands between them.

Owns words and operators, no more: nothing is expanded or run. What is quoted, or is the text of a
here-document, is no command: a commit message that mentions ``cargo test`` has tested nothing.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

MAX_CHARS = 20_000
"""Of a longer line only the beginning is looked at: the rest is a script's text."""

_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1([^\n]*)\n.*?(?:^[ \t]*\2\b|\Z)", re.S | re.M)
_WHOLE_COMMENT = re.compile(r"^[ \t]*#.*$", re.M)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.M)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_OPTION = re.compile(r"-|[\d.]+[smhd]?$")
_PUNCTUATION = "();<>|&\n"
_OPERATORS = frozenset({"&&", "||", ";", "|", "|&", "&"})
_KEYWORDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{", "}"})
_SHELLS = frozenset({"bash", "sh", "zsh", "dash"})
# Programs that run another, which stands behind their own options and numbers.
_WRAPPERS = frozenset(
    {
        "env",
        "time",
        "nice",
        "sudo",
        "exec",
        "command",
        "nohup",
        "xvfb-run",
        "stdbuf",
        "npx",
        "bunx",
        "timeout",
    }
)
_RUNNERS = {
    **dict.fromkeys(("uv", "poetry", "pdm", "hatch", "pipenv", "rye"), "run"),
    **dict.fromkeys(("bundle", "pnpm", "npm", "mise"), "exec"),
    "yarn": "dlx",
}


class Command(NamedTuple):
    """One simple command. `words` begin with the program as it was called; `then` is the operator behind
    it: a line's end is ``;``, and nothing follows the last.
    """

    words: tuple[str, ...]
    then: str

    @property
    def text(self) -> str:
        """The words with the program's bare name in front: ``.venv/bin/pytest -q`` is ``pytest -q``."""
        return " ".join((self.words[0].rsplit("/", 1)[-1], *self.words[1:]))


def commands_in(line: str) -> list[Command]:
    """The simple commands of a shell line, in order, without the assignments, redirections and wrappers
    (``timeout 60``, ``uv run``) around them. Empty for a line whose quotes never close.
    """
    text = _HEREDOC.sub(r" \3\n", line[:MAX_CHARS].replace("\\\n", " "))
    try:
        return _parsed(_WHOLE_COMMENT.sub("", text))
    except ValueError:
        pass
    try:
        return _parsed(_COMMENT.sub("", text))  # an apostrophe in a comment opens no quote
    except ValueError:
        return []


def _parsed(text: str) -> list[Command]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    found: list[Command] = []
    words: list[str] = []
    redirected = False
    for token in lexer:
        if (operator := _operator(token)) is not None:
            _add(found, words, operator)
            words, redirected = [], False
        elif token and set(token) <= set("<>&|") and set(token) & set("<>"):
            if words and words[-1].isdigit():
                words.pop()  # the descriptor of ``2>&1``
            redirected = True
        elif redirected:
            redirected = False
        elif not token or not set(token) <= set("()<>"):
            words.append(token)
    _add(found, words, "")
    return found


def _operator(token: str) -> str | None:
    """The operator a run of punctuation amounts to: the lexer gives ``);`` as one token."""
    if not token or not set(token) <= set("();|&\n"):
        return None
    bare = token.strip("()\n")
    if bare in _OPERATORS:
        return bare
    return ";" if "\n" in token or ";" in token else None


def _add(found: list[Command], words: list[str], then: str) -> None:
    bare = _unwrapped(words)
    if not bare:
        return
    if bare[0].rsplit("/", 1)[-1] in _SHELLS and len(bare) > 2 and re.fullmatch(r"-\w*c", bare[1]):
        inner = commands_in(bare[2])
        found += [*inner[:-1], *(last._replace(then=then) for last in inner[-1:])]
    else:
        found.append(Command(tuple(bare), then))


def _unwrapped(words: list[str]) -> list[str]:
    rest = words
    while rest:
        name = rest[0].rsplit("/", 1)[-1]
        if _ASSIGNMENT.match(rest[0]) or name in _KEYWORDS:
            rest = rest[1:]
        elif name in _WRAPPERS:
            rest = _past_options(rest[1:])
        elif len(rest) > 1 and rest[1] == _RUNNERS.get(name) and rest[2:]:
            # ``npm run`` and its like start scripts, not programs, and are no wrappers.
            rest = _past_options(rest[2:])
        elif name.startswith("python") and rest[1:2] == ["-m"]:
            rest = rest[2:]
        else:
            return rest
    return rest


def _past_options(words: list[str]) -> list[str]:
    return next((words[index:] for index, word in enumerate(words) if not _OPTION.match(word)), [])
