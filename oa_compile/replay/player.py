"""Plays a bundle: the very compile that made it, with the recorded answers for a lane.

Strictly, no model is loaded and no call is made, and the artifact's digest must come out identical.
Until divergence, the first call that is not in the journal goes on live, as a run of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oa_compile.artifact.bundle import open_bundle
from oa_compile.artifact.folder import RunFolder, copy_program, open_run, read_inputs
from oa_compile.artifact.manifest import Manifest, load_manifest
from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import (
    BudgetExhausted,
    DigestMismatch,
    Divergence,
    Interrupted,
    LaneError,
    OacompileError,
    UsageError,
)
from oa_compile.events import Evaluated, Line, RunFinished, RunStarted
from oa_compile.journal import Listener, read
from oa_compile.lanes.lane import Account, Books, Lane, Payer, Quote, Spent
from oa_compile.lanes.recorded import RecordedLane, Recording, divergence, recorded_answers
from oa_compile.optimize.driver import Outcome, run_compile, started_event
from oa_compile.optimize.plan import Plan, make_plan
from oa_compile.optimize.recorder import RecordedSearch
from oa_compile.signatures.build import python_files
from oa_compile.spec.load import load_program
from oa_compile.swarm.customer.attempt import Intent

LaneFactory = Callable[[Plan], Mapping[str, Lane]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run as its journal tells it."""

    started: RunStarted
    search: RecordedSearch
    recording: Recording
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to. `calls` were answered from the journal; `differences` names manifest
    fields that came out otherwise, empty when the digests are identical.
    """

    recorded: str
    replayed: str
    calls: int
    differences: tuple[str, ...] = ()
    diverged: str = ""
    live: Outcome | None = None

    @property
    def identical(self) -> bool:
        """Whether the same artifact came out."""
        return self.recorded == self.replayed


@contextmanager
def opened(path: Path) -> Iterator[RunFolder]:
    """A bundle unpacked and checked, or a run folder as it is."""
    if path.is_dir():
        folder = open_run(path)
        if not folder.bundle.is_file():
            yield folder
            return
        path = folder.bundle
    with tempfile.TemporaryDirectory(prefix="oacompile-replay-") as root:
        yield open_bundle(path, Path(root) / (path.resolve().parent.name or "recorded"))


def read_recorded(folder: RunFolder) -> Recorded:
    """What the journal of an opened bundle says. Raises DigestMismatch when it tells no finished run."""
    lines: list[Line] = list(read(folder.journal))
    first = lines[0].event if lines else None
    if not isinstance(first, RunStarted) or first.command != "optimize":
        raise DigestMismatch(f"{folder.journal}: not the journal of a compile")
    finished = [line.event for line in lines if isinstance(line.event, RunFinished)]
    if not finished:
        raise UsageError(f"{folder.journal}: the run did not end", hint="finish it with --resume first")
    manifest = load_manifest(folder.artifact)
    # A later segment may have been stopped before it came as far as this artifact.
    ends = [end for end in finished if end.artifact == manifest.digest]
    if not ends:
        raise DigestMismatch(
            f"{folder.artifact}: the journal tells of no end that made this artifact",
            hint="artifact and journal are of different runs",
        )
    search = RecordedSearch(
        evaluated=tuple(line.event for line in lines if isinstance(line.event, Evaluated)),
        error=None if manifest.status == "complete" else _stopped_by(ends[0], manifest),
        evaluations=manifest.search.evaluations,
        candidates=manifest.search.candidates,
    )
    return Recorded(first, search, recorded_answers(lines), manifest)


def _stopped_by(end: RunFinished, manifest: Manifest) -> OacompileError:
    """What stopped the run that made a partial artifact."""
    if end.status == "partial":
        return BudgetExhausted(manifest.reason, cap="")
    return Interrupted(manifest.reason) if end.status == "interrupted" else LaneError(manifest.reason)


def replay(
    path: Path,
    *,
    program: Path | None = None,
    trust_code: bool = False,
    listener: Listener | None = None,
    on_saved: Callable[[], None] | None = None,
) -> Replayed:
    """Play a bundle or a finished run strictly.

    `program` replays with another program folder in place of the bundle's. Raises Divergence with the
    diff of the two requests, DigestMismatch when the bundle is not whole, UsageError when it holds
    Python that nobody trusted.
    """
    with opened(path) as folder, tempfile.TemporaryDirectory(prefix="oacompile-replay-") as root:
        recorded = read_recorded(folder)
        stage = _stage(folder, Path(root) / folder.name, program=program)
        plan = _plan(stage, trusted=trust_code or program is not None)
        lanes = {
            name: RecordedLane(name, identity=_identity(recorded, name), recording=recorded.recording)
            for name in plan.lanes
        }
        outcome = run_compile(
            stage,
            plan,
            lanes=lanes,
            listener=listener,
            on_saved=on_saved,
            recording=recorded.recording,
            recorded=recorded.search,
        )
        return _compared(recorded, outcome)


def replay_live(
    path: Path,
    target: Path,
    *,
    lanes: LaneFactory,
    program: Path | None = None,
    trust_code: bool = False,
    listener: Listener | None = None,
    on_saved: Callable[[], None] | None = None,
) -> Replayed:
    """Play a bundle, and go on live from the first call it does not hold, as the new run `target`."""
    with opened(path) as folder:
        recorded = read_recorded(folder)
        if target.exists():
            raise UsageError(f"{target} exists already", hint="choose another --run")
        staging = target.with_name(f".{target.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            plan = _plan(_stage(folder, staging, program=program), trusted=trust_code or program is not None)
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        stage = RunFolder(target)
        built = lanes(plan)
        first = _FirstLive(recorded.recording)
        watched = {name: _watched(lane, first) for name, lane in built.items()}
        own = started_event(plan, run=stage.name, lanes=built)
        if own.lanes != recorded.started.lanes:
            first.message = f"the lanes changed from {recorded.started.lanes} to {own.lanes}"
        outcome = run_compile(
            stage, plan, lanes=watched, listener=listener, on_saved=on_saved, recording=recorded.recording
        )
        result = _compared(recorded, outcome)
        return Replayed(
            result.recorded, result.replayed, result.calls, result.differences, first.message, outcome
        )


class _FirstLive:
    """Remembers the first call that was not recorded."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.message = ""

    def saw(self, key: str, request: ChatRequest) -> None:
        if not self.message:
            found: Divergence = divergence(key, request, self._recording)
            self.message = f"{found.message}\n{found.diff}".strip()


