"""Where output goes: stdout is the result, stderr is everything else.

Owns the streams, the colours and the JSON form. While a command runs, file descriptor 1 is stderr for
everyone but us, so that what a library prints, from Python or from C, never mixes with the result.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Color = Literal["auto", "always", "never"]

_color: ContextVar[Color] = ContextVar("color", default="auto")
_current: ContextVar[Output] = ContextVar("output")


@dataclass
class Output:
    """What a command writes to. `stdout` is the real one; see `claimed`."""

    stdout: TextIO
    stderr: TextIO
    color: Color = "auto"
    interactive: bool = field(init=False)
    """Whether a person watches stderr: progress and questions only then."""

    def __post_init__(self) -> None:
        self.interactive = self.stderr.isatty() and not os.environ.get("CI")

    @cached_property
    def console(self) -> Console:
        """A rich console on stdout."""
        return _console(self.stdout, self.color)

    @cached_property
    def log(self) -> Console:
        """A rich console on stderr, for progress, notes and warnings."""
        return _console(self.stderr, self.color)

    def show(self, *parts: RenderableType) -> None:
        """Write the result for a person: texts are kept on their lines, markup is not read."""
        _print(self.console, parts)
        self.stdout.flush()

    def note(self, *parts: RenderableType) -> None:
        """Write to stderr what is not the result."""
        _print(self.log, parts)
        self.stderr.flush()

    def emit(self, value: Any) -> None:
        """Write the result as one JSON value and a newline. NaN and infinity raise ValueError."""
        emit_json(value, self.stdout)

    def write(self, text: str) -> None:
        """Write `text` to stdout as it is."""
        self.stdout.write(text)
        self.stdout.flush()


def current() -> Output:
    """The output of the command that is running."""
    return _current.get()


def set_color(color: Color) -> None:
    """Take ``--color`` for what is opened from now on."""
    _color.set(color)


def emit_json(value: Any, stream: TextIO) -> None:
    """One JSON value and a newline, in UTF-8 whatever the terminal's encoding is."""
    utf8 = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
    stream.write(json.dumps(value, ensure_ascii=not utf8, indent=2, allow_nan=False) + "\n")
    stream.flush()


def errors() -> Output:
    """An output for what is said outside a command; both streams as they are."""
    return Output(_stream(sys.stdout), _stream(sys.stderr), _color.get())


@contextlib.contextmanager
def claimed() -> Iterator[Output]:
    """Keep stdout for the command's result; everyone else's fd 1 and ``sys.stdout`` are stderr."""
    errors_stream = _stream(sys.stderr)
    with contextlib.ExitStack() as stack:
        real = stack.enter_context(_moved_stdout())
        stack.enter_context(contextlib.redirect_stdout(errors_stream))
        output = Output(real, errors_stream, _color.get())
        token = _current.set(output)
        try:
            yield output
        finally:
            _current.reset(token)


@contextlib.contextmanager
def _moved_stdout() -> Iterator[TextIO]:
    """The real stdout on a descriptor of its own, with fd 1 pointing to stderr meanwhile."""
    if sys.stdout is None:  # the process was started with stdout closed
        with open(os.devnull, "w", encoding="utf-8") as nothing:  # noqa: PTH123
            yield nothing
        return
    sys.stdout.flush()
    kept = os.dup(1)
    encoding = sys.stdout.encoding or "utf-8"
    real = os.fdopen(os.dup(1), "w", encoding=encoding, errors="replace")
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed: the libraries' prints have nowhere to go
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 1)
    try:
        yield real
    finally:
        import ctypes

        ctypes.CDLL(None).fflush(None)  # what C code printed is still in its buffer, and belongs to stderr
        os.dup2(kept, 1)
        os.close(kept)
        with contextlib.suppress(BrokenPipeError):
            real.close()


def _stream(stream: TextIO | None) -> TextIO:
    return stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


def _console(stream: TextIO, color: Color) -> Console:
    """``--color`` > NO_COLOR > FORCE_COLOR > whether it is a terminal."""
    from rich.console import Console

    on: bool | None = {"always": True, "never": False, "auto": None}[color]
    if on is None and os.environ.get("NO_COLOR"):
        on = False
    elif on is None and os.environ.get("FORCE_COLOR"):
        on = True
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=on is False,
        force_terminal=True if on else None,
        color_system=None if on is False else "auto",
    )


def _print(console: Console, parts: tuple[RenderableType, ...]) -> None:
    from rich.text import Text

    for part in parts:
        # A line stays a line: paths are copied, and the next program in a pipe counts on it.
        console.print(part, soft_wrap=isinstance(part, (str, Text)))
