"""The runtime: a run is taken up from its journal alone, the same run or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.errors import BudgetExhausted, DigestMismatch, StopRun, UsageError
from oa_compile.events import (
    AnyEvent,
    Attempt,
    Borrowed,
    Line,
    Noted,
    Reserved,
    RunFinished,
    RunStarted,
    SegmentStarted,
)
from oa_compile.journal import Journal, events, read
from oa_compile.lanes.recorded import Recording, recorded_answers
from oa_compile.lanes.runtime import Runtime, caps_of, lane_names, stage_of, worked_ms
from oa_compile.ledger import Caps
from tests.support.world import RuleLane, make_config

STARTED = RunStarted(
    command="optimize",
    run="r1",
    program="colours",
    optimizer="miprov2",
    seed=3,
    inputs={"program": "sha256:aa", "train": "sha256:bb"},
    lanes={"local": "rule:1"},
    settings={"budget": {"calls": 5}},
    versions={"dspy": "3.4.1"},
)
REQUEST = ChatRequest(messages=(ChatMessage("user", "hello"),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


Open = Callable[..., Runtime]


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens the run as a process of its own would; the one before is gone."""
    last: list[Runtime] = []

    def open_run(
        started: RunStarted = STARTED,
        *,
        lane: RuleLane | None = None,
        recording: Recording | None = None,
        replay_faults: bool = False,
        listener: Any = None,
        at: Path | None = None,
        **changes: Any,
    ) -> Runtime:
        if last:
            last.pop().close()
        runtime = Runtime(
            at or path,
            started=started,
            config=make_config(**changes),
            lanes={"local": lane or RuleLane()},
            recording=recording,
            replay_faults=replay_faults,
            listener=listener,
        )
        last.append(runtime)
        return runtime

    yield open_run
    for runtime in last:
        runtime.close()


def ask(runtime: Runtime, text: str = "hello") -> ChatAnswer:
    return runtime.calls.complete(
        ChatRequest(messages=(ChatMessage("user", text),)),
        lane=runtime.lanes["local"],
        stage="compile",
        role="task",
        rollout=None,
        sample=0,
    )


def reserved(hold: int, **changes: Any) -> Reserved:
    fields = {
        "key": f"k{hold}",
        "lane": "local",
        "stage": "compile",
        "role": "task",
        "msat": 10,
        "tokens": 100,
    }
    return Reserved(hold=hold, **{**fields, **changes})


def settled(hold: int, **changes: Any) -> Attempt:
    fields = {
        "key": f"k{hold}",
        "lane": "local",
        "stage": "compile",
        "role": "task",
        "outcome": "ok",
        "msat": 7,
    }
    return Attempt(hold=hold, request=REQUEST, answer=ChatAnswer("yes"), **{**fields, **changes})


def write(path: Path, *written: AnyEvent) -> None:
    with Journal(path) as journal:
        for event in written:
            journal.append(event)


def written(path: Path) -> list[AnyEvent]:
    return list(events(read(path)))


# -- beginning and resuming ---------------------------------------------------------------------------


def test_a_new_run_says_what_it_is_and_who_runs_it(opened: Open, path: Path) -> None:
    runtime = opened()
    assert runtime.resumed is False
    assert written(path) == [STARTED, SegmentStarted(pid=os.getpid())]


