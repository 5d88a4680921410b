"""kill -9, anywhere, again and again: no settled call is repeated, nothing is paid twice, and the
artifact is the one an undisturbed run makes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import Manifest, load_manifest
from oa_compile.errors import ExitCode
from oa_compile.events import Attempt, Line, Reserved, RunFinished, SegmentStarted
from oa_compile.journal import read
from oa_compile.lanes.runtime import caps_of
from oa_compile.ledger import Ledger
from oa_compile.replay.player import replay
from oa_compile.spec.config import Config
from tests.support.compile_process import Job, Nursery, billed
from tests.support.world import make_config, new_run

pytestmark = pytest.mark.crash

OPTIMIZERS = ("miprov2", "copro", "gepa")
THREADS = 8
PRICE = 10
KILLS = 5
"""In each run: with three runs of three optimizers, 45 in all."""
TORN = 3
"""The seed of the run whose journal ends in half a line after every kill."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as process:
        yield process


def config_of(optimizer: str, *, calls: int = 400) -> Config:
    """Eight threads, and caps that leave room for what killed processes had under way, and no more."""
    return make_config(
        optimizer__name=optimizer,
        run__threads=THREADS,
        budget={"cost": calls * PRICE, "calls": calls},
        lanes__local__budget={"cost": calls * PRICE},
        stages__compile__budget={"calls": calls},
    )


def fresh(root: Path, config: Config) -> RunFolder:
    return new_run(root, config=config, sizes=(10, 8, 4), steps=2)


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a run comes to when nothing happens to it."""

    manifest: Manifest
    program: bytes
    calls: int
    ticks: int


_UNDISTURBED: dict[str, Undisturbed] = {}


@pytest.fixture
def undisturbed(nursery: Nursery, optimizer: str, tmp_path: Path) -> Undisturbed:
    if optimizer not in _UNDISTURBED:
        folder = fresh(tmp_path / "undisturbed", config_of(optimizer))
        books = tmp_path / "undisturbed" / "books"
        ended = nursery.run(Job(str(folder.path), str(books)))
        assert ended.code == 0, ended.stderr
        _UNDISTURBED[optimizer] = Undisturbed(
            load_manifest(folder.artifact),
            (folder.artifact / "program.json").read_bytes(),
            len(billed(books)),
            ended.ticks,
        )
    return _UNDISTURBED[optimizer]


@dataclass(slots=True)
class Battered:
    """A run that is killed, watched from outside."""

    nursery: Nursery
    folder: RunFolder
    books: Path
    kills: int = 0
    torn: int = 0
    seen: int = 0
    """Lines of the journal that were looked at."""
    settled: dict[str, int] = field(default_factory=dict)
    """Key of each call that was settled before a kill -> times the provider had seen it by then."""

    def go_on(self, *, kill_after: int = 0) -> bool:
        """Run until it ends or has ticked so often; True if it was killed."""
        ended = self.nursery.run(Job(str(self.folder.path), str(self.books), kill_after=kill_after))
        assert ended.killed or ended.code == 0, ended.stderr
        self.kills += ended.killed
        return ended.killed

    def tear(self, chance: random.Random) -> None:
        """Leave half a line at the journal's end, as a write that is cut short does."""
        data = self.folder.journal.read_bytes()
        if not data.endswith(b"\n"):
            return
        start = data[:-1].rfind(b"\n") + 1
        assert data.count(b"\n") > self.seen, "the last line is of the process that was killed"
        length = chance.randint(1, len(data) - start - 1)
        # A reservation was whole before its call went out, so the line after it is the one cut short.
        end = len(data) if b'"type":"reserved"' in data[start:] else start
        self.folder.journal.write_bytes(data[:end] + data[start : start + length])
        self.torn += 1

    def look(self) -> None:
        """Remember what is settled now, and check that nothing settled before was sent again."""
        sent = Counter(key for key, _ in billed(self.books))
        for key, times in self.settled.items():
            assert sent[key] == times, f"{key} was settled, and sent again"
        lines = self.lines()
        self.seen = len(lines)
        for line in lines:
            if isinstance(line.event, Attempt) and line.event.outcome == "ok":
                self.settled.setdefault(line.event.key, sent[line.event.key])

    def lines(self) -> list[Line]:
        return list(read(self.folder.journal)) if self.folder.journal.exists() else []


