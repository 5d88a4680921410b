"""What reading session logs takes: ours against parsing alone, DuckDB and jq, in one run, on one core.

    python benchmarks/extract.py [--size 1000000000] [--rounds 3] [--shipped]

Real logs (autopilot's and Claude Code's, where there are some beside this checkout, else the shipped ones,
which --shipped asks for) are copied with new ids until they have that size. Every measure is a process of its
own that has one core; its CPU time counts, so that others at work on the machine are not in it.

  orjson     every line read and parsed with orjson.loads, nothing done with it: the limit
  ours       name, id, input and result of every tool call through the session layer: each once by its id
             with its own result, sessions apart, usage counted
  duckdb     name, id and input of every tool call, once by id, by read_json with typed columns
  … objects  the same by read_json_objects, which parses nothing but what the paths ask for
  … paired   the same with the calls' results, which is what ours gives
  jq         name and id of every tool call
  extract    the whole: examples of a program, labelled, redacted, split, written, with their evidence
  one log    the same of a single log of that size
  2 workers  the same by the local executor on two cores, their start included

The calls that are found must be the same, by tool, for all of them.

The last line is one JSON object:

  vs_orjson_limit, vs_duckdb, vs_duckdb_objects, vs_duckdb_paired, vs_jq    ours in MB/s of CPU time / theirs;
                  null where there is none
  extract_mb_s, whole_vs_limit    extract, the slower of two programs, by itself and against the limit
  peak_mb         the most memory of every extract, one log too
  scaling         wall time of extract on one core / by two workers on two; null where there is one core only.
                  It takes an idle machine to tell
  scaling_by_cpu  what it would be on an idle one: by this process's CPU time and half of the workers'
  …_mb_s          MB/s of each
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
from extract_parts.corpus import SHIPPED, Corpus, grow, grow_one, real_or_shipped
from extract_parts.measure import Measured, measure, perform

GOALS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "vs_orjson_limit": ("at least 0.6", lambda figure: figure >= 0.6),
    "vs_duckdb": ("over 1", lambda figure: figure > 1),
    "vs_jq": ("over 1", lambda figure: figure > 1),
    "peak_mb": ("under 400", lambda figure: figure < 400),
    "scaling_by_cpu": ("at least 1.6", lambda figure: figure >= 1.6),
}

DUCK = {"duckdb": "read_json", "duckdb objects": "read_json_objects", "duckdb paired": "with results"}
"""Which of DuckDB's queries is measured under which name."""

Round = dict[str, Measured]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of logs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shipped", action="store_true", help="no real logs, also where there are some")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(perform(sys.stdin.read()))
        return
    with tempfile.TemporaryDirectory(prefix="oac-bench-") as folder:
        originals = SHIPPED if options.shipped else real_or_shipped()
        corpus = grow(originals, Path(folder), options.size)
        one = grow_one(originals, Path(folder, "one.jsonl"), options.size)
        size, grown_from = corpus.bytes / 1e6, f"{len(originals.logs())} {originals.words}"
        print(f"{size:,.0f} MB in {len(corpus.files)} files, grown from {grown_from}")
        print(f"median of {options.rounds} rounds; jq: {jq.which() or 'neither program nor binding is here'}")
        rounds = [run_round(corpus, originals.programs) for _ in range(options.rounds)]
        whole = measure("extract", one.files, program=originals.programs[-1])
    check(rounds)
    print_table(rounds, corpus, whole, one)
    figures = figures_of(rounds, corpus, whole)
    print_verdict(figures)
    print(json.dumps(figures))


def run_round(corpus: Corpus, programs: tuple[str, ...]) -> Round:
    """Everything once."""
    files = corpus.files
    measured = {"orjson": measure("orjson", files), "ours": measure("ours", files)}
    for name, query in DUCK.items():
        measured[name] = measure("duckdb", files, query=query)
    if jq.which():
        measured["jq"] = measure("jq", files)
    for program in programs:
        measured[f"extract {program}"] = measure("extract", files, program=program)
    if len(os.sched_getaffinity(0)) > 1:
        measured["2 workers"] = measure("extract", files, cores=2, program=programs[0], workers=2)
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
    for name in _wholes(rounds[0]):
        made = rounds[0][name].found
        print(f"{name}: {made['made']:,} examples made, kept {made['kept']}")


def figures_of(rounds: list[Round], corpus: Corpus, whole: Measured) -> dict[str, float | None]:
    """The figures for the JSON line; a ratio is taken within a round, the median of those counts."""

    wholes = _wholes(rounds[0])

    def median(of: Callable[[Round], float]) -> float:
        return round(statistics.median(of(one) for one in rounds), 3)

    def slowest(one: Round) -> float:
        return max(one[name].cpu for name in wholes)

    def mb_s(name: str) -> float | None:
        return median(lambda one: corpus.bytes / 1e6 / one[name].cpu) if name in rounds[0] else None

    def against(name: str) -> float | None:
        return median(lambda one: one[name].cpu / one["ours"].cpu) if name in rounds[0] else None

    peaks = [one[name].peak_mb for one in rounds for name in wholes]
    first, two = wholes[0], "2 workers" in rounds[0]
    return {
        "vs_orjson_limit": against("orjson"),
        "vs_duckdb": against("duckdb"),
        "vs_duckdb_objects": against("duckdb objects"),
        "vs_duckdb_paired": against("duckdb paired"),
        "vs_jq": against("jq"),
        "extract_mb_s": median(lambda one: corpus.bytes / 1e6 / slowest(one)),
        "whole_vs_limit": median(lambda one: one["orjson"].cpu / slowest(one)),
        "peak_mb": round(max(*peaks, whole.peak_mb), 1),
        "scaling": median(lambda one: one[first].wall / one["2 workers"].wall) if two else None,
        "scaling_by_cpu": median(lambda one: one[first].cpu / _busiest(one["2 workers"])) if two else None,
        **{f"{name}_mb_s": mb_s(name) for name in ("orjson", "ours", "duckdb", "jq")},
    }


def _wholes(one: Round) -> list[str]:
    return [name for name in one if name.startswith("extract ")]


def _busiest(two: Measured) -> float:
    return two.own_cpu + two.children_cpu / 2


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
