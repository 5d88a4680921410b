"""Metrics that run code: a command, or a program's own tests, in the sandbox.

Owns the job that is made of an answer, and how its end is read. The answer is untrusted, and it runs in one
process with what tests it: a hostile answer can forge a pass. The sandbox keeps it from everything else.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

from oa_compile.errors import SpecError
from oa_compile.evaluate.compare import as_text
from oa_compile.evaluate.feedback import quote
from oa_compile.evaluate.rules import Case, Judged, MetricError, Scorer
from oa_compile.sandbox.sandbox import Job, SandboxRun
from oa_compile.spec.metrics import CommandMetric, PytestMetric

Reading = Callable[[SandboxRun], Judged]
"""A function with a name, which tells its results from those that others read in the same run."""
Tester = Callable[[Job, Reading], Judged]
"""Runs a job, or knows what it came to, and reads it. Raises SandboxError when it could not be run."""

MAX_TOLD = 600
"""Characters of a job's output that feedback quotes: the end of it, where errors stand."""

_REPORT = "/tmp/report.xml"
_FENCED = re.compile(r"\s*```[\w+-]*[ \t]*\n(?P<body>.*?)\n?```\s*", re.DOTALL)
_NO_TESTS = (4, 5)
"""pytest's exit codes for wrong usage and for nothing to run."""


def tested_scorer(spec: CommandMetric | PytestMetric, test: Tester, *, files: Mapping[str, bytes]) -> Scorer:
    """A metric as a scorer. `files` are those of the program's folder that it names, by name."""

    def score(case: Case) -> Judged:
        given = dict(files)
        for path, field in spec.files.items():
            if case.pred.get(field) is None:
                return Judged(0.0, f"`{field}` is missing from the answer.")
            given[path] = _code(as_text(case.pred[field])).encode()
        for path, field in spec.gold_files.items():
            if case.gold.get(field) is None:
                raise MetricError(f"metric {spec.kind}: an example has no gold `{field}`")
            given[path] = as_text(case.gold[field]).encode()
        if isinstance(spec, PytestMetric):
            return test(Job(_pytest(spec), files=given), _read_pytest)
        return test(Job(spec.argv, files=given), _read_score if spec.score == "stdout" else _read_exit)

    return score


def read_files(spec: CommandMetric | PytestMetric, folder: Path) -> dict[str, bytes]:
    """The files of the program's folder that a metric puts into the sandbox. Raises SpecError."""
    if isinstance(spec, PytestMetric) and importlib.util.find_spec("pytest") is None:
        raise SpecError(f"{folder}: a pytest metric needs pytest here", hint="pip install pytest")
    found = {}
    for name in spec.with_files:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise SpecError(f"{folder}: `{name}` leads out of the program's folder")
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise SpecError(f"{path}: cannot read it: {error.strerror}") from error
    return found


def _pytest(spec: PytestMetric) -> tuple[str, ...]:
    tests = spec.tests or tuple(
        name
        for name in (*spec.with_files, *spec.gold_files)
        if PurePosixPath(name).name.startswith("test_") and name.endswith(".py")
    )
    line = (
        'python -m pytest -q -x --maxfail=1000 -p no:cacheprovider --tb=short -o junit_logging=no "$@" '
        f"--junitxml={_REPORT} >/dev/null 2>&1; code=$?; cat {_REPORT}; exit $code"
    )
    return ("sh", "-c", line, "sh", *tests)


def _read_exit(run: SandboxRun) -> Judged:
    return Judged(1.0) if run.ok else Judged(0.0, _told(run))


def _read_score(run: SandboxRun) -> Judged:
    """The last line of stdout as a score; what is none is a failed command."""
    lines = run.stdout.decode(errors="replace").split()
    try:
        value = float(lines[-1]) if lines and run.ok else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        return Judged(0.0, _told(run) if not run.ok else "The command printed no score in 0 … 1.")
    return Judged(value, "" if value >= 1 else f"The command gave {value:.2f}.{_end(run)}")


def _read_pytest(run: SandboxRun) -> Judged:
    if run.exceeded or run.exit_code not in {0, 1, 2, 3, *_NO_TESTS}:
        return Judged(0.0, _told(run))
    if run.exit_code in _NO_TESTS:
        raise MetricError(
            "metric pytest: there was no test to run", hint="name test files in `tests`, `with_files` or gold"
        )
    cases = _cases(run.stdout)
    if not cases:
        return Judged(0.0, "The tests came to no end.")
    failed = {name: why for name, why in cases.items() if why}
    # Every case is a key once, so what passed cannot outnumber what there is.
    share = 1 - len(failed) / len(cases) if run.exit_code != 0 or failed else 1.0
    if run.exit_code != 0 and not failed:
        return Judged(0.0, "The tests came to no end.")
    told = "\n".join(f"{name}: {why}" for name, why in list(failed.items())[:5])
    summary = f"{len(failed)} of {len(cases)} tests failed."
    return Judged(share, f"{summary}\n{quote(told)}" if failed else "")


def _cases(report: bytes) -> dict[str, str]:
    """Each test with why it failed, "" if it passed, skipped ones left out; empty for what is no report."""
    if b"<!DOCTYPE" in report or b"<!ENTITY" in report:
        return {}
    try:
        root = ET.fromstring(report)
    except ET.ParseError:
        return {}
    cases: dict[str, str] = {}
    for case in root.iter("testcase"):
        if case.find("skipped") is not None:
            continue
        problem = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        why = "" if problem is None else " ".join((problem.get("message") or "failed").split())[:200]
        cases[f"{case.get('classname')}.{case.get('name')}"] = why
    return cases


def _code(text: str) -> str:
    """What an answer's one code fence holds, or the answer as it stands."""
    fenced = _FENCED.fullmatch(text) if text.count("```") == 2 else None
    return fenced["body"] + "\n" if fenced else text


def _told(run: SandboxRun) -> str:
    if run.exceeded:
        return f"It ran into its limit of {run.exceeded}.{_end(run)}"
    return f"It ended with exit code {run.exit_code}.{_end(run)}"


def _end(run: SandboxRun) -> str:
    text = (run.stderr or run.stdout).decode(errors="replace").strip()
    return f" {text[-MAX_TOLD:]}" if text else ""
