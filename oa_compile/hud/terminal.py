"""Showing a run in a terminal while it happens: a live panel on a TTY, plain lines elsewhere.

Owns when to draw and how to leave the screen clean; what is drawn is `panel`'s. A display never ends
a run: when its terminal is gone it goes silent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import Segment, Segments

from oa_compile.events import Line
from oa_compile.hud.milestones import milestone
from oa_compile.hud.panel import panel
from oa_compile.hud.text import encodable
from oa_compile.hud.view import RunView

FRAME = 1 / 8
"""Seconds between two drawings, at least."""

MOST_TIME = 0.03
"""Share of the time that drawing may take: the run pays for it, so a slow terminal is drawn less often."""

Clock = Callable[[], int]


def unix_ms() -> int:
    """Now, as the journal counts."""
    return time.time_ns() // 1_000_000


class Display(Protocol):
    """What shows a run. Entered once; `update` takes every line of the journal, in order."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing; a terminal is left as it was found."""

    def update(self, line: Line) -> None:
        """Fold `line` into the view, and show it. Never raises for the terminal's sake."""


def live(
    view: RunView,
    *,
    console: Console,
    enabled: bool = True,
    saved: Callable[[], int] | None = None,
    since: int | None = None,
    clock: Clock = unix_ms,
) -> Display:
    """A display for `view`; its `update` can be given to the journal as it is.

    The panel needs a real terminal behind `console` and `enabled` (off in CI, or when asked); plain
    lines are written otherwise. `saved` tells how many calls the journal answered in this process.
    Plain lines begin at `since` (Unix ms; now when left out): the past of a resumed run is not told
    again.
    """
    if enabled and _is_a_terminal(console):
        return PanelDisplay(view, console=console, saved=saved, clock=clock)
    return LineDisplay(view, console=console, since=clock() if since is None else since)


def _is_a_terminal(console: Console) -> bool:
    # Not `console.is_terminal` alone: FORCE_COLOR makes that true of a pipe.
    try:
        return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
    except ValueError:  # a closed file
        return False


class LineDisplay:
    """One plain line a milestone; never a control sequence."""

    def __init__(self, view: RunView, *, console: Console, since: int) -> None:
        self._view = view
        self._file, self._encoding = console.file, console.encoding
        self._since = since
        self._gone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        return None

    def update(self, line: Line) -> None:
        """Fold `line` in, and write its milestone if it is one."""
        self._view.apply(line)
        if self._gone or line.at < self._since:
            return
        text = milestone(self._view, line)
        if text is None:
            return
        try:
            # Not through rich: at a closed pipe it would send all of stdout to /dev/null and exit.
            self._file.write(encodable(text, self._encoding) + "\n")
            self._file.flush()
        except (OSError, ValueError):  # a closed pipe; a closed file
            self._gone = True


class PanelDisplay:
    """The panel, redrawn in place from its own thread."""

    def __init__(
        self,
        view: RunView,
        *,
        console: Console,
        saved: Callable[[], int] | None = None,
        clock: Clock = unix_ms,
    ) -> None:
        self._view = view
        self._console = console
        self._saved = saved
        self._clock = clock
        self._view_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="oacompile-hud", daemon=True)
        self._size = console.size
        # A console on "stderr" would follow sys.stderr, which is a file while an optimizer runs.
        console.file = console.file
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> Self:
        with suppress(OSError, ValueError):
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError, ValueError):
            self._live.stop()

    def update(self, line: Line) -> None:
        """Fold `line` in; it is on the screen with the next drawing."""
        with self._view_lock:
            self._view.apply(line)

    def _keep_drawing(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            begun = time.perf_counter()
            try:
                self._draw()
            except (OSError, ValueError):  # the terminal is gone; the run is not
                return
            cost = time.perf_counter() - begun
            pause = max(FRAME, cost / MOST_TIME)

    def _draw(self) -> None:
        size = self._console.size
        if size != self._size:
            self._size = size
            # The old frame has been wrapped anew and cannot be found. From the top, where the cursor
            # then is, stepping up over the old frame goes nowhere and the new one is drawn whole.
            self._console.control(Control.clear(), Control.home())
        with self._view_lock:
            frame = self._frame()
        self._live.update(frame, refresh=True)

    def _frame(self) -> Segments:
        """The panel as finished segments, so that nothing reads the view after the lock is let go."""
        drawing = panel(
            self._view,
            now=self._clock(),
            height=self._size.height - 1,
            saved=None if self._saved is None else self._saved(),
        )
        lines = self._console.render_lines(drawing, self._console.options, pad=False)
        segments: list[Segment] = []
        for number, line in enumerate(lines):
            segments += [Segment.line(), *line] if number else line
        return Segments(segments)
