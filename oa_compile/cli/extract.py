"""``oacompile extract``: session logs in, dataset out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json, Seed

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.extract import ExtractReport, Progress
    from oa_compile.spec.load import LoadedProgram

SHOWN_REASONS = 8


def extract(
    sessions: Annotated[
        list[Path], typer.Argument(metavar="SESSIONS", help="Log files, folders of them, or globs.")
    ],
    program: Annotated[
        Path, typer.Option("--program", metavar="<folder>", help="The program the examples are for.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="<folder>", help="Where the dataset is written.")],
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Make a dataset from agent session logs.

    Reads autopilot JSONL and event JSONL, and writes train.jsonl, val.jsonl, test.jsonl and the
    dataset's card, dataset.json, which says what was left out and why.
    """
    from oa_compile.extract import extract as run_extract
    from oa_compile.spec.load import load_program

    loaded = load_program(program)
    screen = output.current()
    with _progress(screen) as on_progress:
        report = run_extract(sessions, program=loaded, out=out, seed=seed, on_progress=on_progress)
    if json:
        screen.emit(_as_json(report))
    else:
        _show(report, loaded, screen=screen)


@contextlib.contextmanager
def _progress(screen: Output) -> Iterator[Callable[[Progress], None]]:
    """A bar over the bytes read, when a person watches."""
    if not screen.interactive:
        yield lambda _progress: None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=screen.log, transient=True) as bar:
        task = bar.add_task("")

        def update(progress: Progress) -> None:
            words = f"{progress.examples} examples  {progress.current}"
            bar.update(task, total=progress.bytes_total, completed=progress.bytes, description=words)

        yield update


def _as_json(report: ExtractReport) -> dict[str, Any]:
    return {
        "folder": str(report.folder),
        "paths": [str(path) for path in report.paths],
        "sizes": dict(report.sizes),
        "balance": {
            field: {split: dict(counts) for split, counts in by_split.items()}
            for field, by_split in report.balance.items()
        },
        "card": report.card.model_dump(mode="json"),
    }


def _show(report: ExtractReport, program: LoadedProgram, *, screen: Output) -> None:
    card, counts = report.card, report.card.counts
    lines = sum(source.lines for source in card.sources)
    sessions = sum(source.sessions for source in card.sources)
    screen.show(
        f"read     {_count(len(card.sources), 'file')}, {_count(sessions, 'session')}, "
        f"{_count(lines, 'line')}",
        f"made     {_count(counts['examples_made'], 'example')}, "
        f"{_count(counts['duplicates_removed'], 'duplicate')} removed",
        "splits   " + ", ".join(f"{name} {n:,}" for name, n in report.sizes.items()),
    )
    for field, by_split in report.balance.items():
        for split, values in by_split.items():
            shares = ", ".join(f"{value} {n:,}" for value, n in values.items())
            screen.show(f"         {field} in {split}: {shares}")
    if report.left_out:
        screen.show("left out")
        for left in report.left_out[:SHOWN_REASONS]:
            screen.show(f"  {left.count:>7,}  {left.reason} (first: {left.first})")
        if len(report.left_out) > SHOWN_REASONS:
            screen.show(f"           and {len(report.left_out) - SHOWN_REASONS} more reasons in dataset.json")
    if card.redacted:
        screen.show("replaced " + ", ".join(f"{kind} {n:,}" for kind, n in card.redacted.items()))
    screen.show("wrote    " + " ".join(str(path) for path in report.paths))
    screen.show(f"next     {_next(report.folder, program)}")


def _next(folder: Path, program: LoadedProgram) -> str:
    """The command that goes on from here; it says so when the program reads another dataset."""
    command = f"oacompile optimize {program.folder} --budget configs/embedded.toml"
    named = (program.folder / program.spec.dataset).resolve() if program.spec.dataset else None
    if named == folder.resolve():
        return command
    return f"set dataset in {program.path} to this folder, then {command}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
