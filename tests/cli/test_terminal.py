"""The displays on real terminals: a pseudo-terminal with a process behind it, and pipes.

The process under test applies a scripted journal part by part, each when it is told to on stdin; the
test reads what reaches the terminal through a small emulator, so it sees what a person would see.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from oa_compile.events import Line
from oa_compile.hud.milestones import LONGEST, milestone
from oa_compile.hud.terminal import LineDisplay, PanelDisplay, live
from oa_compile.hud.view import RunView
from tests.support.runs import START, Script, optimize_run

ROOT = Path(__file__).parents[2]

CHILD = """
import contextlib, io, sys
from rich.console import Console
from oa_compile.hud.terminal import live
from oa_compile.hud.view import RunView
from tests.support.runs import optimize_run

view, lines = RunView(), optimize_run(finished=False)
parts = [lines[:5], lines[5:60], lines[60:]]
print("$ oacompile optimize", file=sys.stderr, flush=True)
with contextlib.ExitStack() as stack:
    shown = live(view, console=Console(stderr=True), enabled="--plain" not in sys.argv, since=0)
    stack.enter_context(shown)
    if "--captured" in sys.argv:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    for part in parts:
        for line in part:
            shown.update(line)
        if view.phase == "search" and "--quiet" not in sys.argv:
            print("chatter of a library")
        if "--stop" in sys.argv and view.phase:
            raise SystemExit(9)
        sys.stdin.readline()
if "--quiet" not in sys.argv:
    print("the end", file=sys.stderr, flush=True)
print("result", view.done)
"""


PRINTED = {"$ oacompile optimize", "chatter of a library", "the end"}
"""All that the child prints besides the panel."""


class Screen:
    """As much of a terminal as rich uses: enough to see what a person sees."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[str] = [""]
        self.scrolled: list[str] = []
        self.row = self.column = 0
        self.cursor_shown = True
        self.raw = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._pending = ""

    def feed(self, data: bytes) -> None:
        self.raw += data
        text, self._pending = self._pending + self._decoder.decode(data), ""
        position = 0
        while position < len(text):
            char = text[position]
            if char == "\x1b":
                match = re.match(r"\x1b\[(\??)([\d;]*)([A-Za-z])", text[position:])
                if match is None:
                    self._pending = text[position:]
                    return
                self._control(match[1], match[2], match[3])
                position += match.end()
                continue
            self._put(char)
            position += 1

    def _put(self, char: str) -> None:
        if char == "\n":
            self._down()
        elif char == "\r":
            self.column = 0
        else:
            if self.column == self.columns:
                self.column = 0
                self._down()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")
        if len(self.lines) > self.rows:
            self.scrolled.append(self.lines.pop(0))
            self.row -= 1

    def _control(self, private: str, argument: str, final: str) -> None:
        if private:
            if argument == "25":
                self.cursor_shown = final == "h"
            return
        number = int(argument or "1") if argument.isdigit() or not argument else 1
        if final == "A":
            self.row = max(self.row - number, 0)
        elif final == "H":
            self.row = self.column = 0
        elif final == "J":
            self.lines = [""] * len(self.lines)
        elif final == "K":
            self.lines[self.row] = ""
        elif final != "m":
            raise AssertionError(f"the emulator does not know CSI {argument}{final}")

    def resize(self, columns: int, rows: int) -> None:
        """Wrap what is there anew, as terminals do."""
        wrapped = [
            line[at : at + columns] for line in self.lines for at in range(0, max(len(line), 1), columns)
        ]
        self.columns, self.rows = columns, rows
        self.lines = wrapped[-rows:]
        self.row, self.column = len(self.lines) - 1, min(self.column, columns)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)