def check_money(run: Battered, config: Config) -> None:
    """The journal against the provider's books, and every prefix of it against the caps."""
    events = [line.event for line in run.lines()]
    attempts = [event for event in events if isinstance(event, Attempt)]
    answered = Counter(event.key for event in attempts if event.outcome == "ok")
    lost = Counter(event.key for event in attempts if event.outcome == "lost")
    bill = Counter(key for key, _ in billed(run.books))
    assert len(answered) + sum(lost.values()) == len(attempts), "all are answered, or lost in a kill"
    assert max(answered.values()) == 1, "no call has two answers"
    for key, times in bill.items():
        assert answered[key] <= times <= answered[key] + lost[key], key
    assert set(bill) == set(answered)
    # The journal charges what was lost at its worst case, so it may say more than the bill, never less.
    charged = sum(event.msat for event in attempts)
    assert sum(msat for _, msat in billed(run.books)) <= charged == PRICE * (len(answered) + lost.total())

    caps = caps_of(config)
    ledger = Ledger(caps)
    for event in events:
        ledger.replay([event])
        if isinstance(event, Reserved | Attempt):
            for scope, cap in caps.items():
                totals = ledger.totals(scope)
                for unit in ("msat", "calls", "tokens"):
                    limit = getattr(cap, unit)
                    assert limit is None or totals.used(unit) <= limit, (scope, unit)
    assert ledger.open_holds() == []
    assert ledger.totals().msat == charged


def check_result(run: Battered, undisturbed: Undisturbed) -> None:
    manifest = load_manifest(run.folder.artifact)
    assert (run.folder.artifact / "program.json").read_bytes() == undisturbed.program
    assert manifest == undisturbed.manifest
    answered = [e for line in run.lines() if isinstance(e := line.event, Attempt) and e.outcome == "ok"]
    assert len(answered) == undisturbed.calls
    ends = [line.event for line in run.lines() if isinstance(line.event, RunFinished)]
    assert ends[-1].status == "complete"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("seed", [1, 2, TORN])
def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_happened(
    optimizer: str, seed: int, nursery: Nursery, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    chance = random.Random(f"{optimizer} {seed}")
    config = config_of(optimizer, calls=undisturbed.calls + KILLS * THREADS)
    run = Battered(nursery, fresh(tmp_path, config), tmp_path / "books")
    moments = sorted(chance.sample(range(1, int(0.9 * undisturbed.ticks)), KILLS))
    for before, moment in zip([0, *moments], moments, strict=False):
        assert run.go_on(kill_after=moment - before), "it ended before it was killed"
        if seed == TORN:
            run.tear(chance)
        run.look()
    while run.go_on():
        pass
    run.look()
    assert run.kills == len(moments)
    segments = [line.event for line in run.lines() if isinstance(line.event, SegmentStarted)]
    assert len(segments) > 1
    assert sum(segment.torn_bytes > 0 for segment in segments) == run.torn
    assert (run.torn > 0) == (seed == TORN)
    check_money(run, config)
    check_result(run, undisturbed)
    again = replay(run.folder.bundle, trust_code=True)
    assert (again.identical, again.differences) == (True, ())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_killed_while_it_writes_what_it_found(
    optimizer: str, nursery: Nursery, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The last tick is the end of the run in the journal; artifact and bundle are written around it."""
    config = config_of(optimizer)
    run = Battered(nursery, fresh(tmp_path, config), tmp_path / "books")
    run.go_on(kill_after=undisturbed.ticks - 1)
    run.go_on(kill_after=2)  # the segment's start, and its end
    run.look()
    run.go_on()
    run.look()
    check_money(run, config)
    check_result(run, undisturbed)
    assert replay(run.folder.bundle, trust_code=True).identical


def test_a_budget_holds_over_kills(nursery: Nursery, tmp_path: Path) -> None:
    """What killed processes lost is charged, so that a run that is killed again and again stops early
    rather than spend more than it may.
    """
    chance = random.Random("budget")
    config = config_of("miprov2", calls=60)
    folder, books = fresh(tmp_path, config), tmp_path / "books"
    codes = []
    for _ in range(6):
        job = Job(str(folder.path), str(books), kill_after=chance.randint(10, 60))
        codes.append(nursery.run(job).code)
    codes.append(nursery.run(Job(str(folder.path), str(books))).code)
    assert codes[-1] == ExitCode.BUDGET
    check_money(Battered(nursery, folder, books), config)
    assert sum(msat for _, msat in billed(books)) <= 60 * PRICE
