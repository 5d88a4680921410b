"""What the commands share that run until they are told to stop: Ctrl-C, SIGTERM, or the end of a parent.

Owns the ways they end, and their exit codes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any

from oa_compile.cli.runs import leave_at_once
from oa_compile.errors import ExitCode

GRACE_SECONDS = 20.0
"""After the parent has ended; then this process ends whatever it is doing."""


def serve(work: Coroutine[Any, Any, None], *, with_parent: bool) -> int:
    """Run `work` until it ends or is told to; then it is cancelled, and cleans up. A second Ctrl-C ends the
    process at once. `with_parent` ends it when standard input is closed. Raises what `work` raises.
    """
    return asyncio.run(_serve(work, with_parent=with_parent))


async def _serve(work: Coroutine[Any, Any, None], *, with_parent: bool) -> int:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    code = ExitCode.OK

    def end(reason: ExitCode) -> None:
        nonlocal code
        if task.cancelling():
            leave_at_once(ExitCode.INTERRUPTED)
        code = reason
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, end, ExitCode.INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, end, ExitCode.OK)
    if with_parent:
        threading.Thread(target=_await_parent, args=(loop, task), name="parent", daemon=True).start()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return code


def _await_parent(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """Cancel `task` when nobody holds the other end of standard input any more."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(task.cancel)
    threading.Event().wait(GRACE_SECONDS)
    leave_at_once(ExitCode.OK)
