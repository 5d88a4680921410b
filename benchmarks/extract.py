"""What reading session logs takes: ours against parsing alone, DuckDB and jq, in one run, on one core.

    python benchmarks/extract.py [--size 1000000000] [--rounds 3]

Real logs (autopilot's and Claude Code's, where there are some beside this checkout, else the shipped ones)
are copied with new ids until they have that size. Every measure is a process of its own that has one core;
its CPU time counts, so that others at work on the machine are not in it.

  orjson     every line read and parsed with orjson.loads, nothing done with it: the limit
  duckdb     name, id and input of every tool call, by read_json or read_json_objects, whichever is faster
  jq         name and id of every tool call
  ours       name, id, input and result of every tool call through the session layer: ids unique, results
             paired, usage counted. More than the two give
  extract    the whole: examples of a program, labelled, redacted, split, written, with their evidence
  one log    the same of a single log of that size
  2 workers  the same by the local executor on two cores

The calls that are found must be the same, by tool, for all of them.

The last line is one JSON object: vs_orjson_limit, vs_duckdb, vs_jq (ours in MB/s of CPU time / theirs; null
where there is none), extract_mb_s and whole_vs_limit (extract, the slower of two programs), peak_mb (extract,
the most of all programs, one log too), scaling (wall time of extract on one core / by two workers on two;
null on one core), and MB/s of each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from extract_parts import jq
from extract_parts.corpus import Corpus, grow, grow_one
from extract_parts.duck import SOURCES
from extract_parts.measure import Measured, measure, perform

PROGRAMS = ("tool-selection", "autopilot-planning")
GOALS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "vs_orjson_limit": ("at least 0.6", lambda figure: figure >= 0.6),
    "vs_duckdb": ("over 1", lambda figure: figure > 1),
    "vs_jq": ("over 1", lambda figure: figure > 1),
    "peak_mb": ("under 400", lambda figure: figure < 400),
    "scaling": ("at least 1.8", lambda figure: figure >= 1.8),
}

Round = dict[str, Measured]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of logs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(perform(options.measure))
        return
    with tempfile.TemporaryDirectory(prefix="oac-bench-") as folder:
        corpus = grow(Path(folder), options.size)
        one = grow_one(Path(folder, "one.jsonl"), options.size)
        print(f"{corpus.bytes / 1e6:,.0f} MB in {len(corpus.files)} files, grown from {corpus.made_of}")
        print(f"median of {options.rounds} rounds; jq: {jq.which() or 'neither program nor binding is here'}")
        rounds = [run_round(corpus) for _ in range(options.rounds)]
        whole = measure("extract", one.files, program=PROGRAMS[-1])
    check(rounds)
    print_table(rounds, corpus, whole, one)
    figures = figures_of(rounds, corpus, whole)
    print_verdict(figures)
    print(json.dumps(figures))


def run_round(corpus: Corpus) -> Round:
    """Everything once."""
    files = corpus.files
    measured = {"orjson": measure("orjson", files), "ours": measure("ours", files)}
    measured["duckdb"] = min(
        (measure("duckdb", files, way=way) for way in SOURCES), key=lambda found: found.cpu
    )
    if jq.which():
        measured["jq"] = measure("jq", files)
    for program in PROGRAMS:
        measured[f"extract {program}"] = measure("extract", files, program=program)
    if len(os.sched_getaffinity(0)) > 1:
        measured["2 workers"] = measure("extract", files, cores=2, program=PROGRAMS[0], workers=2)
    return measured


def check(rounds: list[Round]) -> None:
    """Ends the run unless all found the same calls."""
    calls = rounds[0]["ours"].found["calls"]
    for one in rounds:
        for name, measured in one.items():
            found = measured.found.get("calls", calls)
            if found != (calls if isinstance(found, dict) else sum(calls.values())):
                sys.exit(f"{name} found other calls: {found} instead of {calls}")


def print_table(rounds: list[Round], corpus: Corpus, whole: Measured, one: Corpus) -> None:
    """Every measure, medians over the rounds."""
    print(f"\n{'':<28}{'CPU s':>9}{'wall s':>9}{'MB/s':>9}{'peak MB':>9}")
    rows = {name: ([each[name] for each in rounds], corpus.bytes) for name in rounds[0]}
    rows["one log"] = ([whole], one.bytes)
    for name, (them, size) in rows.items():
        cpu, wall, peak = (
            statistics.median(getattr(each, what) for each in them) for what in ("cpu", "wall", "peak_mb")
        )
        print(f"{name:<28}{cpu:>9.2f}{wall:>9.2f}{size / 1e6 / cpu:>9.0f}{peak:>9.0f}")
    found = rounds[0]["ours"].found
    print(f"\n{sum(found['calls'].values()):,} tool calls each, {found['answered']:,} of them with a result")
    for program in PROGRAMS:
        made = rounds[0][f"extract {program}"].found
        print(f"{program}: {made['made']:,} examples made, kept {made['kept']}")


def figures_of(rounds: list[Round], corpus: Corpus, whole: Measured) -> dict[str, float | None]:
    """The figures for the JSON line; a ratio is taken within a round, the median of those counts."""

    def median(of: Callable[[Round], float]) -> float:
        return round(statistics.median(of(one) for one in rounds), 3)

    def slowest(one: Round) -> float:
        return max(one[f"extract {program}"].cpu for program in PROGRAMS)

    def mb_s(name: str) -> float | None:
        return median(lambda one: corpus.bytes / 1e6 / one[name].cpu) if name in rounds[0] else None

    def against(name: str) -> float | None:
        return median(lambda one: one[name].cpu / one["ours"].cpu) if name in rounds[0] else None

    peaks = [one[f"extract {program}"].peak_mb for one in rounds for program in PROGRAMS]
    first = f"extract {PROGRAMS[0]}"
    return {
        "vs_orjson_limit": against("orjson"),
        "vs_duckdb": against("duckdb"),
        "vs_jq": against("jq"),
        "extract_mb_s": median(lambda one: corpus.bytes / 1e6 / slowest(one)),
        "whole_vs_limit": median(lambda one: one["orjson"].cpu / slowest(one)),
        "peak_mb": round(max(*peaks, whole.peak_mb), 1),
        "scaling": median(lambda one: one[first].wall / one["2 workers"].wall)
        if "2 workers" in rounds[0]
        else None,
        **{f"{name}_mb_s": mb_s(name) for name in ("orjson", "ours", "duckdb", "jq")},
    }


def print_verdict(figures: dict[str, float | None]) -> None:
    """What is asked, and whether it holds here."""
    print()
    for name, (wanted, holds) in GOALS.items():
        figure = figures[name]
        if figure is None:
            print(f"{name:<24}{'-':>8}   {wanted}: not measured here")
        else:
            print(f"{name:<24}{figure:>8.3f}   {wanted}: {'yes' if holds(figure) else 'MISSED'}")


if __name__ == "__main__":
    main()
