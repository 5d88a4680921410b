"""The text that says why a score is what it is: templates checked, filled and kept short.

GEPA's reflection reads it, so it is paid for by the token; values come from sessions and models, so a
template must not reach into them.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from oa_compile.errors import SpecError
from oa_compile.evaluate.compare import as_text

MAX_VALUE = 2_000
"""Characters of one value that feedback quotes."""

PLACEHOLDERS = ("gold", "pred", "field", "inputs", "note")


def check_template(template: str, *, where: str) -> None:
    """Raise SpecError unless `template` holds only plain `PLACEHOLDERS`.

    Attributes, indices, conversions and format specs are refused.
    """
    hint = f"use {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}; write {{{{ and }}}} for braces"
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SpecError(f"{where}: feedback: {error}", hint=hint) from error
    for _text, name, form, conversion in pieces:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise SpecError(f"{where}: feedback: `{{{name}}}` cannot be filled in", hint=hint)


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with its placeholders replaced, once: braces inside values stay as they are."""
    pieces = string.Formatter().parse(template)
    return "".join(text + (values[name] if name is not None else "") for text, name, _form, _conv in pieces)


def quote(value: Any) -> str:
    """A value as feedback quotes it, cut at `MAX_VALUE` characters."""
    text = as_text(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
