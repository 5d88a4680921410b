"""The desk: look-up, single flight, reservation, attempt, settlement, event; and the stop switch."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile import held
from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest, Usage
from oa_compile.errors import BudgetExhausted, ExitCode, Interrupted, LaneError, OacompileError, StopRun
from oa_compile.events import AnyEvent, Attempt, GaveUp, Reserved
from oa_compile.journal import Journal, JournalWriteError, events, read
from oa_compile.lanes.calls import Calls, call_key
from oa_compile.lanes.lane import FATAL, RETRYABLE, Account, LaneFault, RequestRefused, Spent
from oa_compile.lanes.metered import Sent
from oa_compile.lanes.recorded import recorded_answers
from oa_compile.ledger import RUN, Caps, Hold, Ledger
from tests.support.world import RuleLane

LOOSE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy: how long an example takes says nothing."""
THREADS = 8


def request(text: str = "hello", **more: Any) -> ChatRequest:
    return ChatRequest(messages=(ChatMessage("user", text),), **more)


class Desk:
    """The calls of one process on the journal at `path`, with a lane that does as it is told."""

    def __init__(
        self,
        path: Path,
        *,
        caps: Caps | None = None,
        ledger: type[Ledger] = Ledger,
        replay_faults: bool = False,
    ) -> None:
        self.path = path
        self.journal = Journal(path)
        self.ledger = ledger({RUN: caps or Caps()})
        self.ledger.replay(events(self.journal.history))
        self.calls = Calls(
            journal=self.journal,
            ledger=self.ledger,
            recording=recorded_answers(self.journal.history),
            replay_faults=replay_faults,
        )
        self.lane = RuleLane()

    def ask(
        self, text: str = "hello", *, rollout: int | None = None, sample: int = 0, lane: Any = None
    ) -> ChatAnswer:
        return self.calls.complete(
            request(text),
            lane=lane or self.lane,
            stage="compile",
            role="task",
            rollout=rollout,
            sample=sample,
        )

    def script(self, *faults: LaneFault | None) -> None:
        """What becomes of the next attempts; all later ones are answered."""
        rest = iter(faults)
        self.lane.fault = lambda _request: next(rest, None)

    def written(self) -> list[AnyEvent]:
        return list(events(read(self.path)))

    def told(self) -> list[str]:
        """The journal in words."""
        return [
            event.outcome if isinstance(event, Attempt) else type(event).__name__ for event in self.written()
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "journal.jsonl")
    yield made
    made.journal.close()


