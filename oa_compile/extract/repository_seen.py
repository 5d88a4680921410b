"""The repository as a log showed it up to a line: its name, its folders, and what its own pages say of it.

Owns what counts as such a page (README, AGENTS, CLAUDE, ARCHITECTURE) and how much of one is kept.
"""

from __future__ import annotations

import re

from oa_compile.extract.commands import edited_paths, read_path
from oa_compile.extract.context import came_before, cut, plain
from oa_compile.extract.episodes import relative_path
from oa_compile.extract.session import Session, ToolCall

MAX_FOLDERS = 60
_PAGE = re.compile(r"(?:^|/)(?:README|AGENTS|CLAUDE|ARCHITECTURE|CONTRIBUTING)(?:\.\w+)?$", re.I)
_MAX_PAGES, _PAGE_CHARS = 4, 1_500


class RepositorySeen:
    """One thread's view, told of its calls in order."""

    def __init__(self) -> None:
        self._pages: dict[str, ToolCall] = {}
        self._folders: dict[str, int] = {}

    def take(self, call: ToolCall, session: Session) -> None:
        """Note which folders a call names, and the page it read."""
        if (raw := read_path(call)) is not None:
            path = relative_path(raw, session.root)
            if path is not None and call.worked and _PAGE.search(path) and len(self._pages) < _MAX_PAGES:
                self._pages.setdefault(path, call)
            self._note(path, call.line)
        elif isinstance(raw := call.arguments.get("path"), str):
            # Grep and its like name a folder, or a file.
            self._note(relative_path(raw, session.root), call.line)
        else:
            for raw in edited_paths(call):
                self._note(relative_path(raw, session.root), call.line)

    def before(self, line: int, session: Session) -> str:
        """What was known before `line`; empty when that is nothing."""
        parts = [f"Repository: {session.repository}"] if session.repository else []
        folders = sorted(folder for folder, seen in self._folders.items() if seen < line)
        if folders:
            parts.append("Folders seen: " + ", ".join(folders))
        for path, call in self._pages.items():
            if came_before(call, line) and call.result is not None:
                parts.append(f"{path}:\n{cut(plain(call.result.text).strip(), _PAGE_CHARS)}")
        return "\n\n".join(parts)

    def _note(self, path: str | None, line: int) -> None:
        if path is None or len(self._folders) >= MAX_FOLDERS:
            return
        parts = path.split("/")
        # Two levels say what a repository is made of: crates/wallet, packages/core. What has an ending
        # is a file.
        folders = parts[:-1] if "." in parts[-1] else parts
        if folders:
            self._folders.setdefault("/".join(folders[:2]) + "/", line)
