"""An executor by what people type: ``serial``, ``local``, ``local:4``, ``ray://host:10001``."""

from __future__ import annotations

import os
import re

from oa_compile.errors import UsageError
from oa_compile.executors.executor import Executor
from oa_compile.executors.local import LocalExecutor
from oa_compile.executors.serial import SerialExecutor

FORMS = "`serial`, `local`, `local:N`, or `ray://HOST:PORT`"


def executor_from(text: str, *, jobs: int | None = None) -> Executor:
    """The executor that `text` names, with at most `jobs` items worked on at once.

    Without a number, ``local`` has one worker for each core this process may use, and a Ray cluster is used
    as wide as it is. Raises UsageError for anything that names no executor and for a Ray that is not
    installed or not the cluster's, ExecutorError when the cluster does not answer.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be at least 1, not {jobs}", hint="leave it out to use every core")
    if text == "serial":
        return SerialExecutor()
    if found := re.fullmatch(r"local(?::([0-9]{1,4}))?", text):
        if found[1] is None:
            return LocalExecutor(jobs or len(os.sched_getaffinity(0)))
        if int(found[1]) > 0 and jobs in {None, int(found[1])}:
            return LocalExecutor(int(found[1]))
        said = (
            f"executor `{text}` and {jobs} jobs contradict each other" if jobs else f"`{text}` has no worker"
        )
        raise UsageError(said, hint="give the number once, and at least 1")
    if text.startswith("ray:"):
        return _ray(text, jobs)
    raise UsageError(f"`{text}` names no executor", hint=f"it is {FORMS}")


def _ray(url: str, jobs: int | None) -> Executor:
    try:
        from oa_compile.executors.ray import RayExecutor
    except ImportError as error:
        raise UsageError(
            f"`{url}` needs Ray, which is not installed here ({error})",
            hint="`pip install 'oa-compile[ray]'`, in the version of Ray that the cluster runs",
        ) from error
    return RayExecutor(url, jobs=jobs)