@pytest.fixture
def reopened(desk: Desk, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Another process's desk on the same journal."""
    made: list[Desk] = []

    def again(**options: Any) -> Desk:
        (made[-1] if made else desk).journal.close()
        made.append(Desk(tmp_path / "journal.jsonl", **options))
        return made[-1]

    yield again
    for other in made:
        other.journal.close()


class Stopped(RuleLane):
    """A lane whose calls wait to be let on."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.before = self._wait

    def _wait(self, _request: ChatRequest) -> None:
        self.arrived.release()
        self.go_on.wait()


# -- keys ---------------------------------------------------------------------------------------------


def test_a_key_does_not_change_between_versions() -> None:
    """Journals hold keys: another key for the same call would repeat what was paid for."""
    asked = request("hello", temperature=0.5, response_format={"type": "json_object"})
    key = call_key("rule:1", asked, rollout=None, sample=0)
    assert key == "sha256:982940786df083b334300ae87fc498008ca4073aa4df84e5669b24a1ccac1d1b"


IDENTITIES = st.sampled_from(["rule:1", "rule:2"])
ROLLOUTS = st.none() | st.integers(0, 2)
REQUESTS = st.builds(
    request,
    st.sampled_from(["a", "b"]),
    temperature=st.none() | st.sampled_from([0.0, 1.0]),
    max_tokens=st.none() | st.just(5),
    stop=st.sampled_from([(), ("x",)]),
)
ASKED = st.tuples(IDENTITIES, REQUESTS, ROLLOUTS, st.integers(0, 2))


@given(ASKED, ASKED)
@LOOSE
def test_keys_are_equal_for_equal_calls_only(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    def key(call: tuple[Any, ...]) -> str:
        return call_key(call[0], call[1], rollout=call[2], sample=call[3])

    assert (key(one) == key(other)) == (one == other)


def test_the_order_in_a_response_format_does_not_matter() -> None:
    one = request(response_format={"type": "json_schema", "name": "x"})
    other = request(response_format={"name": "x", "type": "json_schema"})
    assert call_key("i", one, rollout=None, sample=0) == call_key("i", other, rollout=None, sample=0)


# -- one call -----------------------------------------------------------------------------------------


def test_a_call_is_reserved_then_told_then_settled(desk: Desk) -> None:
    seen: list[tuple[str, int]] = []
    desk.lane.before = lambda _request: seen.append((desk.told()[-1], desk.ledger.totals().reserved_msat))
    answer = desk.ask()
    assert seen == [("Reserved", 10)]  # in the journal before it was sent
    reserved, attempt = desk.written()
    key = call_key("rule:1", request(), rollout=None, sample=0)
    assert isinstance(reserved, Reserved)
    assert isinstance(attempt, Attempt)
    assert (reserved.key, reserved.hold, reserved.msat, reserved.tokens) == (key, 1, 10, 10_000)
    assert (attempt.key, attempt.hold, attempt.outcome, attempt.answer) == (key, 1, "ok", answer)
    assert (attempt.request, attempt.msat, attempt.tokens) == (request(), 10, 105)
    assert attempt.receipt == {"id": key[7:15]}
    totals = desk.ledger.totals()
    assert (totals.msat, totals.tokens, totals.calls, totals.reserved_msat) == (10, 105, 1, 0)


def test_the_same_call_is_answered_from_the_journal(desk: Desk, reopened: Callable[..., Desk]) -> None:
    saved: list[int] = []
    desk.calls.on_saved = lambda: saved.append(1)
    answers = [desk.ask(), desk.ask()]
    assert len(desk.lane.sent) == 1
    other = reopened()
    answers.append(other.ask())
    assert other.lane.sent == []
    assert answers[0] == answers[1] == answers[2]
    tally = desk.calls.tally
    assert (tally.made, tally.saved, tally.msat, tally.worth) == (1, 1, 10, 20)
    tally = other.calls.tally
    assert (tally.made, tally.saved, tally.msat, tally.worth) == (0, 1, 0, 10)
    assert saved == [1]
    assert other.told() == ["Reserved", "ok"]


def test_rollouts_and_samples_are_calls_of_their_own(desk: Desk) -> None:
    for rollout, sample in ((None, 0), (None, 1), (0, 0), (1, 0), (1, 1)):
        desk.ask(rollout=rollout, sample=sample)
    assert len(set(desk.lane.sent)) == 5


def test_another_lane_s_answers_are_not_taken(desk: Desk) -> None:
    other = RuleLane("other")
    other.identity = "rule:2"
    desk.ask()
    desk.ask(lane=other)
    assert len(other.sent) == 1


# -- many at once -------------------------------------------------------------------------------------


class Met(dict[str, Any]):
    """The desk's flights, telling when someone finds one under way."""

    def __init__(self) -> None:
        super().__init__()
        self.found = threading.Semaphore(0)

    def setdefault(self, key: str, default: Any = None) -> Any:
        flight = super().setdefault(key, default)
        if flight is not default:
            self.found.release()
        return flight


def together(desk: Desk) -> list[Future[ChatAnswer]]:
    """The same call from 8 threads, all before its first answer; done when all have ended."""
    desk.calls._flights = met = Met()
    barrier = threading.Barrier(THREADS)

    def all_others_wait(_request: ChatRequest) -> None:
        for _ in range(THREADS - 1):
            met.found.acquire()

    def ask() -> ChatAnswer:
        barrier.wait()
        return desk.ask()

    desk.lane.before = all_others_wait
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(ask) for _ in range(THREADS)]
    assert met == {}
    return futures