def test_a_resume_is_a_segment_of_the_same_run(opened: Open, path: Path) -> None:
    ask(opened())
    with path.open("ab") as handle:
        handle.write(b'{"v":1,"se')
    runtime = opened(started=msgspec.structs.replace(STARTED, run="r1"))
    assert runtime.resumed is True
    assert [type(event) for event in written(path)].count(RunStarted) == 1
    assert written(path)[-1] == SegmentStarted(pid=os.getpid(), resumed=1, torn_bytes=10)
    assert runtime.ledger.totals().calls == 1
    ask(runtime)
    assert runtime.lanes["local"].sent == []  # type: ignore[attr-defined]
    assert written(opened().journal.path)[-1] == SegmentStarted(pid=os.getpid(), resumed=2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"program": "animals"}, "its program changed from 'colours' to 'animals'"),
        ({"seed": 4}, "its seed changed from 3 to 4"),
        ({"optimizer": "gepa"}, "its optimizer changed from 'miprov2' to 'gepa'"),
        ({"command": "validate"}, "its command changed from 'optimize' to 'validate'"),
        ({"lanes": {"local": "rule:2"}}, "its lanes changed"),
        ({"inputs": {"program": "sha256:cc", "train": "sha256:bb"}}, "its inputs changed"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_run_is_not_gone_on_with(
    opened: Open, path: Path, changes: dict[str, Any], told: str
) -> None:
    opened().close()
    before = path.read_bytes()
    for _ in range(2):  # the second time too: the journal was let go of
        with pytest.raises(UsageError) as caught:
            opened(msgspec.structs.replace(STARTED, **changes))
        assert caught.value.message.startswith("run `r1` cannot go on: ")
        assert told in caught.value.message
        assert "only budgets and threads may change on --resume" in caught.value.hint
    assert path.read_bytes() == before


def test_versions_and_budgets_may_change_and_the_settings_are_told(opened: Open, path: Path) -> None:
    opened()
    settings = {"budget": {"calls": 9}}
    opened(msgspec.structs.replace(STARTED, settings=settings, versions={"dspy": "3.4.2"}))
    *_, segment, noted = written(path)
    assert segment == SegmentStarted(pid=os.getpid(), resumed=1, settings=settings)
    assert isinstance(noted, Noted)
    assert "dspy 3.4.1 -> 3.4.2" in noted.message


def test_a_journal_that_begins_in_the_middle_is_refused(opened: Open, path: Path) -> None:
    write(path, Noted(code="x", message="y"))
    with pytest.raises(UsageError, match="does not begin with run_started"):
        opened()


def test_a_journal_whose_holds_do_not_pair_is_refused_and_let_go_of(opened: Open, path: Path) -> None:
    write(path, STARTED, SegmentStarted(pid=1), settled(1))
    for _ in range(2):
        with pytest.raises(DigestMismatch, match="hold 1 is settled, and not reserved before"):
            opened()


def test_a_listener_hears_the_whole_run_once(opened: Open, path: Path) -> None:
    ask(opened())
    heard: list[Line] = []
    ask(opened(listener=heard.append), "another")
    assert heard == list(read(path))


def test_answers_from_a_bundle_are_taken_over_into_the_journal(
    opened: Open, path: Path, tmp_path: Path
) -> None:
    answer = ask(opened())
    recording = recorded_answers(read(path))
    other = tmp_path / "other" / "journal.jsonl"
    runtime = opened(at=other, recording=recording)
    assert ask(runtime) == answer
    assert ask(runtime) == answer
    assert (runtime.calls.tally.made, runtime.calls.tally.saved) == (0, 2)
    borrowed = [event for event in written(other) if isinstance(event, Borrowed)]
    assert [event.answer for event in borrowed] == [answer], "once, and whole"
    runtime.close()
    alone = opened(at=other)
    assert ask(alone) == answer
    assert alone.calls.tally.made == 0, "the other run's journal is not needed any more"


def test_a_strict_replay_takes_nothing_over(opened: Open, path: Path, tmp_path: Path) -> None:
    ask(opened())
    other = tmp_path / "other" / "journal.jsonl"
    ask(opened(at=other, recording=recorded_answers(read(path)), replay_faults=True))
    assert not any(isinstance(event, Borrowed) for event in written(other))


# -- what a dead process left -------------------------------------------------------------------------


def test_abandoned_calls_are_booked_at_their_worst(opened: Open, path: Path) -> None:
    write(
        path,
        STARTED,
        SegmentStarted(pid=1),
        reserved(1),
        reserved(2, msat=20),
        settled(1),
        reserved(3, role="proposer"),
    )
    runtime = opened()
    lost = [event for event in written(path)[-2:] if isinstance(event, Attempt)]
    assert [(event.hold, event.key, event.role, event.outcome) for event in lost] == [
        (2, "k2", "task", "lost"),
        (3, "k3", "proposer", "lost"),
    ]
    assert [(event.msat, event.tokens, event.request) for event in lost] == [(20, 100, None), (10, 100, None)]
    totals = runtime.ledger.totals()
    assert (totals.msat, totals.calls, totals.reserved_msat) == (37, 3, 0)
    assert runtime.ledger.open_holds() == []
    again = opened()  # and once only
    assert again.ledger.totals().msat == 37
    assert sum(isinstance(event, Attempt) and event.outcome == "lost" for event in written(path)) == 2


def test_what_was_lost_is_asked_again_and_counts_against_the_cap(opened: Open, path: Path) -> None:
    write(path, STARTED, SegmentStarted(pid=1), reserved(1), reserved(2))
    runtime = opened(budget__calls=3)
    ask(runtime)
    with pytest.raises(StopRun) as stop:
        ask(runtime, "another")
    assert isinstance(stop.value.error, BudgetExhausted)


# -- wall time ----------------------------------------------------------------------------------------


def lines(*timed: tuple[int, AnyEvent]) -> list[Line]:
    return [Line(v=1, seq=seq, at=at, event=event) for seq, (at, event) in enumerate(timed, start=1)]


SEGMENT = SegmentStarted(pid=1)
NOTE = Noted(code="x", message="y")
DAY = 86_400_000
START = 1_790_000_000_000


@pytest.mark.parametrize(
    ("timed", "worked"),
    [
        ([], 0),
        ([(0, STARTED)], 0),
        ([(0, STARTED), (5, SEGMENT)], 0),
        ([(0, STARTED), (5, SEGMENT), (105, NOTE)], 100),
        ([(0, STARTED), (0, SEGMENT), (100, NOTE), (DAY, SEGMENT), (DAY + 30, NOTE)], 130),
        ([(0, STARTED), (0, SEGMENT), (DAY, SEGMENT), (2 * DAY, SEGMENT), (2 * DAY + 7, NOTE)], 7),
        ([(0, STARTED), (0, SEGMENT), (100, NOTE), (DAY, SEGMENT), (DAY - 50, NOTE)], 100),
    ],
    ids=["empty", "begun", "one segment", "its end", "a gap", "two gaps", "a clock set back"],
)
def test_only_the_time_in_segments_counts(timed: list[tuple[int, AnyEvent]], worked: int) -> None:
    assert worked_ms(lines(*[(START + at, event) for at, event in timed])) == worked


def test_a_cap_in_seconds_spans_segments_and_not_the_time_between(opened: Open, path: Path) -> None:
    def journal(*timed: tuple[int, AnyEvent]) -> None:
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines(*timed)))

    journal((START, STARTED), (START, SEGMENT), (START + 100_000, NOTE))
    ask(opened(budget__seconds=100_000))  # 100 s are gone of 100,000, and the days since are not
    journal((START, STARTED), (START, SEGMENT), (START + 100_000_000, NOTE))
    with pytest.raises(StopRun) as stop:
        ask(opened(budget__seconds=100_000))
    assert isinstance(stop.value.error, BudgetExhausted)
    assert stop.value.error.cap == "run.seconds"


