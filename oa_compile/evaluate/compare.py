"""Compares one predicted value with its gold value, and gives a score in 0 … 1.

Owns what "equal" means for each built-in kind of metric. Knows no spec, no weights, no feedback.
A prediction is untrusted: whatever it holds, it gets a score. A gold value that makes no sense for
the comparison is the dataset's fault and raises ValueError.
"""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Any

Comparison = Callable[[Any, Any], float]

_OPENING = "\"'`“”‘’«»‹›„‚([{<¿¡"
_CLOSING = "\"'`“”‘’«»‹›)]}>.,;:!?…"
_SEPARATORS = re.compile(r"[,;\n]")
_BULLET = re.compile(r"^\s*[-*•]\s+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")

_ARITHMETIC = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation])


def as_text(value: Any) -> str:
    """A value as people read it: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def normalize(text: str) -> str:
    """`text` without differences of case, Unicode form, white space, and punctuation around words.

    Marks inside a word stay (``1.5`` is not ``15``, ``well-known`` is one word), and so do a leading dot
    and a sign (``.env``, ``-5``). Normalizing twice changes nothing.
    """
    seen = ""
    while seen != text:
        seen = text
        text = unicodedata.normalize("NFKC", text).casefold()
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
        words = (word.lstrip(_OPENING).rstrip(_CLOSING) for word in text.split())
        text = " ".join(word for word in words if word)
    return text


def exact_match(gold: Any, pred: Any) -> float:
    """1 when the values are equal and of one type.

    True is not 1 and "4" is not 4; 1 and 1.0 are equal, since JSON has one kind of number. Lists
    compare item by item, in order.
    """
    return float(_same(gold, pred))


def _same(gold: Any, pred: Any) -> bool:
    if isinstance(gold, bool) or isinstance(pred, bool):
        return isinstance(gold, bool) and isinstance(pred, bool) and gold == pred
    if isinstance(gold, (int, float)) and isinstance(pred, (int, float)):
        return gold == pred
    if isinstance(gold, (list, tuple)) and isinstance(pred, (list, tuple)):
        return len(gold) == len(pred) and all(map(_same, gold, pred))
    if isinstance(gold, dict) and isinstance(pred, dict):
        return gold.keys() == pred.keys() and all(_same(gold[key], pred[key]) for key in gold)
    if isinstance(gold, str) and isinstance(pred, str):
        return gold == pred
    return gold is None and pred is None


def normalized_match(gold: Any, pred: Any) -> float:
    """1 when the texts are equal after `normalize`; lists item by item, in order.

    Texts that are nothing but punctuation are compared as they are: ``?`` is not ``!``.
    """
    if isinstance(gold, (list, tuple)) and isinstance(pred, (list, tuple)):
        return float(len(gold) == len(pred) and all(map(normalized_match, gold, pred)))
    before, after = normalize(as_text(gold)), normalize(as_text(pred))
    if not before and not after:
        return float(as_text(gold).strip() == as_text(pred).strip())
    return float(before == after)


def items(value: Any) -> frozenset[str]:
    """The distinct normalized items of a list, or of text separated by commas, semicolons or lines."""
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [as_text(item) for item in value]
    else:
        parts = [_BULLET.sub("", part) for part in _SEPARATORS.split(as_text(value))]
    return frozenset(item for item in map(normalize, parts) if item)


def set_f1(gold: Any, pred: Any) -> float:
    """F1 of the predicted items against the gold ones; order and repetition do not count.

    Two empty sets agree (1); an empty one and a full one do not (0).
    """
    wanted, given = items(gold), items(pred)
    if not wanted and not given:
        return 1.0
    return 2 * len(wanted & given) / (len(wanted) + len(given))


def files(value: Any) -> frozenset[str]:
    """The distinct paths of a list, or of text separated by commas, semicolons or lines.

    ``./src/a.py``, ``src//a.py``, ``src\\a.py`` and ```src/a.py``` name one file; case counts.
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [as_text(item) for item in value]
    else:
        parts = [_BULLET.sub("", part) for part in _SEPARATORS.split(as_text(value))]
    found = (part.strip().strip("\"'`").strip().replace("\\", "/") for part in parts)
    return frozenset(posixpath.normpath(path) for path in found if path)


def file_overlap(gold: Any, pred: Any) -> float:
    """F1 of the predicted files against the gold ones, as paths: order and repetition do not count.

    A path that ends in a whole gold one (``/repo/src/a.py`` for ``src/a.py``), or the other way round, is
    that file where no other could be meant.
    """
    wanted, given = files(gold), files(pred)
    if not wanted and not given:
        return 1.0
    met = len(wanted & given)
    left, free = sorted(given - wanted), wanted - given
    for path in left:
        meant = [one for one in free if one.endswith(f"/{path}") or path.endswith(f"/{one}")]
        if len(meant) == 1:
            free -= {meant[0]}
            met += 1
    return 2 * met / (len(wanted) + len(given))


def contains(gold: Any, pred: Any) -> float:
    """Share of the gold items that occur in the prediction, after `normalize`, as whole words.

    A gold string is one item; a gold list is one item each. Raises ValueError for a gold value with
    nothing to look for.
    """
    wanted = [normalize(as_text(item)) for item in (gold if isinstance(gold, (list, tuple)) else [gold])]
    if not wanted or not all(wanted):
        raise ValueError(f"nothing to look for in the gold value {as_text(gold)!r}")
    parts = pred if isinstance(pred, (list, tuple)) else [pred]
    # A form feed cannot survive `normalize`, so no item is found across two parts of a list.
    text = "\f".join(f" {normalize(as_text(part))} " for part in parts)
    return sum(f" {item} " in text for item in wanted) / len(wanted)


def numeric(gold: Any, pred: Any, *, tolerance: float = 0.0) -> float:
    """1 when ``|pred - gold| <= tolerance``, in the field's own units (absolute, not relative).

    Numbers are compared as they are written, in decimal: 1.1 is within 0.1 of 1. A prediction that is
    not a finite number scores 0; such a gold value raises ValueError.
    """
    target = number(gold)
    if target is None:
        raise ValueError(f"the gold value {as_text(gold)!r} is not a number")
    given = number(pred)
    if given is None:
        return 0.0
    distance = _ARITHMETIC.abs(_ARITHMETIC.subtract(given, target))
    return float(distance <= Decimal(repr(tolerance)))


def number(value: Any) -> Decimal | None:
    """The finite number a value holds, or None. Text may carry white space and thousands commas."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        found = Decimal(repr(text) if isinstance(text, float) else text)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
