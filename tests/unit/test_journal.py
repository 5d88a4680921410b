"""The journal: what is appended is what is read, and no failure leaves anything but a prefix of it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile import held
from oa_compile import journal as journal_module
from oa_compile.errors import DigestMismatch, UsageError
from oa_compile.events import AnyEvent, Event, Noted, SegmentStarted
from oa_compile.journal import Journal, JournalWriteError, decode_line, events, read

LOOSE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy: how long an example takes says nothing."""
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that an annotation of an event allows."""
    origin, args = get_origin(kind), get_args(kind)
    plain = {str: TEXTS, int: st.integers(-(2**63), 2**63 - 1), bool: st.booleans(), NoneType: st.none()}
    if kind in plain:
        return plain[kind]
    if kind is Any:
        return JSON
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, UnionType):
        return st.one_of(*(values(arg) for arg in args))
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=3)
    if origin is list:
        return st.lists(values(args[0]), max_size=3)
    if origin is tuple:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    assert issubclass(kind, msgspec.Struct), kind
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})


EVENT_TYPES: tuple[type[Event], ...] = get_args(AnyEvent)
EVENTS = st.one_of(*(values(kind) for kind in EVENT_TYPES))


def note(text: str = "note") -> Noted:
    return Noted(code="test", message=text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def write(path: Path, *notes: str) -> bytes:
    """A journal with those notes; its bytes."""
    with Journal(path) as journal:
        for text in notes:
            journal.append(note(text))
    return path.read_bytes()


def messages(path: Path) -> list[str]:
    return [event.message for event in events(read(path)) if isinstance(event, Noted)]


# -- writing and reading ------------------------------------------------------------------------------


def test_every_event_is_in_the_union() -> None:
    assert set(EVENT_TYPES) == set(Event.__subclasses__())


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_what_is_appended_is_what_is_read(kind: type[Event]) -> None:
    @given(st.lists(values(kind), min_size=1, max_size=3))
    @settings(LOOSE, max_examples=25)
    def check(written: list[Event]) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "journal.jsonl"
            with Journal(path) as journal:
                numbers = [journal.append(event) for event in written]
            lines = list(read(path))
            assert list(events(lines)) == written
            assert [line.seq for line in lines] == numbers == list(range(1, len(written) + 1))
            assert path.read_bytes().count(b"\n") == len(written)

    check()


def test_lines_are_plain_json_with_the_time_of_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module.time, "time_ns", lambda: 1_790_000_000_123_456_789)
    (line,) = write(path, "ü").decode().splitlines()
    assert json.loads(line) == {
        "v": 1,
        "seq": 1,
        "at": 1_790_000_000_123,
        "event": {"type": "noted", "code": "test", "message": "ü"},
    }


def test_threads_leave_dense_numbers_and_whole_lines(path: Path) -> None:
    barrier = threading.Barrier(8)
    seen: list[int] = []
    numbers: list[int] = []

    def work(thread: int) -> None:
        barrier.wait()
        numbers.extend(journal.append(note(f"{thread} {index} " + "x" * (index * 40))) for index in range(50))

    with Journal(path) as journal:
        journal.listen(lambda line: seen.append(line.seq))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [line.seq for line in read(path)] == sorted(numbers) == seen == list(range(1, 401))
    found = [text.rsplit(" ", 1)[0] for text in messages(path)]
    for thread in range(8):  # each thread's own order is kept
        own = [text for text in found if text.startswith(f"{thread} ")]
        assert own == [f"{thread} {index}" for index in range(50)]


def test_listeners_hear_whole_lines_in_order_and_only_new_ones(path: Path) -> None:
    write(path, "old")
    heard: list[tuple[str, int, str]] = []

    def listener(name: str) -> Callable[[Any], None]:
        return lambda line: heard.append((name, line.seq, line.event.message))

    with Journal(path) as journal:
        assert [line.seq for line in journal.history] == [1]
        journal.append(note("unheard"))
        journal.listen(listener("first"))
        journal.listen(listener("second"))
        journal.append(note("a"))
        journal.append(note("b"))
    assert heard == [("first", 3, "a"), ("second", 3, "a"), ("first", 4, "b"), ("second", 4, "b")]


def test_what_has_no_utf_8_form_is_refused_before_a_byte_is_written(path: Path) -> None:
    with Journal(path) as journal:
        with pytest.raises(UnicodeEncodeError):
            journal.append(note("\ud800"))
        assert journal.append(note("next")) == 1
    assert messages(path) == ["next"]


def test_a_line_of_50_mb(path: Path) -> None:
    long = "x" * 50_000_000
    write(path, "before", long, "after")
    with Journal(path) as journal:
        assert [len(line.event.message) for line in journal.history] == [6, len(long), 5]  # type: ignore[union-attr]
        assert journal.torn_bytes == 0


# -- torn lines ---------------------------------------------------------------------------------------


@given(st.lists(EVENTS, min_size=1, max_size=4), st.data())
@settings(LOOSE, max_examples=60)
def test_cut_anywhere_it_opens_as_a_prefix_and_goes_on(written: list[Event], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as journal:
            for event in written:
                journal.append(event)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")
        assert list(events(read(path))) == written[:kept]  # readers pass a torn line over
        with Journal(path) as journal:
            assert list(events(journal.history)) == written[:kept]
            assert journal.torn_bytes == cut - (whole[:cut].rfind(b"\n") + 1)
            assert journal.append(note()) == kept + 1
        assert list(events(read(path))) == [*written[:kept], note()]


@pytest.mark.parametrize("lines", [0, 2])
def test_a_torn_line_of_any_length_is_cut_whole(path: Path, lines: int) -> None:
    whole = write(path, *["kept"] * lines)
    with path.open("ab") as handle:
        handle.write(b'{"v":1,')
        handle.truncate(len(whole) + 70_000_000)  # sparse: costs no disk
    with Journal(path) as journal:
        assert journal.torn_bytes == 70_000_000
        journal.append(note("next"))
    assert messages(path) == ["kept"] * lines + ["next"]


@pytest.mark.parametrize("block", range(1, 8))
def test_the_last_newline_is_found_wherever_blocks_meet(
    path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_BLOCK", block)
    whole = write(path, "a", "b")
    for torn in range(10):
        path.write_bytes(whole + b"x" * torn)
        with Journal(path) as journal:
            assert (journal.torn_bytes, len(journal.history)) == (torn, 2)
        assert path.read_bytes() == whole


# -- damage -------------------------------------------------------------------------------------------


@given(st.data())
@settings(LOOSE, max_examples=60)
def test_a_changed_byte_never_passes_for_a_line_of_another_shape(data: st.DataObject) -> None:
    """Any change of a line's frame is told with file and line; inside a text it is a digest's matter."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        whole = write(path, "one", "two", "three")
        line = data.draw(st.integers(0, 2))
        start = sum(len(raw) for raw in whole.splitlines(keepends=True)[:line])
        offset = start + data.draw(st.integers(0, whole.index(b"\n") - 1))
        byte = data.draw(st.integers(0, 31).filter(lambda value: value not in b"\t\r"))  # no JSON has these
        path.write_bytes(whole[:offset] + bytes([byte]) + whole[offset + 1 :])
        with pytest.raises(DigestMismatch) as caught:
            list(read(path))
        assert f"{path}:{line + 1}: " in caught.value.message
        with pytest.raises(DigestMismatch):
            Journal(path)
        with pytest.raises(DigestMismatch):  # and the lock was let go of
            Journal(path)


