"""Figures and foreign text as a terminal can show them.

Owns how scores, times, bars and stairs are written, what becomes of control characters in text that
we did not write, and the fallback for terminals that cannot encode a glyph. Draws no screen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

FULL, EMPTY = "█", "░"
STEPS = "▁▂▃▄▅▆▇█"
DASH = "–"

# One cell for one cell, so that a layout made with the left-hand glyphs holds with the right-hand ones.
_STAND_INS = dict(zip("█░▁▂▃▄▅▆▇·→…–✓✗│─╭╮╰╯", "#._.:-=+*->~-+x|-++++", strict=True))


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """`text` with nothing in it that could steer a terminal.

    Control characters, escape sequences' first byte and bidirectional overrides become ``\\x1b``-like
    escapes; white space becomes single blanks unless `keep_newlines`.
    """
    text = text.replace("\r\n", "\n").expandtabs(4) if keep_newlines else " ".join(text.split())
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char == "\n" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )


def shorten(text: str, width: int) -> str:
    """`text` cleaned, on one line, cut to `width` characters with an ellipsis."""
    line = clean(text)
    return line if len(line) <= width else line[: max(width - 1, 0)].rstrip() + "…"


def plain(text: object, style: str = "") -> Text:
    """Foreign text as one cleaned line; never read as markup."""
    return Text(clean(str(text)), style)


def percent(score: float | None) -> str:
    """A score in 0 … 1 as ``52.5%``; ``–`` when there is none."""
    return DASH if score is None else f"{score * 100:.1f}%"


def points(gain: float) -> str:
    """A difference of scores as ``+17.5 points``; the sign is always there."""
    return f"{gain * 100:+.1f} points"


def duration(seconds: float | None) -> str:
    """``0:42``, ``12:05``, ``1:02:03``; ``–`` when it is not known."""
    if seconds is None:
        return DASH
    whole = int(max(seconds, 0.0) + 0.5)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def counted(number: int, noun: str) -> str:
    """``1 call``, ``1,250 calls``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def bar(share: float, width: int) -> str:
    """A bar of `width` cells; anything begun shows, and only what is done is full."""
    share = min(max(share, 0.0), 1.0)
    filled = int(share * width)
    if share > 0 and filled == 0:
        filled = 1
    return FULL * filled + EMPTY * (width - filled)


def stair(curve: Sequence[tuple[int, float]], end: int, width: int) -> str:
    """The best score over calls as steps: `curve` holds (calls so far, score) rising in both.

    The lowest step is the first score, the highest the last; blank before the first.
    """
    if not curve or width <= 0:
        return ""
    low, high = curve[0][1], curve[-1][1]
    end = max(end, curve[-1][0], 1)
    cells = []
    for cell in range(width):
        calls = end * (cell + 1) / width
        reached = [score for at, score in curve if at <= calls]
        if not reached:
            cells.append(" ")
        elif high == low:
            cells.append(STEPS[0])
        else:
            cells.append(STEPS[round((reached[-1] - low) / (high - low) * (len(STEPS) - 1))])
    return "".join(cells)


def level(share: float) -> str:
    """The colour of a cap's bar: the ledger warns at 50 and 80 percent, and so do the bars."""
    return "red" if share >= 0.8 else "yellow" if share >= 0.5 else "green"


class ByWidth:
    """A renderable that is laid out for the width it gets, at every drawing anew."""

    def __init__(self, layout: Callable[[int], RenderableType]) -> None:
        self._layout = layout

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._layout(options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


class Printable:
    """Draws `inner` with only what the console's encoding can carry: a journal may hold any text,
    and a terminal that cannot show it must not end the run.
    """

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # rich would choose other, larger boxes for a poor encoding; here each glyph has its stand-in.
        richest = options.copy()
        richest.encoding = "utf-8"
        for segment in console.render(self._inner, richest):
            if segment.control:
                yield segment
            else:
                yield Segment(encodable(segment.text, options.encoding), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._inner)


def encodable(text: str, encoding: str) -> str:
    """`text` itself if `encoding` can carry it, else with ASCII stand-ins of the same width."""
    if text.isascii() or _fits(text, encoding):
        return text
    return "".join(
        char if _fits(char, encoding) else _STAND_INS.get(char) or "?" * cell_len(char) for char in text
    )


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
