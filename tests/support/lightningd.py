"""A real lightningd for tests: one that somebody runs already, or two started for the session."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.swarm_process import short_folder

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".interop" / "lightningd" / "bin" / "python"
"""Has pyln-testing, in an environment of its own: it brings another coincurve than ours."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The sockets of two nodes: `payer` is funded and has a channel to `payee`."""

    payer: Path
    payee: Path


@contextlib.contextmanager
def lightning_nodes() -> Iterator[Nodes]:
    """Two nodes while the block runs: those that OACOMPILE_TEST_LIGHTNING_RPC and …_PAYEE_RPC name; else two
    on a bitcoind of their own, where bitcoind, lightningd and pyln-testing are there. Skips with what is
    missing. The starting of two was written against the source of pyln-testing 26.6.9, and not run yet.
    """
    payer, payee = (os.environ.get(f"OACOMPILE_TEST_LIGHTNING_{name}") for name in ("RPC", "PAYEE_RPC"))
    if payer and payee:
        yield Nodes(Path(payer), Path(payee))
        return
    missing = [f"{name} on PATH" for name in ("bitcoind", "lightningd") if shutil.which(name) is None]
    if not PYTHON.exists():
        missing.append("pyln-testing (`make interop` installs it where the others are)")
    if missing:
        pytest.skip(
            f"no lightningd: there is no {', no '.join(missing)}; or OACOMPILE_TEST_LIGHTNING_RPC names the "
            "socket of a funded regtest node, OACOMPILE_TEST_LIGHTNING_PAYEE_RPC of one it has a channel to"
        )
    with short_folder() as folder, _started(folder) as nodes:
        yield nodes


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[Nodes]:
    log = folder / "nodes.log"
    with log.open("w") as logged:
        process = subprocess.Popen(
            [PYTHON, ROOT / "tests" / "interop" / "lightning_nodes.py", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=logged,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, f"the nodes did not start:\n{log.read_text(errors='replace')[-4000:]}"
        sockets = json.loads(told)
        yield Nodes(Path(sockets["payer"]), Path(sockets["payee"]))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the daemons too: they are of its group
        process.communicate()
