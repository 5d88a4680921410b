"""Sandboxes a second against bare subprocesses, for a command that does nothing, in one run.

    python benchmarks/sandbox.py [--jobs 400] [--threads 4] [--rounds 3]

Both are started by the same number of threads, with their outputs captured:
  subprocess   subprocess.run(["/bin/true"])
  bubblewrap   Bubblewrap.run: namespaces, mounts in memory, a user of no one's, limits, a seccomp filter

The last line is one JSON object: vs_subprocess (bubblewrap's rate / subprocess's, higher is better) and
sandboxes_per_second, medians over the rounds; ms_alone is one sandbox after the other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from oa_compile.sandbox.bubblewrap import Bubblewrap
from oa_compile.sandbox.sandbox import Job


def rate(run: Callable[[], object], *, jobs: int, threads: int) -> float:
    """Runs a second."""
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        for future in [pool.submit(run) for _ in range(jobs)]:
            future.result()
        return jobs / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    box, job = Bubblewrap(), Job(("true",))

    def sandboxed() -> None:
        assert box.run(job).ok

    def bare() -> None:
        subprocess.run(["/bin/true"], capture_output=True, check=True)

    ours, theirs = [], []
    for number in range(options.rounds):
        theirs.append(rate(bare, jobs=options.jobs, threads=options.threads))
        ours.append(rate(sandboxed, jobs=options.jobs, threads=options.threads))
        print(f"round {number + 1}: subprocess {theirs[-1]:7.0f} /s   bubblewrap {ours[-1]:7.0f} /s")
    alone = 1000 / rate(sandboxed, jobs=100, threads=1)
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    figures = {
        "vs_subprocess": round(statistics.median(ratios), 3),
        "sandboxes_per_second": round(statistics.median(ours), 1),
        "ms_alone": round(alone, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
