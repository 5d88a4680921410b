"""Maker of examples from runtime events: context becomes inputs, output becomes expected outputs.

``PlanningComplete`` and its siblings share one shape, so one rule serves all: an output ``x`` is the
draft's ``expected_x``, and a context field keeps its name, but for the two the original plan renames.
"""

from __future__ import annotations

from collections.abc import Iterator

from oa_compile.extract.drafts import Draft
from oa_compile.extract.session import Session
from oa_compile.extract.tally import Tally
from oa_compile.spec.program import ExtractSpec

RENAMED = {"repo_summary": "repository_summary", "issue": "issue_description"}


def make(session: Session, *, spec: ExtractSpec, tally: Tally) -> Iterator[Draft]:
    """One draft for each successful event of the type the spec asks for (any type when it names none)."""
    for event in session.events:
        tally.count("events")
        if spec.event_type and event.event_type != spec.event_type:
            tally.leave_out("event of another type", event.place)
        elif not event.success:
            tally.leave_out("event of a failure", event.place)
        else:
            yield Draft(
                inputs={RENAMED.get(name, name): value for name, value in event.context.items()},
                outputs={f"expected_{name}": value for name, value in event.output.items()},
                place=event.place,
                evidence={"event_type": event.event_type},
            )