def test_identical_calls_at_once_are_sent_once(desk: Desk) -> None:
    answers = {future.result().text for future in together(desk)}
    assert len(answers) == len(desk.lane.sent) == 1
    assert desk.told() == ["Reserved", "ok"]
    tally = desk.calls.tally
    assert (tally.made, tally.saved, tally.msat, tally.worth) == (1, THREADS - 1, 10, 10 * THREADS)


def test_an_answer_filed_between_two_looks_is_not_asked_for_again(desk: Desk) -> None:
    """The identical call that was under way has ended when this one comes to lead."""

    class Late(dict[str, Any]):
        def setdefault(self, key: str, default: Any = None) -> Any:
            filed = Attempt(
                hold=1,
                key=key,
                lane="local",
                stage="compile",
                role="task",
                outcome="ok",
                answer=ChatAnswer("filed meanwhile"),
            )
            desk.calls._recording.add(filed)
            return super().setdefault(key, default)

    desk.calls._flights = Late()
    assert desk.ask().text == "filed meanwhile"
    assert desk.lane.sent == []
    assert (desk.calls.tally.made, desk.calls.tally.saved) == (0, 1)


def test_identical_calls_at_once_share_a_fault(desk: Desk) -> None:
    """As if it had been replayed: each has an error of its own, and each is counted."""
    desk.lane.fault = lambda _request: LaneFault("unavailable", "closed")
    errors = [future.exception() for future in together(desk)]
    assert all(isinstance(error, LaneFault) and error.kind == "unavailable" for error in errors)
    assert len({id(error) for error in errors}) == THREADS
    assert desk.told() == ["Reserved", "fault", "GaveUp"]
    assert desk.calls.tally.faults == THREADS
    assert desk.calls.stopped_by is None


def test_identical_calls_at_once_share_a_refusal(desk: Desk) -> None:
    desk.lane.fault = lambda _request: RequestRefused("too long")  # type: ignore[assignment,return-value]
    errors = [future.exception() for future in together(desk)]
    assert all(isinstance(error, RequestRefused) and error.message == "too long" for error in errors)
    assert desk.told() == ["Reserved", "refused"]


def test_identical_calls_at_once_share_a_stop(desk: Desk) -> None:
    desk.lane.fault = lambda _request: LaneFault("auth", "no key")
    errors = [future.exception() for future in together(desk)]
    assert all(isinstance(error, StopRun) and error.error is desk.calls.stopped_by for error in errors)
    assert desk.told() == ["Reserved", "fault"]


def test_different_calls_at_once_do_not_wait_for_each_other(desk: Desk) -> None:
    barrier = threading.Barrier(THREADS)
    desk.lane.before = lambda _request: barrier.wait() and None  # all are under way at once, or this hangs
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(desk.ask, [f"call {number}" for number in range(THREADS)]))
    assert len(answers) == THREADS
    assert sorted(desk.told()) == ["Reserved"] * THREADS + ["ok"] * THREADS
    assert desk.ledger.totals().calls == THREADS
    assert desk.ledger.open_holds() == []


