"""Ours: the session layer by itself, selecting tool calls, and the whole of extract."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extract_parts.corpus import ROOT


def select(files: Sequence[str]) -> Callable[[], Mapping[str, Any]]:
    """Name, id, arguments and result of every tool call: each once by id, with its own result."""
    from oa_compile.extract.assemble import Assembly
    from oa_compile.extract.lines import HEAD_LINES, Source, as_lines, read_lines
    from oa_compile.extract.readers import sniff
    from oa_compile.extract.session import ToolCall
    from oa_compile.extract.tally import Tally

    def work() -> Mapping[str, Any]:
        ids: dict[str, set[str]] = defaultdict(set)
        answered = 0
        for file in files:
            tally = Tally(file)
            with Path(file).open("rb", buffering=0) as handle:
                source = Source(handle, digested=False)
                lines = as_lines(read_lines(source, tally=tally), tally=tally)
                reader = sniff(lines.head(HEAD_LINES))
                if reader is None:
                    raise ValueError(f"{file}: unknown format")
                assembly = Assembly(format=reader.FORMAT, file=file, name=file, tally=tally)
                for _, step in assembly.take(reader.read(lines, tally=tally)):
                    if type(step) is ToolCall:
                        ids[step.name].add(step.id)
                        answered += step.result is not None
        return {"calls": {name: len(found) for name, found in ids.items()}, "answered": answered}

    return work


def extract_all(files: Sequence[str], *, program: str, workers: int = 0) -> Callable[[], Mapping[str, Any]]:
    """A dataset of `program`, written; by worker processes, or in this one."""
    from oa_compile.executors.local import LocalExecutor
    from oa_compile.executors.serial import SerialExecutor
    from oa_compile.extract import extract
    from oa_compile.spec.load import load_program

    loaded = load_program(ROOT / "programs" / program)

    def work() -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory() as folder, _executor() as executor:
            report = extract(
                [Path(file) for file in files], program=loaded, out=Path(folder) / "out", executor=executor
            )
        counts = report.card.counts
        return {"calls": counts["tool_calls"], "made": counts["examples_made"], "kept": report.sizes}

    def _executor() -> LocalExecutor | SerialExecutor:
        return LocalExecutor(workers) if workers else SerialExecutor()

    return work
