"""A disk that will not take more: what must be kept is an error to resume from, what need not is let go."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from oa_compile import held
from oa_compile.artifact.manifest import write_whole
from oa_compile.errors import ExitCode, StorageError
from oa_compile.journal import JournalWriteError
from oa_compile.optimize.apart import run_apart


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "file", b"first")
    write_whole(tmp_path / "new" / "file", b"second")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new" / "file").read_bytes() == b"second"


def test_a_disk_that_refuses_is_told_with_the_way_on(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"not a folder")
    with pytest.raises(StorageError, match="cannot write it") as failure:
        write_whole(tmp_path / "taken" / "file", b"data")
    assert "--resume" in failure.value.hint


def test_a_full_disk_is_no_bug_and_can_be_tried_again() -> None:
    assert JournalWriteError("full").exit_code == StorageError("full").exit_code == ExitCode.LANE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_search_does_not_end_because_its_prints_found_no_room() -> None:
    def search() -> int:
        for _ in range(1000):
            sys.stdout.write("x" * 1000 + "\n")
        return 7

    assert run_apart(search, log=Path("/dev/full"), on_interrupt=lambda: None) == 7


def test_writing_with_the_lock_held_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb+") as file:
        assert held.pwrite(file.fileno(), b"one\x00two", 0) == 7
        assert held.pwrite(file.fileno(), b"THREE", 7) == 5
    assert path.read_bytes() == b"one\x00twoTHREE"


def test_an_error_of_it_is_the_system_s_own(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor") as failure:
        held.pwrite(file.fileno(), b"x", 0)
    assert failure.value.errno == errno.EBADF
