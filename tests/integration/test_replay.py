"""Replay: the same artifact from the journal alone; what is not in it diverges, or goes on live."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import load_manifest
from oa_compile.errors import DigestMismatch, Divergence, ExitCode, UsageError
from oa_compile.events import Attempt, RunFinished
from oa_compile.journal import read
from oa_compile.lanes.lane import Books, Lane, Spent
from oa_compile.optimize.plan import Plan
from oa_compile.replay.player import replay, replay_live
from oa_compile.swarm.customer.attempt import Intent
from tests.support.cli import python
from tests.support.world import RuleLane, make_config, new_run, run

OPTIMIZERS = ("miprov2", "copro", "gepa")
SIZES = (8, 6, 3)


def compiled(root: Path, *, optimizer: str = "copro", steps: int = 1, **changes: object) -> RunFolder:
    config = make_config(optimizer__name=optimizer, optimizer__gepa={"max_metric_calls": 30}, **changes)
    folder = new_run(root, config=config, sizes=SIZES, steps=steps)
    run(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run."""
    return compiled(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def python_made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of a program with Python of its own."""
    return compiled(tmp_path_factory.mktemp("python"), steps=2)


def other_program(folder: RunFolder, root: Path, old: str, new: str) -> Path:
    """The run's program with one thing said otherwise."""
    program = Path(shutil.copytree(folder.inputs / "program", root / "other"))
    spec = program / "program.toml"
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))
    return program


class Live:
    """Makes the live lanes, and remembers them."""

    def __init__(self) -> None:
        self.lane = RuleLane()

    def __call__(self, plan: Plan) -> Mapping[str, Lane]:
        return dict.fromkeys(plan.lanes, self.lane)


def calls_in(folder: RunFolder) -> int:
    events = (line.event for line in read(folder.journal))
    return sum(isinstance(event, Attempt) and event.outcome == "ok" for event in events)


# -- strictly --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_artifact_comes_out(optimizer: str, tmp_path: Path) -> None:
    folder = compiled(tmp_path, optimizer=optimizer)
    played = replay(folder.bundle)
    assert played.identical
    assert played.differences == ()
    assert played.recorded == load_manifest(folder.artifact).digest
    assert played.calls >= calls_in(folder) > 0


