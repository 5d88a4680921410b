"""A program's metric with what a run gives it: a judge on a lane, and a sandbox whose runs are journaled."""

from __future__ import annotations

import threading
from dataclasses import replace

from oa_compile.digest import digest_bytes, digest_json
from oa_compile.evaluate.judge import judge_on
from oa_compile.evaluate.metrics import Metric
from oa_compile.evaluate.rules import Judged
from oa_compile.evaluate.tested import Reading, Tester
from oa_compile.events import SandboxRan, Stage
from oa_compile.lanes.runtime import Runtime
from oa_compile.sandbox.choose import limits_from, sandbox_from
from oa_compile.sandbox.record import sandbox_record
from oa_compile.sandbox.sandbox import Job
from oa_compile.spec.sandbox import SandboxSpec


def equipped(metric: Metric, runtime: Runtime, *, stage: Stage) -> Metric:
    """The metric, ready to score on this run. Raises UsageError when it needs a sandbox and there is none."""
    if metric.judges:
        metric = metric.with_judge(judge_on(runtime.lm(stage, "judge")))
    if metric.runs_code:
        metric = metric.with_tester(_tester(runtime.config.sandbox, runtime))
    return metric


def _tester(spec: SandboxSpec, runtime: Runtime) -> Tester:
    """Runs jobs in a sandbox, once each in a run's journal: a resume and a replay score the same."""
    box, limits = sandbox_from(spec), limits_from(spec)
    flights: dict[str, threading.Lock] = {}

    def test(job: Job, read: Reading) -> Judged:
        job = replace(job, limits=limits)
        files = {name: digest_bytes(data) for name, data in job.files.items()}
        ran = {"files": files, "argv": job.argv, "limits": repr(limits), "image": spec.image}
        key = digest_json({**ran, "read": read.__name__})
        with flights.setdefault(key, threading.Lock()):  # the same job at the same time is run once
            known = runtime.tested(key)
            if known is None:
                run = box.run(job)
                score, feedback = read(run)
                record = sandbox_record(job, run, provider=box.name, image=spec.image)
                known = SandboxRan(key=key, score=score, feedback=feedback, record=record)
                runtime.file_test(known)
        return Judged(known.score, known.feedback)

    return test