class _WatchedLane:
    """A lane whose first call is noticed. Fulfils Lane."""

    def __init__(self, lane: Lane, first: _FirstLive) -> None:
        self._lane = lane
        self._first = first
        self.name, self.kind, self.identity, self.concurrency = (
            lane.name,
            lane.kind,
            lane.identity,
            lane.concurrency,
        )

    def quote(self, request: ChatRequest) -> Quote:
        return self._lane.quote(request)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        self._first.saw(account.key, request)
        return self._lane.complete(request, account)

    def close(self) -> None:
        self._lane.close()


class _WatchedPayer(_WatchedLane):
    """The same for a lane that pays. Fulfils Payer."""

    def __init__(self, lane: Lane, payer: Payer, first: _FirstLive) -> None:
        super().__init__(lane, first)
        self._payer = payer

    def take_up(self, books: Books) -> None:
        self._payer.take_up(books)

    def reconcile(self, intent: Intent, *, written: float) -> Spent | None:
        return self._payer.reconcile(intent, written=written)

    def settle(self) -> None:
        self._payer.settle()


def _watched(lane: Lane, first: _FirstLive) -> _WatchedLane:
    return _WatchedPayer(lane, lane, first) if isinstance(lane, Payer) else _WatchedLane(lane, first)


def _stage(folder: RunFolder, target: Path, *, program: Path | None) -> RunFolder:
    shutil.copytree(folder.inputs, target / "inputs")
    stage = RunFolder(target)
    if program is not None:
        shutil.rmtree(stage.inputs / "program")
        copy_program(load_program(program), stage.inputs / "program")
    return stage


def _plan(stage: RunFolder, *, trusted: bool) -> Plan:
    inputs = read_inputs(stage)
    code = python_files(inputs.program.spec)
    if code and not trusted:
        raise UsageError(
            f"this bundle runs Python of its own ({', '.join(code)})",
            hint="read it (it is in the zip, under inputs/program), then allow it with --trust-code",
        )
    return make_plan(inputs)


def _identity(recorded: Recorded, name: str) -> str:
    try:
        return recorded.started.lanes[name]
    except KeyError:
        raise DigestMismatch(
            f"the journal has no lane `{name}`, which its config uses: {sorted(recorded.started.lanes)}"
        ) from None


def _compared(recorded: Recorded, outcome: Outcome) -> Replayed:
    manifest = outcome.manifest
    if manifest is None:
        return Replayed(recorded.manifest.digest, "", outcome.saved, ("no candidate was scored in full",))
    old, new = recorded.manifest.model_dump(), manifest.model_dump()
    differences = tuple(name for name in old if name != "digest" and old[name] != new[name])
    return Replayed(recorded.manifest.digest, manifest.digest, outcome.saved, differences)
