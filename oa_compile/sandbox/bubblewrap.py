"""The sandbox of namespaces: bubblewrap (``bwrap``), with prlimit and a seccomp filter.

What a job sees: /usr and the Python that runs us, read-only; a folder of its own, and /tmp, in memory.
Its own process, network, IPC, host-name and cgroup namespaces. No capability, no way to new ones.

Started by root, bubblewrap lays the mounts and the job goes on as a user that owns nothing, a new one each
time: a process of root's would be exempt from the limit on processes. Started by anybody else, the job
lives in a user namespace that cannot make further ones.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from oa_compile.errors import SandboxError, UsageError
from oa_compile.sandbox.process import Watched, watch
from oa_compile.sandbox.sandbox import WORK, Job, Limits, RunStatus, SandboxRun
from oa_compile.sandbox.seccomp import filter_bytes

PROGRAMS = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}
"""What it takes, and the Debian package of each."""

FIRST_USER = 1_900_000_000
"""Users that own nothing on any machine, one a job: none can signal another's or use up its limits."""

USERS = 100_000_000

_users = itertools.count(os.getpid() * 1_000)


class Bubblewrap:
    """Fulfils Sandbox."""

    name = "bubblewrap"

    def __init__(self) -> None:
        """Raises UsageError, with the command that helps, when the machine cannot do it."""
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
            raise UsageError(
                f"model-written code runs in a sandbox only, and `{missing[0]}` is not here",
                hint=f"apt-get install {packages}, or name a container engine in [sandbox]",
            )
        self._as_root = os.geteuid() == 0
        self._system = tuple(_system_mounts())
        self._python = tuple(_python_mounts())
        self._filter = filter_bytes()
        self._probe()

    def _probe(self) -> None:
        try:
            probed = self.run(Job(("true",), limits=Limits(seconds=20)))
        except SandboxError as error:
            raise UsageError(
                f"this machine does not allow a sandbox: {error.message}",
                hint="allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
                "kernel.apparmor_restrict_unprivileged_userns=0), or name a container engine in [sandbox]",
            ) from error
        if not probed.ok:
            said = probed.stderr.decode(errors="replace").strip()
            raise UsageError(f"the sandbox cannot run `true`: {said}", hint="see docs/sandbox.md")

    def run(self, job: Job) -> SandboxRun:
        fds: list[int] = []
        status_read, status_write = os.pipe()
        try:
            fds.append(status_write)
            argv = [
                *("bwrap", "--json-status-fd", str(status_write)),
                *self._walls(job.limits, fds),
                *_folder(job, fds),
                *self._python,  # after /tmp, where it may lie
                *("--remount-ro", "/", "--", *self._command(job)),
            ]
            watched = watch(
                argv, limits=job.limits, stdin=job.stdin, pass_fds=tuple(fds), status_fd=status_read
            )
        except OSError as error:
            raise SandboxError(f"the sandbox could not be started: {error}") from error
        finally:
            os.close(status_read)
        return self._result(job, watched)

    def _walls(self, limits: Limits, fds: list[int]) -> Iterator[str]:
        yield from (
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
        )
        if not self._as_root:
            yield from ("--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534")
        yield from ("--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv")
        for name, value in _ENVIRONMENT.items():
            yield from ("--setenv", name, value)
        if self._filter:
            fds.append(_memory_file(self._filter))
            yield from ("--seccomp", str(fds[-1]))
        if self._as_root:
            yield from ("--cap-drop", "ALL")
            yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
        yield from self._system
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from ("--perms", "1777", "--size", str(limits.disk), "--tmpfs", "/dev/shm")
        yield from ("--remount-ro", "/dev")
        yield from ("--perms", "1777", "--size", str(limits.disk), "--tmpfs", "/tmp")

    def _command(self, job: Job) -> Iterator[str]:
        """The job behind what lowers its user and its limits: it cannot raise either again."""
        if self._as_root:
            user = str(FIRST_USER + next(_users) % USERS)
            yield from ("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs")
            yield from ("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--")
        limits = job.limits
        yield from (
            "prlimit",
            f"--nproc={limits.processes}",
            f"--cpu={limits.cpu_seconds}:{limits.cpu_seconds + 1}",
        )
        # Data is what is really written to; addresses are also reserved, and reserved amply.
        yield from (f"--data={limits.memory}", f"--as={4 * limits.memory}", f"--fsize={limits.file}")
        yield from ("--core=0", "--nofile=1024", "--memlock=0", "--msgqueue=0", "--", *job.argv)

    @staticmethod
    def _result(job: Job, watched: Watched) -> SandboxRun:
        ended = _exit_code(watched.status_line)
        if ended is None and not watched.exceeded:
            said = watched.stderr.decode(errors="replace").strip()[-300:]
            raise SandboxError(f"bubblewrap ended with {watched.returncode}: {said or 'it said nothing'}")
        code = 128 + 9 if ended is None else ended
        status: RunStatus = "success" if code == 0 else "failed"
        if watched.exceeded:
            status = "timeout" if watched.exceeded == "seconds" else "failed"
        return SandboxRun(
            argv=job.argv,
            status=status,
            exit_code=code if not watched.exceeded or code else 128 + 9,
            seconds=watched.seconds,
            stdout=watched.stdout,
            stderr=watched.stderr,
            exceeded=watched.exceeded,
            cut=watched.cut,
        )


_ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
    "HOME": str(WORK),
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def _exit_code(status: bytes) -> int | None:
    """What bubblewrap says the job ended with; None when the job never ran, or never ended."""
    for line in status.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if "exit-code" in told:
            return int(told["exit-code"])
    return None


def _folder(job: Job, fds: list[int]) -> Iterator[str]:
    """The job's folder with its files, which are copied from memory: nothing of ours is mounted to write."""
    yield from ("--perms", "0777", "--size", str(job.limits.disk), "--tmpfs", str(WORK))
    made: set[PurePosixPath] = set()
    for name, data in job.files.items():
        path = WORK / name
        for parent in reversed([p for p in path.parents if WORK in p.parents and p not in made]):
            made.add(parent)
            yield from ("--perms", "0777", "--dir", str(parent))
        fds.append(_memory_file(data))
        yield from ("--perms", "0666", "--file", str(fds[-1]), str(path))
    yield from ("--chdir", str(WORK))


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _system_mounts() -> Iterator[str]:
    """/usr, what points into it, and the few files of /etc that programs start with."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))  # noqa: PTH115 - the text of the link
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in ("ld.so.cache", "alternatives", "localtime"):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _python_mounts() -> Iterator[str]:
    """The Python that runs us, with its libraries, where it is: and nothing that lies around it."""
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    made: set[Path] = set()
    for prefix in sorted(prefixes):
        if prefix.is_relative_to("/usr"):
            continue
        for parent in reversed(prefix.parents[:-1]):
            if parent not in made:
                made.add(parent)
                yield from ("--perms", "0755", "--dir", str(parent))
        yield from ("--ro-bind", str(prefix), str(prefix))
