"""What tests of a swarm of this machine share: a plan that loads no model, and the ends of processes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oa_compile.swarm.local_swarm import LocalSwarm, Plan

LANE = """\
[lanes.quick]
kind = "litellm"
model = "openai/nobody"
api_base = "http://127.0.0.1:9"
price = { input = 0, output = 0 }
[stages.compile]
task = "quick"
"""
"""Nothing is loaded before the first job, and no test here sends one."""


def light_plan(root: Path, *, folder: Path | None, **fields: Any) -> Plan:
    """A plan whose providers start at once."""
    config = root / "quick.toml"
    config.write_text(LANE, encoding="utf-8")
    return Plan(folder, lane=f"{config}:quick", **({"providers": 1} | fields))


def pids_of(swarm: LocalSwarm) -> list[int]:
    """The supervisor's process, then its providers'."""
    return [swarm.ready.pid, *(provider.pid for provider in swarm.providers)]


class Watched:
    """Processes, ours or not, whose ends are waited for. Opened while they run."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._fds = [os.pidfd_open(pid) for pid in pids]

    def ended(self, *, seconds: float = 30.0) -> bool:
        """Whether all of them end within `seconds`."""
        try:
            return all(select.select([fd], [], [], seconds)[0] for fd in self._fds)
        finally:
            for fd in self._fds:
                os.close(fd)
