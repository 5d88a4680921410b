"""A chat request as ``i`` and ``param`` tags, and back without loss.

Owns which tag says what of messages and sampling (the table is in `nip90`); knows no job, no event and no
money. The prompt travels once, readable for a provider that knows nothing of us: all contents stand in one
``i`` tag, and ``roles`` says where each begins and whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.swarm.protocol.event import Tags
from oa_compile.swarm.protocol.tags import (
    ProtocolError,
    named,
    read_count,
    read_decimal,
    read_integer,
    read_json,
    write_json,
)

Params = Mapping[str, Sequence[str]]
"""The values of each parameter, in order."""

_BETWEEN = "\n\n"


def _read_format(text: str) -> dict[str, Any]:
    value: dict[str, Any] = read_json(text, dict[str, Any])
    return value


_SAMPLING: Mapping[str, Callable[[str], Any]] = {
    "max_tokens": read_count,
    "temperature": read_decimal,
    "top_p": read_decimal,
    "top_k": read_integer,
    "seed": read_integer,
    "response_format": _read_format,
}
"""The fields of a request that are one parameter each, and their reader. All are written as JSON, which
writes a float as its repr: the shortest text that reads as the same float.
"""


def write_chat(chat: ChatRequest) -> Tags:
    """The tags of `chat`. Raises ProtocolError for what would not be read again as it is."""
    messages = chat.messages
    roles = ",".join(f"{_quote(message.role)}:{len(message.content)}" for message in messages)
    tags = [
        ["i", _BETWEEN.join(message.content for message in messages), "text"],
        ["param", "roles", roles],
    ]
    for name, read in _SAMPLING.items():
        value = getattr(chat, name)
        if value is not None:
            text = write_json(value)
            if read(text) != value:
                raise ProtocolError(f"{name} cannot be sent as it is: {value!r}")
            tags.append(["param", name, text])
    tags += (["param", "stop", stop] for stop in chat.stop)
    return tags


def read_params(tags: Tags) -> dict[str, list[str]]:
    """The parameters by name, ``top-k`` being ``top_k``; those without a value are left out."""
    params: dict[str, list[str]] = {}
    for tag in named(tags, "param"):
        if len(tag) > 2:
            params.setdefault(tag[1].lower().replace("-", "_"), []).append(tag[2])
    return params


def read_chat(tags: Tags, params: Params) -> ChatRequest:
    """What `write_chat` wrote, or what a plain customer asks. Raises ProtocolError, also for an input that
    would have to be fetched.
    """
    text = _BETWEEN.join(_inputs(tags))
    roles = params.get("roles")
    messages = _messages(text, roles[0]) if roles else (ChatMessage("user", text),)
    sampling = {name: read(params[name][0]) for name, read in _SAMPLING.items() if name in params}
    return ChatRequest(messages=messages, stop=tuple(params.get("stop", ())), **sampling)


def _inputs(tags: Tags) -> list[str]:
    """The texts of all ``i`` tags."""
    inputs = list(named(tags, "i"))
    if not inputs:
        raise ProtocolError("a job without input: send the prompt as an `i` tag of type text")
    for tag in inputs:
        # The page that describes kind 5050 writes the type `prompt`, and some write none.
        if len(tag) > 2 and tag[2].lower() not in {"text", "prompt", ""}:
            raise ProtocolError(f"input of type {tag[2][:40]!r} is not fetched: send the text itself")
    return [tag[1] for tag in inputs]


def _messages(text: str, roles: str) -> tuple[ChatMessage, ...]:
    """`text` cut up as `roles` says, which must account for all of it."""
    messages: list[ChatMessage] = []
    at = 0
    for entry in roles.split(",") if roles else ():
        if messages:
            at += len(_BETWEEN)
            if text[at - len(_BETWEEN) : at] != _BETWEEN:
                raise ProtocolError("the lengths in `roles` are not those of the messages")
        role, colon, length = entry.rpartition(":")
        if not colon:
            raise ProtocolError(f"`roles` lists role:length, not {entry[:40]!r}")
        end = at + read_count(length)
        messages.append(ChatMessage(_unquote(role), text[at:end]))
        at = end
    if at != len(text):
        raise ProtocolError("the lengths in `roles` are not those of the messages")
    return tuple(messages)


def _quote(role: str) -> str:
    try:
        return quote(role, safe="")
    except UnicodeEncodeError as error:
        raise ProtocolError(f"not a role: {role!r}") from error


def _unquote(role: str) -> str:
    try:
        return unquote(role, errors="strict")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"not a role: {role[:40]!r}") from error
