"""What the commands that make calls share: lanes with their keys, the live display, the interrupt."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oa_compile.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from oa_compile.cli.output import Output
    from oa_compile.events import Line
    from oa_compile.hud.view import RunView
    from oa_compile.lanes.lane import Lane
    from oa_compile.spec.config import Config
    from oa_compile.swarm.market.record import Records

RUNS = Path("runs")
SWARM = "swarm"
"""Folder in a run's own, where a swarm of this machine keeps its books."""
ASKED = "ask-"
"""What the names of runs begin with that are one question."""
MOST_RUNS = 20


def secret(name: str) -> str | None:
    """A key, by the name of its environment variable."""
    return os.environ.get(name)


def find_run(name: str, *, runs: Path = RUNS) -> Path:
    """A run's folder from its path, its name under `runs`, or ``latest``."""
    if name == "latest":
        made = [path for path in runs.glob("*") if (path / "journal.jsonl").is_file() and _compiles(path)]
        if not made:
            raise UsageError(f"{runs}: there is no run yet", hint="`oacompile optimize` makes one")
        return max(made, key=lambda path: (path / "journal.jsonl").stat().st_mtime)
    for path in (Path(name), runs / name):
        if path.is_dir():
            return path
    raise UsageError(f"no run `{name}`, here or under {runs}/", hint="`ls runs` shows what there is")


def records_of_runs(runs: Path, *, most: int = MOST_RUNS) -> Records:
    """What the journals of the newest `most` runs in a folder say of service providers. A journal that
    cannot be read is left out: a bad record is worth less than the run.
    """
    from oa_compile.errors import OacompileError
    from oa_compile.journal import FILE_NAME, read
    from oa_compile.swarm.market.record import merge, records_of

    records: Records = {}
    made = sorted(runs.glob(f"*/{FILE_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for journal in made[:most]:
        for part in (journal, *journal.parent.glob(f"validate-*/{FILE_NAME}")):
            with contextlib.suppress(OacompileError, OSError):
                merge(records, records_of(read(part)))
    return records


def _compiles(run: Path) -> bool:
    """Whether a run is a compile: a question of `swarm ask` has a journal too, and nothing to go on with."""
    return not run.name.startswith(ASKED)


@contextlib.contextmanager
def open_lanes(
    config: Config, names: Iterable[str], *, screen: Output, run: Path, optional: Iterable[str] = ()
) -> Iterator[dict[str, Lane]]:
    """The lanes of those names, and `optional` ones that may be unusable, closed at the end; fetching weights
    shows a bar. `run` is the folder of the run they work for: what they keep is there, and the runs beside it
    tell of service providers.
    """
    from oa_compile.lanes.build import build_lanes

    with fetch_bar(screen) as progress:
        lanes = build_lanes(
            config,
            names,
            optional=optional,
            secrets=secret,
            progress=progress,
            home=run / SWARM,
            records=lambda: records_of_runs(run.absolute().parent),
        )
    try:
        yield lanes
    finally:
        for lane in lanes.values():
            lane.close()


@contextlib.contextmanager
def fetch_bar(screen: Output) -> Iterator[Callable[[int, int], None]]:
    """A bar for weights, shown when they must be fetched: called with bytes done and bytes in all."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    bar: Progress | None = None
    told = False

    def update(done: int, total: int) -> None:
        nonlocal bar, told
        if not screen.interactive:
            if not told:
                screen.note(f"fetching the embedded model's weights, {total / 1e6:.0f} MB, once")
                told = True
            return
        if bar is None:
            columns = (TextColumn("fetching weights"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            bar = Progress(*columns, console=screen.log, transient=True)
            bar.start()
            bar.add_task("", total=total)
        bar.update(bar.task_ids[0], completed=done, total=total)

    try:
        yield update
    finally:
        if bar is not None:
            bar.stop()


@dataclass
class Shown:
    """A run being shown: its view, and how many calls the journal answered in this process."""

    view: RunView
    update: Callable[[Line], None]
    saved: int = 0

    def count_saved(self) -> None:
        """One more call was answered from the journal."""
        self.saved += 1


@contextlib.contextmanager
def shown(screen: Output) -> Iterator[Shown]:
    """Show a run on stderr while it happens: a panel for a person, plain lines elsewhere."""
    from oa_compile.hud.terminal import live
    from oa_compile.hud.view import RunView

    view = RunView()
    run = Shown(view, lambda _line: None)
    with (
        _second_interrupt_leaves(screen),
        live(view, console=screen.log, enabled=screen.interactive, saved=lambda: run.saved) as display,
    ):
        run.update = display.update
        yield run


@contextlib.contextmanager
def _second_interrupt_leaves(screen: Output) -> Iterator[None]:
    """The first Ctrl-C is the run's, which settles what is under way; the second ends the process at
    once, wherever it comes: also while the interpreter waits for threads that wait for a lane.
    """
    interrupts = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            signal.default_int_handler(number, frame)
        if screen.interactive:
            os.write(2, b"\x1b[?25h\n")  # the panel hid the cursor
        os._exit(ExitCode.INTERRUPTED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if not interrupts:
            signal.signal(signal.SIGINT, before)


def leave_at_once(code: int) -> None:
    """End the process although threads of an optimizer still wait for a lane."""
    import sys

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