class Taken:
    """A lock that is taken whenever one looks first, for a moment; tells how many would have blocked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._for_a_moment = True
        self.entered = 0
        self.blocked = 0

    def locked(self) -> bool:
        taken, self._for_a_moment = self._for_a_moment, False
        return taken

    def acquire(self, blocking: bool = True) -> bool:
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.entered += 1
        self.blocked += self._for_a_moment
        self._lock.acquire()

    def __exit__(self, *_exc: object) -> None:
        self._for_a_moment = True
        self._lock.release()


def test_no_call_blocks_on_a_lock_that_is_taken_for_a_moment(desk: Desk) -> None:
    """Or the threads of a run queue for it ever after, and hand the interpreter round: see held.py."""
    locks: dict[Any, Taken] = {desk.journal: Taken(), desk.calls: Taken()}
    for owner, lock in locks.items():
        owner._lock = lock
    desk.ledger._lock = of_ledger = Taken()
    desk.ledger._room = threading.Condition(of_ledger)
    for _ in range(2):  # made, then saved
        desk.ask()
    assert [lock.entered for lock in (*locks.values(), of_ledger)] == [2, 2, 2]
    assert [lock.blocked for lock in (*locks.values(), of_ledger)] == [0, 0, 0]


# -- faults and refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(RETRYABLE))
def test_every_attempt_is_an_event(desk: Desk, kind: Any) -> None:
    desk.script(LaneFault(kind, "not now"))
    desk.ask()
    assert desk.told() == ["Reserved", "fault", "Reserved", "ok"]
    fault = desk.written()[1]
    assert isinstance(fault, Attempt)
    assert (fault.fault, fault.message, fault.msat, fault.answer) == (kind, "not now", 0, None)
    assert desk.calls.tally.faults == 0  # the call was answered


def test_a_fault_that_may_have_been_billed_is_charged_at_its_quote(desk: Desk) -> None:
    desk.script(LaneFault("timeout", "late", billed=True))
    desk.ask()
    fault = desk.written()[1]
    assert isinstance(fault, Attempt)
    assert (fault.msat, fault.tokens) == (10, 10_000)
    assert desk.ledger.totals().msat == desk.calls.tally.msat == 20


def test_giving_up_is_told_and_not_held_against_the_next_run(
    desk: Desk, reopened: Callable[..., Desk]
) -> None:
    desk.script(*[LaneFault("server", "500")] * 2)
    with pytest.raises(LaneFault, match="500"):
        desk.ask()
    assert desk.told() == ["Reserved", "fault"] * 2 + ["GaveUp"]
    gave_up = desk.written()[-1]
    assert isinstance(gave_up, GaveUp)
    assert (gave_up.request, gave_up.fault, gave_up.message) == (request(), "server", "500")
    assert (desk.calls.tally.faults, desk.calls.tally.fault_kinds) == (1, ["server"])
    assert desk.calls.stopped_by is None

    strict = reopened(replay_faults=True)
    with pytest.raises(LaneFault, match="500") as replayed:
        strict.ask()
    assert replayed.value.kind == "server"
    assert (strict.lane.sent, strict.calls.tally.faults) == ([], 1)

    resumed = reopened()
    assert resumed.ask().text
    assert len(resumed.lane.sent) == 1

    again = reopened(replay_faults=True)  # the answer that came later is what counts
    assert again.ask().text
    assert again.lane.sent == []


def test_a_refusal_is_a_fact_about_the_request(desk: Desk, reopened: Callable[..., Desk]) -> None:
    desk.lane.fault = lambda _request: RequestRefused("too long")  # type: ignore[assignment,return-value]
    for _ in range(2):
        with pytest.raises(RequestRefused, match="too long"):
            desk.ask()
    assert desk.told() == ["Reserved", "refused"]
    assert desk.ledger.totals().msat == 0
    other = reopened()
    with pytest.raises(RequestRefused, match="too long"):
        other.ask()
    assert other.lane.sent == []


@pytest.mark.parametrize("kind", sorted(FATAL))
def test_what_no_retry_can_mend_stops_the_run(desk: Desk, kind: Any) -> None:
    desk.script(LaneFault(kind, "no", hint="set the key"))
    with pytest.raises(StopRun) as stop:
        desk.ask()
    assert isinstance(stop.value.error, LaneFault)
    assert stop.value.error.exit_code is ExitCode.LANE
    assert stop.value.error.hint == "set the key"
    for text in ("hello", "another"):
        with pytest.raises(StopRun) as later:
            desk.ask(text)
        assert later.value.error is stop.value.error
    assert desk.told() == ["Reserved", "fault"]


def test_a_fault_where_no_example_can_be_left_out_stops_the_run(desk: Desk) -> None:
    desk.calls.tolerates_faults = lambda: False
    desk.script(*[LaneFault("server", "500")] * 2)
    with pytest.raises(StopRun, match="500"):
        desk.ask()
    assert "GaveUp" not in desk.told()


class Broken(RuleLane):
    """Breaks in a way no lane should."""

    def __init__(self, where: str) -> None:
        super().__init__("broken")
        self.where = where

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        if self.where == "after":
            account.attempt(self.name, self.quote(request))
        raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(("where", "told"), [("before", []), ("after", ["Reserved"])])
def test_a_lane_s_bug_stops_the_run_as_ours(
    desk: Desk, reopened: Callable[..., Desk], where: str, told: list[str]
) -> None:
    with pytest.raises(StopRun) as stop:
        desk.ask(lane=Broken(where))
    error = stop.value.error
    assert (type(error), error.exit_code) == (OacompileError, ExitCode.BUG)
    assert error.message == "lane `broken` broke: ZeroDivisionError: division by zero"
    assert isinstance(stop.value.__cause__, ZeroDivisionError)
    assert desk.told() == told
    assert len(reopened().ledger.open_holds()) == len(told)  # booked as lost when the run goes on


class Dear(RuleLane):
    """Charges more than it said."""

    def __init__(self, spent: Spent) -> None:
        super().__init__("dear")
        self.spent = spent

    def send(self, request: ChatRequest, key: str) -> Sent:
        self.sent.append(key)
        return Sent(ChatAnswer("answer", Usage(1, 1)), self.spent)


@pytest.mark.parametrize("spent", [Spent(11, 5), Spent(10, 10_001)])
def test_a_lane_that_breaks_its_own_ceiling_is_not_called_again(
    desk: Desk, reopened: Callable[..., Desk], spent: Spent
) -> None:
    lane = Dear(spent)
    with pytest.raises(StopRun) as stop:
        desk.ask(lane=lane)
    assert isinstance(stop.value.error, LaneError)
    assert f"lane `dear` charged {spent.msat} msat and {spent.tokens} tokens" in stop.value.error.message
    assert "[price]" in stop.value.error.hint
    with pytest.raises(StopRun):
        desk.ask("another", lane=lane)
    assert len(lane.sent) == 1
    assert desk.ledger.totals().msat == spent.msat  # booked as it is
    assert reopened().ask(lane=lane).text == "answer"  # and what was paid for is kept


def test_ctrl_c_in_a_lane_passes_and_is_charged(desk: Desk) -> None:
    def interrupt(_request: ChatRequest) -> None:
        raise KeyboardInterrupt

    desk.lane.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        desk.ask()
    assert desk.told() == ["Reserved", "fault"]
    assert desk.ledger.totals().msat == 10
    assert desk.calls.wait_idle(0)


# -- running out --------------------------------------------------------------------------------------


def test_over_budget_nothing_is_sent_and_the_run_stops(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.jsonl", caps=Caps(msat=25))
    desk.ask("one")
    desk.ask("two")
    with pytest.raises(StopRun) as stop:
        desk.ask("three")
    assert isinstance(stop.value.error, BudgetExhausted)
    assert (stop.value.error.cap, stop.value.error.exit_code) == ("run.msat", ExitCode.BUDGET)
    with pytest.raises(StopRun):
        desk.ask("one")  # also what the journal could answer: the run is over
    assert len(desk.lane.sent) == 2
    assert desk.told() == ["Reserved", "ok"] * 2
    desk.journal.close()


class Waiting(threading.Condition):
    """Tells when a thread waits for room."""

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__(lock)
        self.waits = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.release()
        return super().wait()  # for a notification only


def test_a_call_that_waits_for_room_is_not_sent_after_the_stop(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.jsonl", caps=Caps(msat=15))
    desk.lane = lane = Stopped()
    lane.price = 8
    desk.ledger._room = waiting = Waiting(desk.ledger._lock)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(desk.ask, "one")
        lane.arrived.acquire()
        second = pool.submit(desk.ask, "two")
        waiting.waits.acquire()
        desk.calls.interrupt()
        assert isinstance(second.exception(), StopRun)  # at once, while the first is under way
        lane.go_on.set()
        assert first.result().text  # what is under way still settles
    assert desk.told() == ["Reserved", "ok"]
    assert isinstance(desk.calls.stopped_by, Interrupted)
    desk.journal.close()


def test_a_reservation_that_came_through_during_the_stop_is_given_back(tmp_path: Path) -> None:
    class Stopping(Ledger):
        def reserve(self, **asked: Any) -> Hold:
            hold = super().reserve(**asked)
            desk.calls.interrupt()
            return hold

    desk = Desk(tmp_path / "journal.jsonl", ledger=Stopping)
    with pytest.raises(StopRun):
        desk.ask()
    assert (desk.lane.sent, desk.told(), desk.ledger.open_holds()) == ([], [], [])
    desk.journal.close()


# -- stopping -----------------------------------------------------------------------------------------


def test_the_first_error_stays(desk: Desk) -> None:
    first, second = Interrupted("first"), Interrupted("second")
    assert desk.calls.stop(first).error is first
    assert desk.calls.stop(second).error is first
    assert desk.calls.stopped_by is first


def test_a_pause_ends_when_the_run_does(desk: Desk) -> None:
    barrier = threading.Barrier(2)

    def pause() -> None:
        barrier.wait()
        desk.calls.switch.pause(100_000)

    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(pause)
        barrier.wait()
        desk.calls.interrupt()
        error = paused.exception()
    assert isinstance(error, StopRun)
    assert error.error.exit_code is ExitCode.INTERRUPTED


def test_a_pause_of_a_run_that_goes_on_ends_by_itself(desk: Desk) -> None:
    desk.calls.switch.pause(0)


def test_idle_is_when_no_call_is_under_way(desk: Desk) -> None:
    desk.lane = lane = Stopped()
    assert desk.calls.wait_idle(0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(desk.ask)
        lane.arrived.acquire()
        assert not desk.calls.wait_idle(0)
        lane.go_on.set()
        assert desk.calls.wait_idle(100_000)
        call.result()


# -- a journal that cannot be written -----------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def fill() -> None:
        def full(_fd: int, _data: bytes, _offset: int) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(held, "pwrite", full)

    return fill


def test_what_cannot_be_written_is_not_sent(desk: Desk, full_disk: Callable[[], None]) -> None:
    full_disk()
    with pytest.raises(StopRun) as stop:
        desk.ask()
    assert isinstance(stop.value.error, JournalWriteError)
    assert desk.lane.sent == []
    assert desk.ledger.open_holds() == []


def test_an_answer_that_cannot_be_written_stops_the_run_and_stays_reserved(
    desk: Desk, full_disk: Callable[[], None], reopened: Callable[..., Desk]
) -> None:
    desk.lane.before = lambda _request: full_disk()
    with pytest.raises(StopRun) as stop:
        desk.ask()
    assert isinstance(stop.value.error, JournalWriteError)
    assert desk.ledger.totals().reserved_msat == 10
    assert desk.told() == ["Reserved"]
    assert len(reopened().ledger.open_holds()) == 1


def test_requests_are_plain_data() -> None:
    asked = request("hello", stop=("x",), response_format={"type": "json_object"})
    assert msgspec.json.decode(msgspec.json.encode(asked), type=ChatRequest) == asked
