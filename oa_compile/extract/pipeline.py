"""The pipeline: logs in, dataset out, one session at a time.

Owns the order of things and the report. Prints nothing; progress goes to a callback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from oa_compile.digest import digest_file
from oa_compile.errors import UsageError
from oa_compile.extract.examples import make_examples
from oa_compile.extract.lines import read_lines
from oa_compile.extract.readers import sniff
from oa_compile.extract.redact import redact
from oa_compile.extract.session import Place
from oa_compile.extract.sources import Source, find_sources
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
    """What was made. `balance` counts enum outputs: field -> split -> value -> records."""

    folder: Path
    card: DatasetCard
    paths: tuple[Path, ...]
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
class _Reading:
    """What the files have given so far."""

    spec: ProgramSpec
    tally: Tally
    records: list[ExampleRecord]
    infos: list[SourceInfo]
    makers: Counter[str]
    abouts: dict[str, None]

    def take(self, source: Source) -> None:
        """Read one file; a file that cannot be read is left out, the rest is used."""
        lines_before, sessions, examples = self.tally.counts["lines_read"], 0, 0
        try:
            size, digest = source.path.stat().st_size, digest_file(source.path)
            reader, lines = sniff(read_lines(source.path, name=source.name, tally=self.tally))
            if reader is None:
                self.tally.leave_out("file of unknown format", Place(source.name, 0))
                return
            for session in reader.read(lines, tally=self.tally):
                sessions += 1
                self.makers[session.agent or "unnamed agent"] += 1
                if session.about:
                    self.abouts.setdefault(session.about)
                for record in make_examples(session, spec=self.spec, tally=self.tally):
                    examples += 1
                    self.records.append(record)
        except OSError as error:
            reason = f"file that cannot be read: {error.strerror}"
            self.tally.leave_out(reason, Place(source.name, 0))
            return
        self.infos.append(
            SourceInfo(
                path=source.name,
                format=reader.FORMAT,
                digest=digest,
                bytes=size,
                lines=self.tally.counts["lines_read"] - lines_before,
                sessions=sessions,
                examples=examples,
            )
        )


def extract(
    sources: Sequence[Path],
    *,
    program: HasSpec,
    out: Path,
    seed: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ExtractReport:
    """Make the dataset of `program` from session logs and write it to `out`.

    `sources` are files, folders and globs; `seed` overrides the program's split seed. Raises UsageError
    when no example can be made or a split stays empty, saying what was left out and why.
    """
    spec, tally = program.spec, Tally()
    found = find_sources(sources)
    reading = _Reading(spec, tally, [], [], Counter(), {})
    total, done = sum(_size(source) for source in found), 0
    for number, source in enumerate(found):
        on_progress(Progress(number, len(found), done, total, len(reading.records), source.name))
        reading.take(source)
        done += _size(source)
    on_progress(Progress(len(found), len(found), done, total, len(reading.records), ""))
    if not reading.records:
        reasons = "; ".join(f"{left.reason}: {left.count}" for left in tally.left_out()[:3])
        raise UsageError(
            f"no `{spec.extract.example}` example could be made of {len(found)} files"
            + (f" ({reasons})" if reasons else ""),
            hint="check the logs' format and [extract] in the program's spec",
        )
    splits = split_records(reading.records, spec=spec.splits, seed=seed)
    card = write_dataset(out, card=_card(reading, splits), records=splits.records)
    paths = (*(out / card.splits[name].file for name in SPLITS), out / CARD_NAME)
    return ExtractReport(out, card, paths, _balance(spec, splits))


def _card(reading: _Reading, splits: Splits) -> DatasetCard:
    tally, spec = reading.tally, reading.spec
    kept = sum(len(records) for records in splits.records.values())
    counts = {
        **{name: count for name, count in tally.counts.items() if count},
        "files": len(reading.infos),
        "sessions": sum(info.sessions for info in reading.infos),
        "examples_made": len(reading.records),
        "duplicates_removed": splits.duplicates,
        "examples_kept": kept,
        "near_duplicates_grouped": splits.near_duplicates,
        "conflicting_labels": splits.conflicts,
    }
    agents = ", ".join(f"{name} ({count} sessions)" for name, count in sorted(reading.makers.items()))
    description = [
        f"{kept} `{spec.extract.example}` examples for {spec.name}, from {len(reading.infos)} session "
        f"logs of {agents}.",
        *(redact(about, counts=Counter()) for about in sorted(reading.abouts)),
    ]
    return DatasetCard(
        program=spec.name,
        description=" ".join(description),
        sources=tuple(reading.infos),
        counts=dict(sorted(counts.items())),
        left_out=tally.left_out(),
        redacted=dict(sorted(tally.redacted.items())),
        split=splits.method,
    )


def _balance(spec: ProgramSpec, splits: Splits) -> dict[str, dict[SplitName, dict[str, int]]]:
    balance: dict[str, dict[SplitName, dict[str, int]]] = {}
    for field in spec.signature.outputs if spec.signature is not None else ():
        if field.type == "enum":
            by_split = {
                name: Counter(record.outputs[field.name] for record in splits.records[name])
                for name in SPLITS
            }
            balance[field.name] = {
                name: {value: found[value] for value in field.values} for name, found in by_split.items()
            }
    return balance


def _size(source: Source) -> int:
    try:
        return source.path.stat().st_size
    except OSError:
        return 0
