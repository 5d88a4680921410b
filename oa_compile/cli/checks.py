"""What `doctor` looks at: each check is a row with what was found and the command that fixes it.

Nothing here loads a model, imports DSPy or goes to the network; what a swarm's lane needs is looked at by
`checks_swarm`, which does connect to relays and a wallet that a config names.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oa_compile.cli.check import Check, failed
from oa_compile.errors import OacompileError, SpecError, UsageError

if TYPE_CHECKING:
    from oa_compile.spec.config import Config
    from oa_compile.spec.lanes import AnyLaneSpec

DISTRIBUTION = "oa-compile"
LEAST_MEMORY = 1 << 30
LEAST_DISK = 1 << 29

_BOUND = re.compile(r"(>=|<=|==|!=|<|>)\s*([\d.]+)")


def run_checks(budget: Path | None, *, program: Path | None) -> Iterator[Check]:
    """All checks, in the order people fix things."""
    yield _python()
    yield from _packages()
    yield _machine()
    yield _disk(Path.cwd())
    yield from _programs(program)
    yield from _config(budget)


def satisfies(version: str, bounds: str) -> bool:
    """Whether a release `version` is within ``>=3.4,<3.5``. Letters after the numbers do not count."""
    ours = _release(version)
    tests = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
    }
    return all(tests[sign](ours, _release(bound)) for sign, bound in _BOUND.findall(bounds))


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))


def _python() -> Check:
    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    version = ".".join(map(str, sys.version_info[:3]))
    if satisfies(version, wanted):
        return Check("python", "ok", version)
    return Check(
        "python", "fail", f"{version}, needs {wanted}", "uv venv --python 3.13, then install oa-compile in it"
    )


def _packages() -> Iterator[Check]:
    """One row for all that is well, and one for each package that is not."""
    fine = 0
    for requirement in importlib.metadata.requires(DISTRIBUTION) or []:
        spec = requirement.split(";")[0].strip()
        name = re.split(r"[<>=!~\[ ]", spec)[0]
        bounds = spec.removeprefix(name)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(f"package {name}", "fail", "not installed", f"pip install '{spec}'")
            continue
        if not satisfies(version, bounds):
            yield Check(f"package {name}", "fail", f"{version}, needs {bounds}", f"pip install '{spec}'")
        elif name == "dspy":
            yield Check("dspy", "ok", f"{version} ({bounds})")
        else:
            fine += 1
    yield Check("packages", "ok", f"{fine} others present, in range")


def _machine() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{cores} cores, {memory / (1 << 30):.1f} GiB memory"
    if memory < LEAST_MEMORY:
        fix = "set instances = 1 in the embedded lane, or use a litellm lane"
        return Check("machine", "warn", f"{found}; the embedded model takes 0.4 GiB an instance", fix)
    return Check("machine", "ok", found)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / (1 << 30):.1f} GiB free here"
    if free < LEAST_DISK:
        return Check("disk", "warn", f"{found}; journals grow with every call", "free some space")
    return Check("disk", "ok", found)


def _programs(program: Path | None) -> Iterator[Check]:
    from oa_compile.dataset import CARD_NAME, load_card
    from oa_compile.spec.load import PROGRAM_FILE, load_program

    found = (
        [program] if program else [file.parent for file in sorted(Path("programs").glob(f"*/{PROGRAM_FILE}"))]
    )
    if not found:
        yield Check("programs", "warn", "no programs/*/program.toml here", "oacompile init my-project")
    for path in found:
        try:
            loaded = load_program(path)
        except SpecError as error:
            yield failed(f"program {path}", error)
            continue
        yield Check(f"program {loaded.spec.name}", "ok", str(loaded.path))
        if not loaded.spec.dataset:
            continue
        folder = loaded.folder / loaded.spec.dataset
        name = f"dataset of {loaded.spec.name}"
        if not (folder / CARD_NAME).is_file():
            fix = f"oacompile extract SESSIONS --program {path} --out {os.path.relpath(folder)}"
            yield Check(name, "warn", f"{os.path.relpath(folder)} has no {CARD_NAME}", fix)
            continue
        try:
            card = load_card(folder)
        except OacompileError as error:
            yield failed(name, error)
        else:
            yield Check(name, "ok", ", ".join(f"{split} {info.n}" for split, info in card.splits.items()))


def _config(budget: Path | None) -> Iterator[Check]:
    from oa_compile.spec.load import load_config

    try:
        loaded = load_config(budget)
    except SpecError as error:
        yield failed("config", error)
        return
    config = loaded.config
    yield Check("config", "ok", str(budget) if budget else "the defaults and what is set around them")
    yield _sandbox(config)
    used = _lanes_of(config, {"compile", "validate"})
    for name in sorted(used):
        yield from _lane(config, name)
    for name in sorted(_lanes_of(config, {"verify"}) - used):
        for check in _lane(config, name):
            found = f"{check.found} (only the verify stage uses it)"
            yield replace(check, status="warn", found=found) if check.status == "fail" else check


def _sandbox(config: Config) -> Check:
    """Only metrics that run code need it: a machine without one is told, and no less fit for the rest."""
    from oa_compile.sandbox.choose import sandbox_from

    try:
        return Check("sandbox", "ok", f"{sandbox_from(config.sandbox).name}, tried")
    except UsageError as error:
        return Check("sandbox", "warn", f"{error.message} (command and pytest metrics need one)", error.hint)


def _lanes_of(config: Config, stages: Collection[str]) -> set[str]:
    """Names of the lanes that these stages use, where the config has them."""
    named = [stage for name, stage in config.stages.items() if name in stages]
    return {lane for stage in named for lane in (stage.task, stage.proposer, stage.judge) if lane}


def _lane(config: Config, name: str) -> Iterator[Check]:
    from oa_compile.spec.lanes import EmbeddedLaneSpec, FallbackLaneSpec, PylonLaneSpec

    spec: AnyLaneSpec = config.lanes[name]
    label = f"lane {name}"
    if isinstance(spec, FallbackLaneSpec):
        yield Check(label, "ok", f"{spec.kind}: {', '.join(spec.lanes)}")
        for member in spec.lanes:
            yield from _lane(config, member)
        return
    if isinstance(spec, PylonLaneSpec):
        from oa_compile.cli.checks_swarm import swarm_checks

        yield from swarm_checks(config, name, spec)
        return
    try:
        if isinstance(spec, EmbeddedLaneSpec):
            from oa_compile.lanes.weights import resolve

            found = f"{spec.kind}: {spec.model}, weights at {resolve(spec.model, offline=True).path}"
        else:
            from oa_compile.lanes.build import build_lanes

            build_lanes(config, [name], secrets=os.environ.get)[name].close()
            found = f"{spec.kind}: {getattr(spec, 'model', spec.kind)}, ready to be asked"
    except OacompileError as error:
        yield failed(label, error)
    else:
        yield Check(label, "ok", found)
