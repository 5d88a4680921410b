"""Maker of examples for RLM's signatures, where a log carries them.

Two kinds of log do. A runtime that logs its RLM steps as events (`event_type` names router, extractor,
simple_extractor, reducer, verifier, or rlm_trigger) tells their fields itself; `event_type` in the spec
chooses one. And an agent that searched, read a few lines of what was found and edited just those has shown
what a Router is for:

- `query` is what it said it was looking for, else its task; `document_preview` what the search gave;
- `candidate_spans` are the lines it read and then used, as JSON texts ``{path, start_line, end_line, why}``;
  `spans` the same as ``path:start-end``. What was read and not used is no label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oa_compile.extract.assemble import Closed
from oa_compile.extract.commands import edited_paths, read_path
from oa_compile.extract.context import as_json, came_before, cut, decision_of, plain, task_text
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode, relative_path
from oa_compile.extract.session import RuntimeEvent, ToolCall
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

CONFIDENCE = 0.8
"""What was edited was surely wanted; that nothing else was, is likely."""

_STEP = re.compile(
    r"(?i)(?:^|[^a-z])(?:rlm[._-]?)?(router|simple_?extractor|extractor|reducer|verifier|rlm_trigger)$"
)
_NUMBERED = re.compile(r"^\s*(\d{1,7})[→\t|:]", re.M)
_NOTHING = re.compile(r"No (?:matches|files) found|Found 0 ")
_QUERY_CHARS, _PREVIEW_CHARS, _WHY_CHARS = 1_000, 4_000, 300
_MAX_SPANS = 16


class Span(NamedTuple):
    """Lines of a file that were read."""

    path: str
    start: int
    end: int
    why: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.start}-{self.end}"


@dataclass(slots=True)
class _Search:
    """A search, the lines read of what it found, and those of them that an edit used."""

    call: ToolCall
    query: str
    preview: str
    read: list[Span] = field(default_factory=list)
    used: dict[Span, int] = field(default_factory=dict)


class Rlm:
    """A draft for each RLM step that a log tells, and for each search whose finds were used."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        self._tally = tally
        self._type = spec.event_type.lower()
        routes = any(name in wanted for name in ("candidate_spans", "spans"))
        self._searches = routes and self._type in {"", "router"}
        self._search: _Search | None = None

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A search is judged when the next one begins, or its episode ends."""
        if isinstance(moment, RuntimeEvent):
            yield from self._event(moment)
        elif self._searches and isinstance(moment, Episode | Closed):
            yield from self._close(scene)
        elif self._searches and isinstance(moment, ToolCall) and moment.worked:
            if moment.name == "Grep":
                yield from self._close(scene)
                self._open(scene, moment)
            elif self._search is not None:
                self._follow(scene, moment, self._search)

    def _event(self, event: RuntimeEvent) -> Iterator[Draft]:
        step = _STEP.search(event.event_type)
        if step is None or (self._type and self._type not in {step[1].lower(), event.event_type.lower()}):
            self._tally.leave_out("event of another type", event.line)
        elif not event.success:
            self._tally.leave_out("event of a failure", event.line)
        else:
            evidence = {"event_type": event.event_type, "step": step[1].lower()}
            yield Draft(dict(event.context), dict(event.output), event.line, evidence)

    def _open(self, scene: Scene, call: ToolCall) -> None:
        said, episode = decision_of(call, scene.trail), scene.episode
        task = episode.issue if episode is not None else None
        query = said.words or (task_text(task) if task is not None and task.line < said.line else "")
        preview = plain(call.result.text).strip() if call.result is not None else ""
        if query and preview and not _NOTHING.match(preview):
            # A search in one file does not repeat its name.
            where = call.arguments.get("path")
            name = relative_path(where, scene.session.root) if isinstance(where, str) else None
            preview = f"{name}:\n{preview}" if name not in {None, "."} else preview
            self._search = _Search(call, cut(query, _QUERY_CHARS), cut(preview, _PREVIEW_CHARS))

    def _follow(self, scene: Scene, call: ToolCall, search: _Search) -> None:
        root = scene.session.root
        if (raw := read_path(call)) is not None:
            decision = decision_of(call, scene.trail)
            path = relative_path(raw, root)
            if path is None or not came_before(search.call, decision.line) or not _found(path, raw, search):
                return
            if (span := _span(path, call, cut(decision.words, _WHY_CHARS))) is not None:
                search.read = [*search.read, span][-_MAX_SPANS:]
            return
        old = call.arguments.get("old_string")
        for raw in edited_paths(call) if isinstance(old, str) and old.strip() else ():
            path = relative_path(raw, root)
            for span in search.read:
                if span.path == path and str(old).strip() in span.text:
                    search.used.setdefault(span, call.line)

    def _close(self, scene: Scene) -> Iterator[Draft]:
        search, self._search = self._search, None
        if search is None or not search.used or search.call.result is None:
            return
        place, spans = scene.session.place, list(search.used)
        texts = [
            as_json({"path": one.path, "start_line": one.start, "end_line": one.end, "why": one.why})
            for one in spans
        ]
        outputs: dict[str, Any] = {
            "candidate_spans": texts,
            "spans": [str(span) for span in spans],
            "confidence": CONFIDENCE,
        }
        yield Draft(
            {"query": search.query, "document_preview": search.preview},
            outputs,
            max(search.used.values()),
            {
                "searched_at": str(place(search.call.line)),
                "decided_at": str(place(search.call.result.line)),
                "used_at": sorted(search.used.values()),
                "step": "router",
            },
            CONFIDENCE,
        )


def _found(path: str, raw: str, search: _Search) -> bool:
    """Whether the search led to a file: it was named in what the search gave, or was what was searched."""
    return path in search.preview or search.call.arguments.get("path") == raw


def _span(path: str, call: ToolCall, why: str) -> Span | None:
    """The lines a call read, if it read a part of a file and shows their numbers."""
    arguments, result = call.arguments, call.result
    if (
        result is None
        or not isinstance(arguments.get("offset"), int)
        or not isinstance(arguments.get("limit"), int)
    ):
        return None
    numbers = [int(number) for number in _NUMBERED.findall(result.text)]
    text = _NUMBERED.sub("", result.text)
    return Span(path, numbers[0], numbers[-1], why, text) if numbers else None