def whole(wanted: str, *, columns: int | None = None) -> Callable[[str], bool]:
    """Whether a screen shows `wanted` in one whole panel, with no remains of another."""

    def seen(text: str) -> bool:
        lines = text.rstrip().split("\n")
        tops = [place for place, line in enumerate(lines) if line.startswith("╭")]
        ends = [place for place, line in enumerate(lines) if line.startswith("╰")]
        if wanted not in text or len(tops) != 1 or len(ends) != 1:
            return False
        inside = lines[tops[0] : ends[0] + 1]
        outside = {*lines[: tops[0]], *lines[ends[0] + 1 :]}
        return {len(line) for line in inside} == {columns or len(inside[0])} and outside <= PRINTED

    return seen


class Session:
    """The child on its pseudo-terminal."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, screen: Screen) -> None:
        self.process, self.master, self.screen = process, master, screen

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def read_until(self, seen: Callable[[str], bool]) -> str:
        while not seen(self.screen.text):
            self.screen.feed(self._read() or self._ended())
        return self.screen.text

    def read_to_the_end(self) -> str:
        while data := self._read():
            self.screen.feed(data)
        return self.screen.text

    def _read(self) -> bytes:
        try:
            return os.read(self.master, 4096)
        except OSError:  # the last writer is gone
            return b""

    def _ended(self) -> bytes:
        raise AssertionError(f"the process ended; its screen was:\n{self.screen.text}")

    def resize(self, columns: int, rows: int) -> None:
        set_size(self.master, columns, rows)
        self.screen.resize(columns, rows)

    def result(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        out = self.process.stdout.read().decode()
        return self.process.wait(), out


def set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONUTF8": "1"} | more


@contextmanager
def session(*arguments: str, columns: int = 80, rows: int = 24, **more: str) -> Iterator[Session]:
    master, slave = pty.openpty()
    set_size(slave, columns, rows)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment(**more),
        cwd=ROOT,
    )
    os.close(slave)
    try:
        yield Session(process, master, Screen(columns, rows))
    finally:
        process.kill()
        process.wait()
        for end in (process.stdin, process.stdout):
            if end is not None:
                end.close()
        os.close(master)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20), (200, 60)])
def test_the_panel_follows_the_run_and_leaves_the_screen_clean(columns: int, rows: int) -> None:
    with session(columns=columns, rows=rows) as on:
        first = on.read_until(whole("bootstrap"))
        assert "tool-selection · miprov2" in first
        assert not on.screen.cursor_shown
        on.go_on()
        on.read_until(whole("best 35.0%"))
        on.go_on()
        last = on.read_until(whole("best 60.0%"))
        assert "+25.0 points" in last
        assert "ddd4444" in last
        assert max(map(len, last.splitlines())) <= columns
        on.go_on()
        on.read_to_the_end()
        assert [line.rstrip() for line in [*on.screen.scrolled, *on.screen.lines] if line.strip()] == [
            "$ oacompile optimize",
            "chatter of a library",
            "chatter of a library",
            "the end",
        ]
        assert on.screen.cursor_shown
        assert on.result() == (0, "result 77\n")


@pytest.mark.parametrize("size", [(60, 24), (100, 24), (80, 14), (120, 40)])
def test_a_resize_leaves_one_whole_panel(size: tuple[int, int]) -> None:
    columns, rows = size
    with session() as on:
        on.read_until(lambda text: "bootstrap" in text)
        on.go_on()
        on.read_until(lambda text: "best 35.0%" in text)
        on.resize(columns, rows)
        on.go_on()

        text = on.read_until(whole("best 60.0%", columns=columns))
        assert len(text.split("\n")) <= rows


def test_a_search_that_captures_the_streams_neither_hides_the_panel_nor_keeps_the_streams() -> None:
    with session("--captured") as on:
        on.read_until(whole("bootstrap"))
        on.resize(70, 24)
        on.go_on()
        on.read_until(whole("best 35.0%", columns=70))
        on.go_on()
        on.read_until(whole("best 60.0%"))
        on.go_on()
        assert "the end" in on.read_to_the_end()
        assert on.result() == (0, "result 77\n")


def test_an_interrupted_run_gives_the_terminal_back() -> None:
    with session("--stop") as on:
        text = on.read_to_the_end()
        assert on.screen.cursor_shown
        assert "╭" not in text
        assert on.result() == (9, "")


def test_a_terminal_that_goes_away_does_not_end_the_run() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment(),
        cwd=ROOT,
    )
    os.close(slave)
    seen = b""
    while b"bootstrap" not in seen:
        seen += os.read(master, 4096)
    os.close(master)
    out, _ = process.communicate(b"\n\n\n")
    assert out == b"result 77\n"
    assert process.returncode == 0


def test_ascii_terminals_get_ascii() -> None:
    with session(PYTHONIOENCODING="ascii", PYTHONUTF8="0") as on:
        on.go_on()
        on.go_on()
        text = on.read_until(lambda text: "best 60.0%" in text)
        assert "+- tool-selection - miprov2 " in text
        on.go_on()
        on.read_to_the_end()
        assert on.screen.raw.isascii()
        assert on.result()[0] == 0


@pytest.mark.parametrize(
    "more", [{}, {"FORCE_COLOR": "1"}, {"CI": "true", "GITHUB_ACTIONS": "true"}, {"TTY_COMPATIBLE": "1"}]
)
def test_into_a_pipe_go_plain_lines_and_nothing_else(more: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=b"\n\n\n", capture_output=True, env=environment(**more), cwd=ROOT
    )
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[1] == "[0:00] tool-selection · miprov2 · run 20261123-1551 started"
    assert "[0:41] ddd4444 scored 60.0% on val (n=20), best so far" in lines
    assert done.returncode == 0


@pytest.mark.parametrize(("arguments", "more"), [(("--plain",), {}), ((), {"TERM": "dumb"})])
def test_a_terminal_that_wants_no_panel_gets_plain_lines(
    arguments: tuple[str, ...], more: dict[str, str]
) -> None:
    with session(*arguments, columns=200, rows=60, **more) as on:
        for _ in range(3):
            on.go_on()
        text = on.read_to_the_end()
        assert b"\x1b" not in on.screen.raw
        assert "phase: search" in text


def plain_lines(lines: list[Line], *, since: int = 0, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    with live(RunView(), console=Console(file=file, width=40), since=since) as shown:
        for line in lines:
            shown.update(line)
    return raw.getvalue().decode(encoding).splitlines()


def test_the_log_of_a_run() -> None:
    assert plain_lines(optimize_run()) == [
        "[0:00] tool-selection · miprov2 · run 20261123-1551 started",
        "[0:00] forecast: 212 calls, 3,400 msat ($0.0034), about 3:00",
        "[0:00] note: minibatch_size 35 -> 10: the valset has 20 examples",
        "[0:00] phase: bootstrap",
        "[0:10] aaa1111 scored 35.0% on val (n=20), best so far",
        "[0:10] kept aaa1111: the baseline",
        "[0:10] phase: propose",
        "[0:12] 10%: 22 of 212 calls, 500 msat, 1:44 left",
        "[0:14] phase: search",
        "[0:19] bbb2222 scored 40.0% on a minibatch of val (n=10)",
        "[0:20] warning: 1 call given up, the last on timeout: no answer within 60 s",
        "[0:24] 20%: 43 of 212 calls, 990 msat, 1:37 left",
        "[0:29] bbb2222 scored 47.4% on val (n=19), best so far",
        "[0:29] kept bbb2222: best so far on val: 47.4% over 35.0%",
        "[0:29] resumed with 53 calls in the journal",
        "[0:34] ccc3333 scored 30.0% on a minibatch of val (n=10)",
        "[0:34] dropped ccc3333: 30.0% on the minibatch is under the best one's 40.0%",
        "[0:35] 30%: 64 of 212 calls, 1,105 msat, 1:14 left",
        "[0:41] warning: 50 % of stage compile.msat used (2,000 msat of 4,000 msat)",
        "[0:41] ddd4444 scored 60.0% on val (n=20), best so far",
        "[0:41] kept ddd4444: best so far on val: 60.0% over 47.4%",
        "[0:41] complete, best 60.0% on val, 78 calls, 1,170 msat",
    ]


def test_the_past_of_a_resumed_run_is_not_told_again() -> None:
    resumed_at = START + (29 + 3_600) * 1_000
    assert plain_lines(optimize_run(), since=resumed_at)[0].endswith("resumed with 53 calls in the journal")


def test_an_event_is_at_most_one_line_whatever_it_says() -> None:
    script = Script()
    script.begin(run="a\nb\x1b[31m", program="p" * 999)
    script.decided("sha256:c", kept=True, reason="one\ntwo\r\nthree")
    lines = plain_lines(script.lines)
    assert lines[1:] == ["[0:00] kept c: one two three"]
    assert len(lines[0]) == LONGEST


def test_an_invalid_evaluation_is_said_to_be_none() -> None:
    script = Script()
    script.begin()
    script.evaluated("sha256:c", [1.0, None, None], valid=False)
    assert plain_lines(script.lines)[-1] == "[0:00] c invalid on val: 2 faults in 3 examples"


def test_given_up_calls_are_told_at_one_ten_a_hundred() -> None:
    script = Script()
    script.begin()
    event = next(line.event for line in optimize_run() if type(line.event).__name__ == "GaveUp")
    view, told = RunView.of(script.lines), []
    for number in range(1, 121):
        line = script.add(event)
        view.apply(line)
        if milestone(view, line) is not None:
            told.append(number)
    assert told == [1, 10, 100]


def test_a_poorer_encoding_never_stops_the_log() -> None:
    script = Script()
    script.begin(program="日本語")
    assert plain_lines(script.lines, encoding="ascii") == [
        "[0:00] ?????? - miprov2 - run 20261123-1551 started"
    ]


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.writes = error, 0

    def write(self, text: str) -> int:
        self.writes += 1
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "EIO"), ValueError("closed file")])
def test_a_reader_that_is_gone_silences_the_log_and_nothing_else(error: Exception) -> None:
    file, view = Broken(error), RunView()
    display = LineDisplay(view, console=Console(file=file), since=0)
    with display:
        for line in optimize_run():
            display.update(line)
    assert file.writes == 1
    assert view.done == 77


@pytest.mark.parametrize("error", [OSError(5, "EIO"), ValueError("closed file")])
def test_a_terminal_that_fails_silences_the_panel_and_nothing_else(error: Exception) -> None:
    view = RunView()
    console = Console(file=Broken(error), force_terminal=True, width=80, height=24, _environ={})
    with PanelDisplay(view, console=console) as display:
        for line in optimize_run():
            display.update(line)
    assert view.done == 77


def test_many_threads_update_while_it_draws() -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, height=24, _environ={})
    view = RunView()
    script = Script()
    script.begin()
    script.calls(200, seconds=10)
    updated = threading.Event()
    clock_read_after = threading.Event()

    def clock() -> int:
        if updated.is_set():
            clock_read_after.set()
        return START

    with PanelDisplay(view, console=console, clock=clock) as display:
        threads = [
            threading.Thread(target=lambda: [display.update(line) for line in script.lines]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        updated.set()
        clock_read_after.wait()
    assert view.lines == 8 * len(script.lines)
    assert "tool-selection" in drawn.getvalue()


def test_seeing_a_run_imports_none_of_what_makes_one() -> None:
    code = (
        "import sys, oa_compile.hud.terminal, oa_compile.hud.screens, oa_compile.hud.diff;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment(), cwd=ROOT
    )
    heavy = {"dspy", "litellm", "nostr_sdk", "pyln", "optuna", "xllamacpp", "scipy", "numpy"}
    assert not heavy & set(out.stdout.decode().split())
