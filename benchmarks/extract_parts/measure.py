"""One peer at work in a process of its own, on so many cores, and what that took."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from extract_parts import duck, jq, ours, plain

Work = Callable[[], Mapping[str, Any]]
"""The measured part: what a peer found."""

PEERS: dict[str, Callable[..., Work]] = {
    "orjson": plain.parse,
    "duckdb": duck.select,
    "jq": jq.select,
    "ours": ours.select,
    "extract": ours.extract_all,
}
"""Each takes the files and its options, imports what it needs, and gives its work."""

_BENCHMARK = Path(__file__).parents[1] / "extract.py"
_COLLECT_AFTER = 200_000
"""What extract sets for itself: Python's collector looks at what was parsed in vain, whoever parsed it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU and wall seconds of the work alone, with its child processes; the most memory one of them had."""

    cpu: float
    wall: float
    peak_mb: float
    found: Mapping[str, Any]


def measure(peer: str, files: Sequence[str], *, cores: int = 1, **options: Any) -> Measured:
    """`peer` over `files` on `cores` cores. Raises CalledProcessError when it fails."""
    asked = json.dumps({"peer": peer, "files": list(files), "cores": cores, "options": options})
    command = [sys.executable, str(_BENCHMARK), "--measure", asked]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def perform(asked: str) -> str:
    """What `measure` runs in the process it starts."""
    task = json.loads(asked)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["cores"]])
    gc.set_threshold(_COLLECT_AFTER)
    work = PEERS[task["peer"]](task["files"], **task["options"])
    wall, cpu = time.perf_counter(), _cpu_seconds()
    found = work()
    measured = Measured(_cpu_seconds() - cpu, time.perf_counter() - wall, _peak_mb(), found)
    return json.dumps(asdict(measured))


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _peak_mb() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in whose) / 1024
