"""Programs that are not ours, while a test runs: started, listened to, ended with all they started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".interop"
"""Where .ci/interop installs."""

_KEPT = 200
"""Lines kept of what a program said, to be shown when it fails."""


class Ended(AssertionError):
    """The program ended before it said what it was expected to say."""


@dataclass(eq=False, slots=True)
class Program:
    """A running program, and what it says on stdout and stderr together."""

    name: str
    process: asyncio.subprocess.Process
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _unread: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)

    async def line(self, pattern: str) -> re.Match[str]:
        """The next line that has `pattern` in it; those before it are passed over. Raises Ended."""
        while (line := await self._unread.get()) is not None:
            if found := re.search(pattern, line):
                return found
        told = "\n".join(self.said)
        raise Ended(f"{self.name} ended without saying {pattern!r}. It said:\n{told}")

    async def tell(self, text: str) -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def listen(self) -> None:
        """Read to the end of what it says."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.said.append(line)
            self._unread.put_nowait(line)
        self._unread.put_nowait(None)


@contextlib.asynccontextmanager
async def program(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """A program while the block runs. It gets nothing of our environment but the way to find programs."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(cwd), **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=1 << 20,  # a line may be an event
    )
    running = Program(Path(command[0]).name, process)
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await listening
        # its end of the pipe is gone, ours is let go of here
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await process.stdin.wait_closed()
