"""The sandbox of a container engine: docker or podman, by its command line.

For machines without bubblewrap, and for code that needs an image of its own. Starting a container takes a few
hundred milliseconds.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from oa_compile.errors import SandboxError, UsageError
from oa_compile.sandbox.process import watch
from oa_compile.sandbox.sandbox import WORK, Job, Limits, RunStatus, SandboxRun

ENGINE_FAULT = 125
"""The engine's own exit code when it could not start a container."""

_GRACE = 20.0
"""Seconds an engine may take beside the job."""


class Container:
    """Fulfils Sandbox."""

    def __init__(self, engine: str, image: str) -> None:
        """Raises UsageError when the engine is not here, does not answer, or lacks the image."""
        self.name = engine
        self.image = image
        if shutil.which(engine) is None:
            raise UsageError(f"`{engine}` is not here", hint='install it, or set sandbox.kind = "bubblewrap"')
        for argv, what in (
            ([engine, "info"], "does not answer"),
            ([engine, "image", "inspect", image], f"has no image {image}"),
        ):
            try:
                found = subprocess.run(argv, capture_output=True, timeout=_GRACE, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise UsageError(f"`{engine}` {what}: {error}", hint="start it and try again") from error
            if found.returncode:
                said = found.stderr.decode(errors="replace").strip().splitlines()[-1:]
                raise UsageError(
                    f"`{engine}` {what}: {' '.join(said)}", hint=f"start it, or `{engine} pull {image}`"
                )

    def run(self, job: Job) -> SandboxRun:
        name = f"oacompile-{uuid.uuid4().hex}"
        with tempfile.TemporaryDirectory(prefix="oacompile-") as folder:
            given = Path(folder, "in")
            given.mkdir()
            for path, data in job.files.items():
                target = given / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            Path(folder).chmod(0o755)
            try:
                watched = watch(
                    self._argv(name, job, given), limits=job.limits, stdin=job.stdin, polls_family=False
                )
            except OSError as error:
                raise SandboxError(f"`{self.name}` could not be started: {error}") from error
            finally:
                subprocess.run(
                    [self.name, "rm", "-f", name], capture_output=True, timeout=_GRACE, check=False
                )
        if watched.returncode == ENGINE_FAULT and not watched.exceeded:
            said = watched.stderr.decode(errors="replace").strip()[-300:]
            raise SandboxError(f"`{self.name}` could not run a container: {said}")
        code = watched.returncode if watched.returncode >= 0 else 128 - watched.returncode
        status: RunStatus = "success" if code == 0 else "failed"
        if watched.exceeded:
            status = "timeout" if watched.exceeded == "seconds" else "failed"
        return SandboxRun(
            job.argv,
            status,
            code,
            watched.seconds,
            watched.stdout,
            watched.stderr,
            watched.exceeded,
            watched.cut,
        )

    def _argv(self, name: str, job: Job, given: Path) -> list[str]:
        limits: Limits = job.limits
        return [
            *(self.name, "run", "--rm", "--interactive", "--name", name, "--pull", "never"),
            *("--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534:65534"),
            *("--security-opt", "no-new-privileges", "--ipc", "none", "--hostname", "sandbox"),
            *("--pids-limit", str(limits.processes), "--memory", str(limits.memory)),
            *("--memory-swap", str(limits.memory), "--ulimit", f"cpu={limits.cpu_seconds}"),
            *("--ulimit", f"fsize={limits.file}", "--ulimit", "core=0", "--ulimit", "nofile=1024"),
            *("--tmpfs", f"/tmp:rw,nosuid,nodev,mode=1777,size={limits.disk}"),
            *("--tmpfs", f"{WORK}:rw,nosuid,nodev,exec,mode=0777,size={limits.disk}"),
            *("--volume", f"{given}:/in:ro", "--workdir", str(WORK), "--env", f"HOME={WORK}"),
            *("--entrypoint", "/bin/sh", self.image),
            *("-c", 'cp -r /in/. . && exec "$@"', "job", *job.argv),
        ]