def test_a_bundle_needs_nothing_beside_it(made: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "any name.zip"
    shutil.copyfile(made.bundle, alone)
    assert replay(alone).identical
    assert [path.name for path in alone.parent.iterdir()] == ["any name.zip"], "and leaves nothing there"


def test_a_run_s_folder_is_played_as_it_is(made: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(made.path, tmp_path / "run"))
    folder.bundle.unlink()
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert replay(folder.path).identical
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_a_cap_stopped_replays_to_the_same_partial_artifact(optimizer: str, tmp_path: Path) -> None:
    cap = calls_in(compiled(tmp_path / "undisturbed", optimizer=optimizer)) * 2 // 3
    folder = compiled(tmp_path / "stopped", optimizer=optimizer, budget__calls=cap)
    assert load_manifest(folder.artifact).status == "partial"
    played = replay(folder.bundle)
    assert (played.identical, played.differences) == (True, ())


def test_a_run_that_did_not_end_is_not_played(made: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(made.path, tmp_path / "run"))
    folder.bundle.unlink()
    kept = [
        raw
        for raw, line in zip(
            folder.journal.read_bytes().splitlines(keepends=True), read(made.journal), strict=True
        )
        if not isinstance(line.event, RunFinished)
    ]
    folder.journal.write_bytes(b"".join(kept))
    with pytest.raises(UsageError, match="did not end"):
        replay(folder.path)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_tampered_bundle_is_refused_before_anything_runs(
    made: RunFolder, tmp_path: Path, where: float
) -> None:
    data = bytearray(made.bundle.read_bytes())
    data[int(where * len(data))] ^= 1
    (tmp_path / "bundle.zip").write_bytes(data)
    lines: list[object] = []
    with pytest.raises(DigestMismatch) as caught:
        replay(tmp_path / "bundle.zip", listener=lines.append)
    assert caught.value.exit_code == ExitCode.MISMATCH
    assert lines == []


def test_answers_changed_in_the_journal_do_not_give_what_followed_from_them(
    made: RunFolder, tmp_path: Path
) -> None:
    """A journal can be doctored line by line, and still does not tell the truth."""
    folder = RunFolder(shutil.copytree(made.path, tmp_path / "run"))
    folder.bundle.unlink()
    lines = [json.loads(raw) for raw in folder.journal.read_bytes().splitlines()]
    for line in lines:
        answer = line["event"].get("answer", {"text": ""})
        answer["text"] = answer["text"].replace("Look closely", "Look away")
    folder.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(Divergence) as caught:
        replay(folder.path)
    assert "Look away" in caught.value.diff


# -- another program -------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_changed_program_diverges_with_a_diff_of_the_changed_line(optimizer: str, tmp_path: Path) -> None:
    folder = compiled(tmp_path, optimizer=optimizer)
    program = other_program(folder, tmp_path, "Name the colour of the thing.", "Say the colour of the thing.")
    with pytest.raises(Divergence) as caught:
        replay(folder.bundle, program=program)
    assert caught.value.exit_code == ExitCode.GATE_MISSED
    changed = [
        line
        for line in caught.value.diff.splitlines()
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    assert [line[0] for line in changed] == ["-", "+"], "the changed line and no other"
    assert "Name the colour of the thing." in changed[0]
    assert "Say the colour of the thing." in changed[1]


def test_the_bundle_s_own_program_does_not_diverge(made: RunFolder, tmp_path: Path) -> None:
    program = Path(shutil.copytree(made.inputs / "program", tmp_path / "same"))
    assert replay(made.bundle, program=program).identical
    assert replay(made.bundle, program=program / "program.toml").identical


# -- until divergence ------------------------------------------------------------------------------


def test_until_divergence_goes_on_live_and_ends(made: RunFolder, tmp_path: Path) -> None:
    program = other_program(made, tmp_path, "Name the colour of the thing.", "Say the colour of the thing.")
    live, target = Live(), tmp_path / "runs" / "live"
    played = replay_live(made.bundle, target, lanes=live, program=program)
    assert not played.identical
    said = [line for line in played.diverged.splitlines() if "Say the colour of the thing." in line]
    assert [line[0] for line in said] == ["+"]
    assert played.live is not None
    assert played.live.status == "complete"
    assert played.live.made == len(live.lane.sent) > 0
    assert load_manifest(target / "artifact").digest == played.replayed
    assert calls_in(RunFolder(target)) == played.live.made


def test_until_divergence_makes_no_call_where_there_is_none(made: RunFolder, tmp_path: Path) -> None:
    live = Live()
    played = replay_live(made.bundle, tmp_path / "live", lanes=live)
    assert played.identical
    assert played.diverged == ""
    assert live.lane.sent == []


class PayingLane(RuleLane):
    """A lane that keeps books, as one that pays does."""

    books: Books | None = None

    def take_up(self, books: Books) -> None:
        self.books = books

    def reconcile(self, intent: Intent, *, written: float) -> Spent | None:
        raise AssertionError

    def settle(self) -> None:
        pass


def test_a_lane_that_pays_is_given_the_new_run_s_books(made: RunFolder, tmp_path: Path) -> None:
    lane = PayingLane()
    replay_live(made.bundle, tmp_path / "live", lanes=lambda _plan: {"local": lane})
    assert lane.books is not None
    assert list(lane.books.payment_hashes()) == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_a_cap_stopped_goes_on_live_from_there(optimizer: str, tmp_path: Path) -> None:
    """Its recorded calls are answered; only those after the cap are made."""
    undisturbed = compiled(tmp_path / "undisturbed", optimizer=optimizer)
    total = calls_in(undisturbed)
    cap = total * 2 // 3
    folder = compiled(tmp_path / "stopped", optimizer=optimizer, budget__calls=cap)
    live = Live()
    played = replay_live(folder.bundle, tmp_path / "live", lanes=live)
    assert played.live is not None
    assert played.live.status == "complete"
    assert len(live.lane.sent) == total - cap
    assert played.diverged
    assert played.replayed == load_manifest(undisturbed.artifact).digest
    # The new run stands by itself: what it took over is in its own journal.
    shutil.rmtree(folder.path)
    assert replay(played.live.folder.bundle).identical


def test_a_live_replay_never_writes_over_a_run(made: RunFolder) -> None:
    before = made.journal.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        replay_live(made.bundle, made.path, lanes=Live())
    assert made.journal.read_bytes() == before


# -- code ------------------------------------------------------------------------------------------


def test_a_bundle_s_python_runs_only_when_trusted(python_made: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"program\.py") as caught:
        replay(python_made.bundle)
    assert "--trust-code" in caught.value.hint
    with pytest.raises(UsageError, match=r"program\.py"):
        replay_live(python_made.bundle, tmp_path / "live", lanes=Live())
    assert list(tmp_path.iterdir()) == [], "a refusal leaves nothing in the way of the next try"
    assert replay(python_made.bundle, trust_code=True).identical


def test_untrusted_python_is_not_even_loaded(python_made: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(python_made.path, tmp_path / "run"))
    folder.bundle.unlink()
    touched = tmp_path / "touched"
    source = folder.inputs / "program" / "program.py"
    source.write_text(f"open({str(touched)!r}, 'w').close()\n" + source.read_text())
    with pytest.raises(UsageError, match="Python of its own"):
        replay(folder.path)
    assert not touched.exists()


def test_one_s_own_program_is_trusted(python_made: RunFolder, tmp_path: Path) -> None:
    program = Path(shutil.copytree(python_made.inputs / "program", tmp_path / "mine"))
    assert replay(python_made.bundle, program=program).identical


# -- offline ---------------------------------------------------------------------------------------

OFFLINE = """
import json, sys
events = []

# Not socket.bind: urllib3 asks for a port on ::1 when it is imported, to see whether there is IPv6.
watched = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg",
    "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system",
}

def watch(event, args):
    if event in watched:
        events.append([event, repr(args)])

sys.addaudithook(watch)
from oa_compile.cli.main import main
code = main(["replay", "BUNDLE", "--json"])
heavy = [name for name in ("xllamacpp", "litellm", "nostr_sdk", "pyln", "httpx") if name in sys.modules]
sys.stderr.write(json.dumps({"code": int(code), "events": events, "heavy": heavy}) + "\\n")
"""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_strict_replay_connects_nowhere_and_loads_no_model(optimizer: str, tmp_path: Path) -> None:
    """The config's lane is the embedded one: its engine would be loaded by any call that is made."""
    folder = compiled(tmp_path, optimizer=optimizer)
    done = python(OFFLINE.replace("BUNDLE", str(folder.bundle)), cwd=tmp_path)
    assert json.loads(done.stdout)["identical"] is True
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["code"] == 0
    assert told["events"] == []
    assert "xllamacpp" not in told["heavy"]
    assert "litellm" not in told["heavy"]
