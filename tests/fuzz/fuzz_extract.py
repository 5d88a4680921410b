"""Fuzz the way from a log's bytes to its moments, with coverage (libFuzzer by way of atheris).

Run: ``uv run --with atheris python -m tests.fuzz.fuzz_extract CORPUS -max_total_time=3600``, CORPUS being a
folder that it fills. What it finds worth keeping goes to ``tests/corpus/extract``, which a test replays:
``… -m tests.fuzz.fuzz_extract -merge=1 tests/corpus/extract CORPUS``.

Bytes changed at random are hardly ever JSON again, so half of the time one value of one line is put in the
place of another.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["oa_compile.extract"]):
    from tests.support.formats import CASES
    from tests.support.fuzzed import take

VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**64 - 1,
    1.5,
    "",
    "x",
    "s1",
    "c1",
    "---",
    "[]",
    [],
    {},
    [{}],
    [[]],
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key below a JSON value."""
    found = []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += [(value, key), *places(part)]
    return found


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Another log: a value moved, a line repeated or dropped, or bytes changed as libFuzzer likes."""
    rng = random.Random(seed)
    lines = data.splitlines(keepends=True)
    choice = rng.random()
    if not lines or choice < 0.4:
        return atheris.Mutate(data, max_size)
    at = rng.randrange(len(lines))
    if choice < 0.5:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif choice < 0.55:
        del lines[at]
    else:
        try:
            body = json.loads(lines[at])
            given = [container[key] for container, key in places(json.loads(rng.choice(lines)))]
        except (ValueError, RecursionError):
            return atheris.Mutate(data, max_size)
        if not (where := places(body)):
            return atheris.Mutate(data, max_size)
        container, key = rng.choice(where)
        container[key] = rng.choice([*given, *VALUES])
        lines[at] = json.dumps(body, separators=(",", ":")).encode() + b"\n"
    return b"".join(lines)[:max_size]


def main() -> None:
    """Fuzz until told to stop; the corpus begins with each format's small log."""
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders and "-merge=1" not in sys.argv:
        folders[0].mkdir(parents=True, exist_ok=True)
        for case in CASES:
            (folders[0] / f"seed-{case.format}").write_bytes(case.raw)
    atheris.Setup(sys.argv, take, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
