"""Maker of examples from runtime events: context becomes inputs, output becomes expected outputs.

``PlanningComplete`` and its siblings share one shape, so one rule serves all: an output ``x`` is the
draft's ``expected_x``, and a context field keeps its name, but for the two the original plan renames.
"""

from __future__ import annotations

from collections.abc import Iterator

from oa_compile.extract.drafts import Draft
from oa_compile.extract.session import RuntimeEvent
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

RENAMED = {"repo_summary": "repository_summary", "issue": "issue_description"}


class Event:
    """One draft for each successful event of the type the spec asks for (any type when it names none)."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        del wanted  # an event has its fields already
        self._type = spec.event_type
        self._tally = tally

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """An event is whole in itself."""
        del scene
        if not isinstance(moment, RuntimeEvent):
            return
        self._tally.count("events")
        if self._type and moment.event_type != self._type:
            self._tally.leave_out("event of another type", moment.line)
        elif not moment.success:
            self._tally.leave_out("event of a failure", moment.line)
        else:
            yield Draft(
                inputs={RENAMED.get(name, name): value for name, value in moment.context.items()},
                outputs={f"expected_{name}": value for name, value in moment.output.items()},
                line=moment.line,
                evidence={"event_type": moment.event_type},
            )
