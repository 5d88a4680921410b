"""``oacompile extract``: session logs in, dataset out."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json, Seed
from oa_compile.errors import UsageError

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.extract import ExtractReport, Progress
    from oa_compile.spec.load import LoadedProgram

SHOWN_REASONS = 8
STDIN = Path("-")
LARGE = 64 * 1024 * 1024
"""Bytes of logs from which on starting other processes takes less than they save."""


def extract(
    program: Annotated[
        Path,
        typer.Option(
            "--program",
            metavar="<program>",
            help="The program the examples are for: a folder, or a name in programs/.",
        ),
    ],
    sessions: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SESSIONS", help="Log files, folders of them, or globs; - is standard input."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="<folder>", help="Where the dataset is written.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            metavar="<file>",
            help="Show one log as episodes, decisions and the examples made of each; write nothing.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read every line as a whole and report; write nothing.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop with exit code 2 when any input is bad; write nothing then."),
    ] = False,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="<where>",
            help="Where logs are read: serial, local, local:<N>, or ray://<host>:<port>.",
        ),
    ] = "",
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Make a dataset from agent session logs.

    Reads the logs of autopilot, Claude Code, Codex, ATIF, rlog and others, each known by its own lines,
    plain, gzip or zstd, and any other that the program's [extract.log] describes. Writes train.jsonl,
    val.jsonl, test.jsonl and the dataset's card, dataset.json, which says what was left out and why.
    """
    from oa_compile.extract import extract as run_extract
    from oa_compile.spec.load import load_program

    loaded = load_program(program)
    screen = output.current()
    if explain is not None:
        from oa_compile.cli.extract_explain import show_explanation

        with _files([explain]) as (file,):
            show_explanation(file, loaded, screen=screen, json=json)
        return
    if not sessions:
        raise UsageError("no session logs given", hint="name files, folders or globs of *.jsonl")
    if out is None and not check:
        raise UsageError("no --out: where is the dataset to be written?", hint="--check only reports")
    with _files(sessions) as files, _workers(executor, files) as workers, _progress(screen) as on_progress:
        report = run_extract(
            files,
            program=loaded,
            out=None if check else out,
            seed=seed,
            strict=strict,
            executor=workers,
            on_progress=on_progress,
        )
    if json:
        screen.emit(_as_json(report))
    else:
        _show(report, loaded, screen=screen)


@contextlib.contextmanager
def _files(sessions: list[Path]) -> Iterator[list[Path]]:
    """The files to read; what comes through standard input is kept in one for as long as it is needed."""
    if STDIN not in sessions:
        yield sessions
        return
    with tempfile.TemporaryDirectory() as folder:
        spooled = Path(folder) / "stdin"
        with spooled.open("wb") as handle:
            shutil.copyfileobj(sys.stdin.buffer, handle)
        yield [spooled if path == STDIN else path for path in sessions]


@contextlib.contextmanager
def _workers(executor: str, files: list[Path]) -> Iterator[Any]:
    from oa_compile.executors.choose import executor_from
    from oa_compile.extract.sources import find_sources

    if not executor:
        large = sum(file.size for file in find_sources(files)) > LARGE
        executor = "local" if large else "serial"
    with executor_from(executor) as workers:
        yield workers


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
        "folder": None if report.folder is None else str(report.folder),
        "paths": [str(path) for path in report.paths],
        "sizes": dict(report.sizes),
        "refused": [left.model_dump(mode="json") for left in report.refused],
        "balance": {
            field: {split: dict(counts) for split, counts in by_split.items()}
            for field, by_split in report.balance.items()
        },
        "card": report.card.model_dump(mode="json"),
    }


def _show(report: ExtractReport, program: LoadedProgram, *, screen: Output) -> None:
    card, counts = report.card, report.card.counts
    lines = sum(source.lines for source in card.sources)
    formats = ", ".join(sorted({source.format for source in card.sources}))
    screen.show(
        f"read     {_count(len(card.sources), 'file')} ({formats}), {_count(counts['sessions'], 'session')}, "
        f"{_count(lines, 'line')}",
        f"found    {_count(counts.get('tool_calls', 0), 'tool call')}, "
        f"{_count(counts.get('episodes', 0), 'episode')}, "
        f"{counts.get('episodes_succeeded', 0):,} of them succeeded",
        f"made     {_count(counts['examples_made'], 'example')}, "
        f"{_count(counts['duplicates_removed'], 'duplicate')} removed",
        "splits   "
        + ", ".join(f"{name} {info.n:,} ({info.share:.0%})" for name, info in card.splits.items()),
    )
    for field, by_split in report.balance.items():
        for split, values in by_split.items():
            shares = ", ".join(f"{value} {n:,}" for value, n in values.items())
            screen.show(f"         {field} in {split}: {shares}")
    if report.left_out:
        bad = {left.reason for left in report.refused}
        screen.show("left out")
        for left in report.left_out[:SHOWN_REASONS]:
            mark = "bad input: " if left.reason in bad else ""
            screen.show(f"  {left.count:>7,}  {mark}{left.reason} (first: {left.first})")
        if len(report.left_out) > SHOWN_REASONS:
            screen.show(f"           and {len(report.left_out) - SHOWN_REASONS} more reasons in dataset.json")
    if card.redacted:
        screen.show("replaced " + ", ".join(f"{kind} {n:,}" for kind, n in card.redacted.items()))
    if report.folder is None:
        screen.show("wrote    nothing: this was a check")
        return
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
