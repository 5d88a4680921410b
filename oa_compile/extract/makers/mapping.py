"""Maker of examples for any signature, by JMESPath: what to look at, and where each field is.

The paths run over `extract.model_json`. The rule that nothing from after a decision is in an input holds here
too, for inputs and outputs look at different things:

| each | inputs see | outputs, `where` and `group` see also |
|---|---|---|
| `call`, `message` | `session`, `episode` and `trail` as they were known before | `call` or `message` |
| `verification` | the same, and `verification`: its command, kind and output | whether it `passed` |
| `event` | `session`, `trail` and `event`, all of it: one line, which tells its own inputs | |
| `episode` | `session`, and of the `episode` the task | the whole `episode` |
| `session` | `session` | its `totals` |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from oa_compile.extract.assemble import Closed
from oa_compile.extract.context import decision_of, line_of
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode
from oa_compile.extract.model_json import (
    check_json,
    episode_json,
    session_json,
    step_json,
    task_json,
    totals_json,
)
from oa_compile.extract.repairs import check_of
from oa_compile.extract.session import Message, RuntimeEvent, ToolCall, Verification
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

Value = dict[str, Any]


class MapTo:
    """One draft for each of what the spec names, where its paths find something."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        del wanted
        self._tally, self._each = tally, spec.each
        self._inputs = {name: jmespath.compile(path) for name, path in spec.inputs.items()}
        self._outputs = {name: jmespath.compile(path) for name, path in spec.outputs.items()}
        self._where = jmespath.compile(spec.where) if spec.where else None
        self._group = jmespath.compile(spec.group) if spec.group else None
        paths = " ".join((*spec.inputs.values(), *spec.outputs.values(), spec.where, spec.group))
        # Only what a path may reach is made: ``@`` and ``*`` reach everything.
        everything = "@" in paths or "*" in paths
        self._uses_trail = everything or "trail" in paths
        self._uses_episode = everything or "episode" in paths
        self._known: Value | None = None
        self._horizon = 0

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """Everything is whole when it comes."""
        found = self._views(scene, moment)
        if isinstance(moment, Message | ToolCall | Verification | RuntimeEvent):
            self._horizon = max(self._horizon, line_of(moment))
        elif isinstance(moment, Episode):
            self._known = None
        if found is not None and (draft := self._draft(scene, *found)) is not None:
            yield draft

    def _views(self, scene: Scene, moment: Moment) -> tuple[Value, Value, int, int] | None:
        """What inputs see, what outputs see, the line up to which inputs may know, and that of the proof;
        None for what is not meant.
        """
        each = self._each
        if each == "call" and isinstance(moment, ToolCall):
            line = decision_of(moment, scene.trail).line
            before = self._before(scene, line)
            return before, before | {"call": step_json(moment)}, line - 1, line_of(moment)
        if each == "message" and isinstance(moment, Message):
            before = self._before(scene, moment.line)
            return before, before | {"message": step_json(moment)}, moment.line - 1, moment.line
        if each == "verification" and isinstance(moment, ToolCall | Verification):
            check = check_of(moment)
            if check is None:
                return None
            before, line = self._before(scene, moment.line), line_of(moment)
            shown, judged = {"verification": check_json(check)}, {"verification": step_json(check)}
            return before | shown, before | judged, line, line
        if each == "event" and isinstance(moment, RuntimeEvent):
            seen = self._before(scene, moment.line) | {"event": step_json(moment)}
            return seen, seen, moment.line, moment.line
        session = {"session": session_json(scene.session)}
        if each == "episode" and isinstance(moment, Episode):
            begun, whole = {"episode": task_json(moment)}, {"episode": episode_json(moment)}
            return session | begun, session | whole, moment.opened, moment.closed or moment.opened
        if each == "session" and isinstance(moment, Closed):
            return session, session | {"totals": totals_json(scene.session)}, 0, 0
        return None

    def _before(self, scene: Scene, line: int) -> Value:
        """The scene as it was known before `line`."""
        before: Value = {"session": session_json(scene.session)}
        if self._uses_trail:
            before["trail"] = [step_json(step, before=line) for step in scene.trail if step.line < line]
        if self._uses_episode and scene.episode is not None:
            before["episode"] = self._episode(scene.episode, line)
        return before

    def _episode(self, episode: Episode, line: int) -> Value:
        if self._horizon < line:
            self._known = episode_json(episode)
        elif self._known is None or self._known["opened"] != episode.opened:
            # Results have come by now that had not come then: of those it is not known which changed what.
            return task_json(episode)
        return self._known

    def _draft(self, scene: Scene, seen: Value, whole: Value, known: int, line: int) -> Draft | None:
        try:
            if self._where is not None and not self._where.search(whole):
                return None
            inputs, outputs = _found(self._inputs, seen), _found(self._outputs, whole)
            group = self._group.search(whole) if self._group is not None else None
        except JMESPathError as error:
            self._tally.leave_out(f"path that does not fit its value ({type(error).__name__})", line)
            return None
        place = scene.session.place
        evidence = {"decided_at": str(place(known)), "mapped": self._each}
        return Draft(inputs, outputs, line, evidence, group="" if group is None else str(group))


def _found(paths: Mapping[str, ParsedResult], value: Value) -> Value:
    found = {name: path.search(value) for name, path in paths.items()}
    return {name: item for name, item in found.items() if item is not None}
