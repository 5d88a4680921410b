"""The recorder: writes what the agent said and did as autopilot JSONL (F2).

Times and token counts are left out, because nothing measured them; ids are derived from the session's
name, so that recording again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.sessions.workshop import Output

AGENT = "scripted-agent"
ABOUT = (
    "The agent was scripted, not a model: it really listed, read, searched, edited and ran the files of "
    "small generated projects until their tests passed, and its sentences come from templates filled "
    "with what it saw. Paths, durations and addresses are rewritten; times and tokens are not recorded. "
    "Regenerate with `python -m tools.sessions`."
)


class Recorder:
    """Collects the lines of one session."""

    def __init__(self, session: str, *, cwd: str) -> None:
        self._session = session
        self._messages = 0
        self._calls = 0
        self._lines: list[dict[str, Any]] = []
        self._add(
            "system",
            {
                "subtype": "init",
                "session_id": session,
                "cwd": cwd,
                "model": AGENT,
                "about": ABOUT,
                "tools": ["Bash", "Edit", "Glob", "Grep", "Read", "Write"],
            },
        )

    def step(self, thought: str, *, tool: str, arguments: Mapping[str, Any], output: Output) -> None:
        """One thought (may be empty), its tool call, and what came back."""
        self._messages += 1
        self._calls += 1
        call = self._id("toolu", self._calls)
        if thought:
            self._assistant({"type": "text", "text": thought})
        self._assistant({"type": "tool_use", "id": call, "name": tool, "input": dict(arguments)})
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": call, "content": output.text}
        if tool == "Bash" or output.is_error:
            result["is_error"] = output.is_error
        self._add("user", {"role": "user", "content": [result]})

    def finish(self, text: str) -> None:
        """The closing words and the result line."""
        self._messages += 1
        self._assistant({"type": "text", "text": text})
        self._add(
            "result",
            {
                "subtype": "success",
                "is_error": False,
                "num_turns": self._messages,
                "total_cost_usd": 0,
                "session_id": self._session,
            },
        )

    def save(self, folder: Path) -> int:
        """Write ``<session>.jsonl``; returns its bytes."""
        lines = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in self._lines)
        return (folder / f"{self._session}.jsonl").write_bytes(
            "".join(f"{line}\n" for line in lines).encode()
        )

    def _assistant(self, block: Mapping[str, Any]) -> None:
        message = {
            "id": self._id("msg", self._messages),
            "type": "message",
            "role": "assistant",
            "model": AGENT,
            "content": [dict(block)],
        }
        self._add("assistant", message)

    def _add(self, kind: str, message: dict[str, Any]) -> None:
        self._lines.append({"type": kind, "message": message})

    def _id(self, prefix: str, number: int) -> str:
        digest = hashlib.sha256(f"{self._session}:{prefix}:{number}".encode()).hexdigest()
        return f"{prefix}_{digest[:16]}"
