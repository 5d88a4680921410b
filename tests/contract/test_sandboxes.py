"""The contract of a sandbox, for each that is here: results, limits, files, and many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oa_compile.errors import ExitCode, SandboxError, UsageError
from oa_compile.sandbox import bubblewrap
from oa_compile.sandbox.bubblewrap import Bubblewrap
from oa_compile.sandbox.choose import limits_from, sandbox_from
from oa_compile.sandbox.record import sandbox_record
from oa_compile.sandbox.sandbox import Job, Limits, Sandbox, SandboxRun
from oa_compile.spec.sandbox import SandboxSpec
from tests.support.sandboxes import KINDS, sandbox


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest) -> Sandbox:
    return sandbox(request.param)


def python(box: Sandbox, code: str, *, files: dict[str, bytes] | None = None, **limits: float) -> SandboxRun:
    given = Limits(**limits)  # type: ignore[arg-type]
    return box.run(Job(("python", "-c", code), files=files or {}, limits=given))


def test_an_honest_job_has_its_files_its_input_and_its_say(box: Sandbox) -> None:
    code = "import sys; print(open('a/b.txt').read() + sys.stdin.read()); print('told', file=sys.stderr)"
    job = Job(("python", "-c", code), files={"a/b.txt": b"file "}, stdin=b"input")
    run = box.run(job)
    assert (run.status, run.exit_code, run.stdout, run.stderr) == ("success", 0, b"file input\n", b"told\n")
    assert run.ok
    assert not run.cut


@pytest.mark.parametrize(("code", "exit_code"), [("raise SystemExit(3)", 3), ("import os; os.abort()", 134)])
def test_a_job_that_fails_is_a_result(box: Sandbox, code: str, exit_code: int) -> None:
    run = python(box, code)
    assert (run.status, run.exit_code, run.exceeded) == ("failed", exit_code, "")


def test_a_command_that_is_not_there_fails(box: Sandbox) -> None:
    run = box.run(Job(("no-such-command",)))
    assert (run.status, run.exit_code) == ("failed", 127)


def test_input_that_nobody_reads_and_much_of_it(box: Sandbox) -> None:
    assert box.run(Job(("true",), stdin=b"x" * 3_000_000)).ok
    run = box.run(Job(("wc", "-c"), stdin=b"x" * 3_000_000))
    assert run.stdout.strip() == b"3000000"


def test_output_is_cut_where_it_is_not_kept(box: Sandbox) -> None:
    run = python(box, "print('x' * 3000)", output=1000)
    assert (run.ok, run.cut, len(run.stdout)) == (True, True, 1000)


def test_a_timeout_is_told_from_a_failure(box: Sandbox) -> None:
    run = python(box, "import time\nprint('begun', flush=True)\ntime.sleep(600)", seconds=1.5)
    assert (run.status, run.exceeded, run.exit_code) == ("timeout", "seconds", 137)
    assert run.stdout == b"begun\n"


def test_what_a_job_leaves_behind_is_gone(box: Sandbox) -> None:
    look = Job(("sh", "-c", "ls /tmp; ls"))
    before = box.run(look).stdout
    assert box.run(Job(("sh", "-c", "echo x > left; echo y > /tmp/left; ls left /tmp/left"))).ok
    assert box.run(look).stdout == before


def test_many_at_once_keep_apart(box: Sandbox) -> None:
    def one(number: int) -> bytes:
        return box.run(Job(("cat", "n"), files={"n": str(number).encode()})).stdout

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(40))) == [str(number).encode() for number in range(40)]


def test_no_descriptor_stays_open(box: Sandbox) -> None:
    box.run(Job(("true",), files={"a": b"x"}))
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(5):
        box.run(Job(("true",), files={"a": b"x"}, stdin=b"y"))
        python(box, "while True: print('x' * 1000)", output=1000)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "a\0b", "."])
def test_files_stay_in_the_folder(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be put"):
        Job(("true",), files={name: b""})


# -- what is not the job's fault --------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["bwrap", "prlimit", "setpriv"])
def test_without_bubblewrap_it_refuses_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    """Never the bare machine."""
    for name in bubblewrap.PROGRAMS:
        if name != missing:
            (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=f"`{missing}` is not here") as caught:
        sandbox_from(SandboxSpec())
    assert f"apt-get install {bubblewrap.PROGRAMS[missing]}" in caught.value.hint


def test_a_machine_that_does_not_allow_it_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sandbox("bubblewrap")
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "defpath", f"{tmp_path}:{os.defpath}")
    with pytest.raises(UsageError, match=r"does not allow a sandbox: .*No permissions") as caught:
        sandbox_from(SandboxSpec())
    assert "unprivileged_userns" in caught.value.hint


def test_a_sandbox_that_breaks_later_is_no_failed_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    box = sandbox("bubblewrap")
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    with pytest.raises(SandboxError, match="could not be started") as caught:
        box.run(Job(("true",)))
    assert caught.value.exit_code == ExitCode.LANE


def test_an_engine_that_is_not_here_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="`podman` is not here"):
        sandbox_from(SandboxSpec(kind="podman", image="python:3.11-slim"))


def test_an_engine_that_does_not_answer_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    engine.write_text("#!/bin/sh\necho 'Cannot connect to the daemon' >&2\nexit 1\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UsageError, match="does not answer: Cannot connect"):
        sandbox_from(SandboxSpec(kind="docker", image="x"))


@pytest.mark.crash
def test_a_job_does_not_outlive_the_process_that_began_it(tmp_path: Path) -> None:
    sandbox("bubblewrap")
    code = (
        "from oa_compile.sandbox.bubblewrap import Bubblewrap\n"
        "from oa_compile.sandbox.sandbox import Job, Limits\n"
        "box = Bubblewrap()\nprint('ready', flush=True)\n"
        "box.run(Job(('sleep', '987'), limits=Limits(seconds=900)))\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd())
    try:
        assert ours.stdout is not None
        assert ours.stdout.readline() == b"ready\n"
        child = next(pid for pid in iter(lambda: _sleeper(ours.pid), None) if pid)
        ours.send_signal(signal.SIGKILL)
        ours.wait()
        while Path(f"/proc/{child}").exists():
            os.sched_yield()
    finally:
        ours.kill()
        ours.wait()
        if ours.stdout:
            ours.stdout.close()


def _sleeper(pid: int) -> int:
    """The job's process under `pid`, 0 while there is none."""
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            if b"987" in Path(f"/proc/{current}/cmdline").read_bytes().split(b"\0")[:2]:
                return current
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return 0


