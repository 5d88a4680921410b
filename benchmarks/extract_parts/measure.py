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

_WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU seconds of the work alone, its own and its child processes'; wall seconds; and the most memory that
    one of the processes had.
    """

    own_cpu: float
    children_cpu: float
    wall: float
    peak_mb: float
    found: Mapping[str, Any]

    @property
    def cpu(self) -> float:
        """CPU seconds of all."""
        return self.own_cpu + self.children_cpu


def measure(peer: str, files: Sequence[str], *, cores: int = 1, **options: Any) -> Measured:
    """`peer` over `files` on `cores` cores. Raises CalledProcessError when it fails."""
    asked = json.dumps({"peer": peer, "files": list(files), "cores": cores, "options": options})
    command = [sys.executable, str(_BENCHMARK), "--measure"]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def perform(asked: str) -> str:
    """What `measure` runs in the process it starts."""
    task = json.loads(asked)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["cores"]])
    gc.set_threshold(_COLLECT_AFTER)
    work = PEERS[task["peer"]](task["files"], **task["options"])
    before, begun = _cpu_seconds(), time.perf_counter()
    found = work()
    wall = time.perf_counter() - begun
    own, children = (now - then for now, then in zip(_cpu_seconds(), before, strict=True))
    peak = max(resource.getrusage(who).ru_maxrss for who in _WHOSE) / 1024
    return json.dumps(asdict(Measured(own, children, wall, peak, found)))


def _cpu_seconds() -> list[float]:
    used = [resource.getrusage(who) for who in _WHOSE]
    return [each.ru_utime + each.ru_stime for each in used]
