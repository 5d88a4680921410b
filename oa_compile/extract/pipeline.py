"""The pipeline: logs in, dataset out, one file at a time, here or on other machines.

Owns the order of things and the report. Prints nothing; progress goes to a callback.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from oa_compile.dataset import (
    CARD_NAME,
    SPLITS,
    DatasetCard,
    ExampleRecord,
    LeftOut,
    SourceInfo,
    SplitName,
    write_dataset,
)
from oa_compile.errors import UsageError
from oa_compile.executors.executor import Executor
from oa_compile.executors.serial import SerialExecutor
from oa_compile.extract.once import Once
from oa_compile.extract.reading import FileReading, read_file
from oa_compile.extract.redact import redact
from oa_compile.extract.sources import LogFile, find_sources
from oa_compile.extract.splits import Splits, split_records
from oa_compile.extract.tally import Tally
from oa_compile.spec.program import ProgramSpec


class HasSpec(Protocol):
    """A loaded program: all that is asked of it here is its spec."""

    @property
    def spec(self) -> ProgramSpec:
        """The program's spec."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading is: files and bytes done, of all."""

    files: int
    files_total: int
    bytes: int
    bytes_total: int
    examples: int
    current: str


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What was made. `folder` is None when nothing was to be written. `refused` is the bad input: what is
    no log, or no line of one. `balance` counts enum outputs: field -> split -> value -> records.
    """

    folder: Path | None
    card: DatasetCard
    paths: tuple[Path, ...]
    refused: tuple[LeftOut, ...]
    balance: Mapping[str, Mapping[SplitName, Mapping[str, int]]]

    @property
    def sizes(self) -> Mapping[SplitName, int]:
        """Records by split."""
        return {name: self.card.splits[name].n for name in SPLITS}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What was not used and why, most frequent first."""
        return self.card.left_out


@dataclass(slots=True)
class _Total:
    """What the files have given together."""

    tally: Tally = field(default_factory=Tally)
    records: list[ExampleRecord] = field(default_factory=list)
    sources: list[SourceInfo] = field(default_factory=list)
    agents: Counter[str] = field(default_factory=Counter)
    abouts: dict[str, None] = field(default_factory=dict)
    once: Once = field(default_factory=Once)

    def add(self, reading: FileReading) -> None:
        """Take in one file's."""
        self.tally.add(reading.tally)
        self.records += reading.records
        self.agents.update(reading.agents)
        self.abouts.update(reading.abouts)
        self.once.add(reading.once)
        if reading.format:
            self.sources.append(
                SourceInfo(
                    path=reading.file.name,
                    format=reading.format,
                    digest=reading.digest,
                    bytes=reading.bytes,
                    lines=reading.lines,
                    sessions=reading.sessions,
                    examples=len(reading.records),
                )
            )


def extract(
    sources: Sequence[Path],
    *,
    program: HasSpec,
    out: Path | None,
    seed: int | None = None,
    strict: bool = False,
    executor: Executor | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ExtractReport:
    """Make the dataset of `program` from session logs and write it to `out`, or only report (None).
    Every line is read as a whole when that is all, or when `strict`.

    `sources` are files, folders and globs; `seed` overrides the program's split seed; the files are read by
    `executor`, one by one in this process when there is none. Raises UsageError when no example can be made
    or a split stays empty, saying what was left out and why, and, when `strict`, for any bad input.
    """
    spec = program.spec
    total = _read_all(
        sources, functools.partial(read_file, spec, strict or out is None), executor, on_progress
    )
    refused = total.tally.refused()
    if strict and refused:
        first = refused[0]
        raise UsageError(
            f"{first.first}: {first.reason}" + _and_more(sum(each.count for each in refused) - 1),
            hint="mend or remove it, or leave out --strict to use the rest",
        )
    if not total.records:
        reasons = "; ".join(f"{left.reason}: {left.count}" for left in total.tally.left_out()[:3])
        raise UsageError(
            f"no `{spec.extract.example}` example could be made of {_files(len(total.sources))}"
            + (f" ({reasons})" if reasons else ""),
            hint="see what is in a log with --explain FILE, or check [extract] in the program's spec",
        )
    splits = split_records(total.records, spec=spec.splits, seed=seed)
    card = write_dataset(out, card=_card(spec, total, splits), records=splits.records)
    paths = () if out is None else (*(out / card.splits[name].file for name in SPLITS), out / CARD_NAME)
    return ExtractReport(out, card, paths, refused, _balance(spec, splits))


def _read_all(
    sources: Sequence[Path],
    task: Callable[[LogFile], FileReading],
    executor: Executor | None,
    on_progress: Callable[[Progress], None],
) -> _Total:
    files = find_sources(sources)
    size, done, examples = sum(file.size for file in files), 0, 0
    readings: dict[int, FileReading] = {}
    on_progress(Progress(0, len(files), 0, size, 0, files[0].name))
    for index, reading in (executor or SerialExecutor()).map(task, files):
        readings[index] = reading
        done += files[index].size
        examples += len(reading.records)
        on_progress(Progress(len(readings), len(files), done, size, examples, files[index].name))
    total = _Total()
    for index in sorted(readings):  # the order of names: whoever read them, the card is the same
        total.add(readings.pop(index))
    return total


def _card(spec: ProgramSpec, total: _Total, splits: Splits) -> DatasetCard:
    tally = total.tally
    kept = sum(len(records) for records in splits.records.values())
    usage = total.once.usage()
    counts = {
        **tally.counts,
        "files": len(total.sources),
        "sessions": sum(info.sessions for info in total.sources),
        "tool_calls": total.once.calls(),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "examples_made": len(total.records),
        "duplicates_removed": splits.duplicates,
        "examples_kept": kept,
        "near_duplicates_left_out": splits.near_duplicates,
        "conflicting_labels": splits.conflicts,
    }
    for left in splits.left_out:
        tally.leave_out_many(left)
    agents = ", ".join(f"{name} ({count} sessions)" for name, count in sorted(total.agents.items()))
    description = [
        f"{kept} `{spec.extract.example}` examples for {spec.name}, from {len(total.sources)} session "
        f"logs of {agents}.",
        *(redact(about, counts=Counter()) for about in sorted(total.abouts)),
    ]
    return DatasetCard(
        program=spec.name,
        description=" ".join(description),
        sources=tuple(total.sources),
        counts={name: counts[name] for name in sorted(counts) if counts[name] or name in _ALWAYS},
        left_out=tally.left_out(),
        redacted=dict(sorted(tally.redacted.items())),
        split=splits.method,
    )


_ALWAYS = frozenset({"duplicates_removed", "examples_kept", "examples_made", "near_duplicates_left_out"})
"""Counts that a card tells also when they are nothing."""


def _balance(spec: ProgramSpec, splits: Splits) -> dict[str, dict[SplitName, dict[str, int]]]:
    balance: dict[str, dict[SplitName, dict[str, int]]] = {}
    for output in spec.signature.outputs if spec.signature is not None else ():
        if output.type == "enum":
            by_split = {
                name: Counter(record.outputs[output.name] for record in splits.records[name])
                for name in SPLITS
            }
            balance[output.name] = {
                name: {value: found[value] for value in output.values} for name, found in by_split.items()
            }
    return balance


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _and_more(count: int) -> str:
    return f" (and {count} more places)" if count > 0 else ""