def test_a_user_without_privileges_has_the_same_sandbox() -> None:
    """Root lays mounts and drops to a user of no one's; everybody else has a user namespace."""
    sandbox("bubblewrap")
    if os.geteuid():
        pytest.skip("this process is that user already")
    code = (
        "import os, sys\n"
        "from oa_compile.sandbox.bubblewrap import Bubblewrap\n"
        "from oa_compile.sandbox.sandbox import Job, Limits\n"
        "os.setgroups([])\nos.setgid(54321)\nos.setuid(54321)\n"
        "sys.prefix = sys.base_prefix = sys.exec_prefix = '/usr'  # ours may lie in root's home\n"
        "box = Bubblewrap()\n"
        "bomb = 'for i in $(seq 200); do sleep 3 & done'\n"
        "shell = ('echo x > /x', bomb)\n"
        "for argv in (('id', '-u'), ('unshare', '-U', 'true'), *(('sh', '-c', line) for line in shell)):\n"
        "    print(box.run(Job(argv, limits=Limits(seconds=5, processes=32))).exit_code)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd())
    assert said.stderr == ""
    codes = [int(line) for line in said.stdout.split()]
    assert codes[0] == 0
    assert all(codes[1:])


# -- settings and the record ------------------------------------------------------------------------


def test_a_configs_limits_are_bytes_here() -> None:
    spec = SandboxSpec(memory_mb=64, file_mb=2, disk_mb=3, output_kb=4, seconds=5, cpu_seconds=6, processes=7)
    assert limits_from(spec) == Limits(5, 6, 64 << 20, 7, 2 << 20, 3 << 20, 4 << 10)


def test_the_record_has_openagents_shape() -> None:
    box: Sandbox = sandbox("bubblewrap")
    assert isinstance(box, Bubblewrap)
    job = Job(("sh", "-c", "echo hello; exit 3"), files={"a.txt": b"x"})
    record = sandbox_record(job, box.run(job), provider="bubblewrap")
    run = record["response"]["runs"][0]
    assert record["job_type"] == "oa.sandbox_run.v1"
    assert record["payload"]["sandbox"]["network_policy"] == "none"
    assert record["payload"]["files"]["a.txt"].startswith("sha256:")
    assert (record["response"]["status"], run["exit_code"], run["stdout_preview"]) == ("failed", 3, "hello\n")
    assert run["stdout_sha256"] == "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    again = sandbox_record(job, box.run(job), provider="bubblewrap")
    assert again["job_hash"] == record["job_hash"]
