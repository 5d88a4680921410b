"""Files seen: what an agent had last seen of each file, by reading or by editing it.

Owns which calls show a file, and that a sight counts from the line where its result came. Contents stay the
log's bytes until somebody asks for them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

from oa_compile.extract.commands import edited_paths, read_path
from oa_compile.extract.context import line_of, plain
from oa_compile.extract.episodes import relative_path
from oa_compile.extract.session import ToolCall

MAX_FILES = 32
_SIGHTS = 2


class Sight(NamedTuple):
    """One look at the file `path` (relative to the repository), known from `line` on."""

    path: str
    line: int
    edited: bool
    call: ToolCall

    @property
    def text(self) -> str:
        """What was to be seen: the file as it was read, or what an edit put there."""
        if not self.edited:
            return plain(self.call.result.text) if self.call.result is not None else ""
        return new_text(self.call)


class FilesSeen:
    """The files of one thread, told of its calls in order; the one seen last is the last."""

    def __init__(self) -> None:
        self._sights: OrderedDict[str, deque[Sight]] = OrderedDict()

    def take(self, call: ToolCall, root: str) -> None:
        """Note what a call that worked showed; a file outside the repository is passed over."""
        if not call.worked:
            return
        read = read_path(call)
        paths = [read] if read is not None else edited_paths(call)
        for raw in paths:
            if (path := relative_path(raw, root)) is None:
                continue
            sights = self._sights.setdefault(path, deque(maxlen=_SIGHTS))
            sights.append(Sight(path, line_of(call), read is None, call))
            self._sights.move_to_end(path)
        while len(self._sights) > MAX_FILES:
            self._sights.popitem(last=False)

    def before(self, line: int, *, since: int = 0) -> Iterator[Sight]:
        """The last sight of each file that was known before `line` and began no earlier than `since`; the
        file seen last comes first.
        """
        for sights in reversed(self._sights.values()):
            known = (sight for sight in reversed(sights) if sight.line < line and sight.call.line >= since)
            if (sight := next(known, None)) is not None:
                yield sight


def new_text(call: ToolCall) -> str:
    """What an edit put into a file, as far as its arguments say."""
    arguments = call.arguments
    for name in ("new_string", "content", "new_source", "patch", "input"):
        if isinstance(text := arguments.get(name), str):
            return text
    edits = arguments.get("edits")
    texts = (
        (edit.get("new_string") for edit in edits if isinstance(edit, dict))
        if isinstance(edits, list)
        else ()
    )
    return "\n".join(text for text in texts if isinstance(text, str))