@pytest.mark.parametrize(
    ("damage", "number", "message"),
    [
        (lambda lines: [lines[0], lines[2]], 2, "expected event 2, found 3"),
        (lambda lines: lines[1:], 1, "expected event 1, found 2"),
        (lambda lines: [lines[0], lines[2], lines[1]], 2, "expected event 2, found 3"),
        (lambda lines: [lines[0], *lines], 2, "expected event 2, found 1"),
        (lambda lines: [lines[0], b"\n", *lines[1:]], 2, "not a journal line"),
        (lambda lines: [lines[0].replace(b'"v":1', b'"v":2'), *lines[1:]], 1, "journal format 2"),
        (lambda lines: [lines[0].replace(b"noted", b"nated"), *lines[1:]], 1, "not a journal line"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"seq":3', b'"seq":"3"')], 3, "not a journal line"),
        (lambda lines: [lines[0], b"\xff" + lines[1][1:]], 2, "not a journal line"),
        (lambda lines: [lines[0].replace(b"one", b"\xc3("), *lines[1:]], 1, "not a journal line"),
    ],
    ids=[
        "removed",
        "first removed",
        "swapped",
        "doubled",
        "empty line",
        "another format",
        "another type",
        "another field type",
        "not UTF-8",
        "broken UTF-8",
    ],
)
def test_damage_is_told_with_file_and_line(
    path: Path, damage: Callable[[list[bytes]], list[bytes]], number: int, message: str
) -> None:
    lines = write(path, "one", "two", "three").splitlines(keepends=True)
    path.write_bytes(b"".join(damage(lines)))
    with pytest.raises(DigestMismatch) as caught:
        list(read(path))
    assert caught.value.message.startswith(f"{path}:{number}: ")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_line_says_where_it_stands() -> None:
    with pytest.raises(DigestMismatch, match=r"x\.jsonl:7: expected event 7, found 3"):
        decode_line(
            b'{"v":1,"seq":3,"at":1,"event":{"type":"segment_started","pid":1}}',
            path=Path("x.jsonl"),
            number=7,
        )


def test_no_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the journal: No such file"):
        list(read(tmp_path / "none.jsonl"))


def test_a_path_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot open the journal for writing"):
        Journal(tmp_path / "file" / "journal.jsonl")


# -- one writer ---------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_spoils_nothing(path: Path) -> None:
    with Journal(path) as journal:
        journal.append(note("mine"))
        with pytest.raises(UsageError, match="another process is writing this run"):
            Journal(path)
        code = (
            "import sys; from pathlib import Path; from oa_compile.journal import Journal\n"
            "Journal(Path(sys.argv[1]))"
        )
        other = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
        assert "UsageError" in other.stderr
        assert messages(path) == ["mine"]  # readers are welcome
        journal.append(note("still mine"))
    with Journal(path) as journal:
        assert len(journal.history) == 2


def test_a_file_system_without_locks_is_told_as_that(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_fd: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(journal_module.fcntl, "flock", no_locks)
    with pytest.raises(UsageError, match="cannot lock the journal: No locks available"):
        Journal(path)


def test_a_closed_journal_refuses(path: Path) -> None:
    journal = Journal(path)
    journal.append(note("a"))
    journal.close()
    journal.close()
    with pytest.raises(JournalWriteError, match="the journal is closed"):
        journal.append(note("b"))
    assert messages(path) == ["a"]


# -- failing disks ------------------------------------------------------------------------------------


class Disk:
    """Stands in front of held.pwrite, os.ftruncate and os.fsync: short writes, a full disk, failing syncs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.piece = 1 << 30
        self.error: BaseException = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.truncates = True
        self.sync_error: OSError | None = None
        self.syncs = 0
        self._pwrite, self._ftruncate = held.pwrite, os.ftruncate
        monkeypatch.setattr(held, "pwrite", self.pwrite)
        for name in ("ftruncate", "fsync"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self.room == 0:
            raise self.error
        piece = data[: self.piece if self.room is None else min(self.piece, self.room)]
        written = self._pwrite(fd, piece, offset)
        if self.room is not None:
            self.room -= written
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        if not self.truncates:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        os.fstat(fd)  # of an open file
        self.syncs += 1
        if self.sync_error is not None:
            raise self.sync_error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    with monkeypatch.context() as patch:
        yield Disk(patch)


def test_short_writes_make_whole_lines(path: Path, disk: Disk) -> None:
    disk.piece = 7
    write(path, "one", "two" * 30)
    assert messages(path) == ["one", "two" * 30]


@pytest.mark.parametrize("room", [0, 1, 40, 60])
def test_a_full_disk_leaves_no_half_line_and_the_next_append_works(path: Path, disk: Disk, room: int) -> None:
    heard: list[int] = []
    with Journal(path) as journal:
        journal.listen(lambda line: heard.append(line.seq))
        journal.append(note("one"))
        before = path.read_bytes()
        disk.room = room
        with pytest.raises(JournalWriteError, match="cannot write the journal: No space left") as caught:
            journal.append(note("lost"))
        assert "--resume" in caught.value.hint
        assert path.read_bytes() == before
        disk.room = None
        assert journal.append(note("two")) == 2
    assert messages(path) == ["one", "two"]
    assert heard == [1, 2]


@pytest.mark.parametrize("room", [0, 1, 40, 60])
def test_an_interrupt_in_the_middle_of_a_line_undoes_it(path: Path, disk: Disk, room: int) -> None:
    """Ctrl-C can come between any two steps of Python; a number must never be given twice."""
    disk.error = KeyboardInterrupt()
    with Journal(path) as journal:
        journal.append(note("one"))
        disk.room = room
        with pytest.raises(KeyboardInterrupt):
            journal.append(note("interrupted"))
        disk.room = None
        assert journal.append(note("two")) == 2
    assert messages(path) == ["one", "two"]


def test_an_interrupt_after_the_last_byte_undoes_the_line_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(path) as journal:
        journal.append(note("one"))
        real = held.pwrite

        def interrupted(fd: int, data: bytes, offset: int) -> int:
            real(fd, data, offset)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(held, "pwrite", interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.append(note("interrupted"))
        assert journal.append(note("two")) == 2
    assert messages(path) == ["one", "two"]


def test_an_interrupt_before_any_statement_leaves_a_journal(path: Path) -> None:
    """Ctrl-C before each line of `append` and what it calls, one after the other."""
    ours = journal_module.__file__
    hit: set[tuple[str, int]] = set()

    def tracer(frame: FrameType, what: str, _arg: object) -> Any:
        place = (frame.f_code.co_name, frame.f_lineno)
        if frame.f_code.co_filename != ours:
            return None
        if what == "line" and place not in hit:
            hit.add(place)
            raise KeyboardInterrupt
        return tracer

    before = sys.gettrace()
    with Journal(path) as journal:
        interrupted = True
        while interrupted:
            sys.settrace(tracer)
            try:
                journal.append(note("maybe"))
                interrupted = False
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(before)
            journal.append(note("surely"))
        whole = path.read_bytes()
    assert {name for name, _ in hit} >= {"append", "_write"}
    assert whole.endswith(b"\n")
    assert messages(path).count("surely") == len(hit) + 1
    with Journal(path) as again:
        assert again.torn_bytes == 0


def test_nothing_follows_a_half_line_that_could_not_be_undone(path: Path, disk: Disk) -> None:
    with Journal(path) as journal:
        journal.append(note("one"))
        disk.room, disk.truncates = 20, False
        with pytest.raises(JournalWriteError, match="No space left"):
            journal.append(note("half"))
        disk.room, disk.truncates = None, True
        with pytest.raises(JournalWriteError, match="could not be undone"):
            journal.append(note("after"))
    with Journal(path) as journal:
        assert journal.torn_bytes == 20
        assert journal.append(note("two")) == 2
    assert messages(path) == ["one", "two"]


# -- the disk's own pace ------------------------------------------------------------------------------


def test_sync_is_asked_for_now_and_then_on_demand_and_at_the_end(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: clock[0])
    journal = Journal(path)
    journal.append(note())
    journal.append(note())
    assert disk.syncs == 0
    journal.append(note(), sync=True)
    assert disk.syncs == 1
    clock[0] += journal_module.SYNC_EVERY + 0.01
    journal.append(note())
    journal.append(note())
    assert disk.syncs == 2
    journal.close()
    assert disk.syncs == 3


def test_a_disk_that_cannot_sync_stops_the_run(path: Path, disk: Disk) -> None:
    journal = Journal(path)
    disk.sync_error = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(JournalWriteError, match="Input/output error"):
        journal.append(note("a"), sync=True)
    with pytest.raises(JournalWriteError, match="Input/output error"):
        journal.close()
    disk.sync_error = None
    with Journal(path) as again:  # the lock was let go of all the same
        assert len(again.history) == 1


def test_closing_while_another_thread_syncs_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path)
    syncing, go_on = threading.Event(), threading.Event()
    real, failures = os.fsync, []

    def slow(fd: int) -> None:
        syncing.set()
        go_on.wait()
        real(fd)

    def append() -> None:
        try:
            journal.append(SegmentStarted(pid=1), sync=True)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    monkeypatch.setattr(os, "fsync", slow)
    writer = threading.Thread(target=append)
    writer.start()
    syncing.wait()
    closer = threading.Thread(target=journal.close)
    closer.start()
    go_on.set()
    writer.join()
    closer.join()
    assert failures == []
    assert len(list(read(path))) == 1
    journal._sync(1)  # a thread that comes to it after the close: everything is on the disk


def test_threads_that_wait_for_the_disk_share_one_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent to pay waits for the disk; sixteen of them must not wait sixteen times."""
    first_is_in, go_on = threading.Event(), threading.Event()
    syncs: list[int] = []

    def fsync(fd: int) -> None:
        syncs.append(fd)
        if len(syncs) == 1:
            first_is_in.set()
            go_on.wait()

    with Journal(tmp_path / "j") as journal:
        monkeypatch.setattr(os, "fsync", fsync)
        threads = [
            threading.Thread(
                target=journal.append, args=(Noted(code="x", message=str(n)),), kwargs={"sync": True}
            )
            for n in range(5)
        ]
        threads[0].start()
        first_is_in.wait()
        for thread in threads[1:]:
            thread.start()
        while len(list(read(tmp_path / "j"))) < 5:  # all written, four of them waiting for the disk
            threading.Event().wait(0.001)
        go_on.set()
        for thread in threads:
            thread.join()
        assert len(syncs) == 2
        monkeypatch.undo()