# -- caps, stages, lanes ------------------------------------------------------------------------------


def test_every_cap_of_a_config_has_its_scope() -> None:
    config = make_config(
        money__usd_per_btc=50_000,
        budget={"cost": "1usd", "seconds": 60},
        stages__compile__budget={"calls": 7},
        stages__validate={"task": "local", "budget": {"cost": "3sat"}},
        lanes__local__budget={"tokens": 9, "cost": 0},
    )
    assert config.money.usd_per_btc == Decimal(50_000)
    assert caps_of(config) == {
        "run": Caps(msat=2_000_000, seconds=60),
        "stage compile": Caps(calls=7),
        "stage validate": Caps(msat=3_000),
        "lane local": Caps(msat=0, tokens=9),
    }


def test_a_stage_left_out_uses_the_compile_stage_s_lanes() -> None:
    config = make_config(
        lanes__big={"kind": "embedded"},
        stages__compile={"task": "local", "proposer": "big"},
        stages__verify={"task": "big"},
    )
    assert stage_of(config, "validate").proposer == "big"
    assert lane_names(config, ["compile"]) == ["local", "big"]
    assert lane_names(config, ["verify"]) == ["big"]
    assert lane_names(config, ["verify", "validate"]) == ["big", "local"]


def test_the_proposer_has_its_lane_or_the_task_s(path: Path) -> None:
    config = make_config(lanes__big={"kind": "embedded", "adapter": "json"}, stages__compile__proposer="big")
    lanes = {"local": RuleLane(), "big": RuleLane("big")}
    runtime = Runtime(path, started=STARTED, config=config, lanes=lanes)
    names = [
        (lm.model, lm.adapter_name)
        for lm in (
            runtime.lm("compile", "task"),
            runtime.lm("compile", "proposer"),
            runtime.lm("verify", "task"),
        )
    ]
    assert names == [("local-task", "chat"), ("big-proposer", "json"), ("local-task", "chat")]
    runtime.close()


def test_warnings_are_notes_of_the_journal(opened: Open, path: Path) -> None:
    runtime = opened(budget={"cost": 20, "calls": 1000}, lanes__local__budget={"calls": 4})
    ask(runtime)
    ask(runtime, "another")
    notes = [event for event in written(path) if isinstance(event, Noted)]
    assert [(note.code, note.data) for note in notes if note.data["cap"] == "run.msat"] == [
        ("budget", {"cap": "run.msat", "percent": 50}),
        ("budget", {"cap": "run.msat", "percent": 80}),
    ]
    assert notes[-1].data == {"cap": "lane local.calls", "percent": 50}
    assert notes[-1].message == "50 % of lane local.calls used (2 of 4)"
    assert notes[0].message == "50 % of run.msat used (10 msat of 20 msat)"


# -- closing ------------------------------------------------------------------------------------------


class Closing(RuleLane):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_closing_lets_go_of_lanes_and_journal(opened: Open, path: Path) -> None:
    lane = Closing()
    opened(lane=lane).close()
    assert lane.closed == 1
    write(path, RunFinished(status="complete"))  # nobody holds it


def test_the_journal_is_let_go_of_also_when_a_lane_cannot_close(path: Path) -> None:
    class Stuck(RuleLane):
        def close(self) -> None:
            raise KeyboardInterrupt

    runtime = Runtime(path, started=STARTED, config=make_config(), lanes={"local": Stuck()})
    with pytest.raises(KeyboardInterrupt):
        runtime.close()
    write(path, RunFinished(status="interrupted"))
