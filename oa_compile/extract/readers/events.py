"""Reader of the seed's event JSONL: ``{event_type, success, context{}, output{}}`` a line.

The runtime logs decisions (PlanningComplete and its siblings), not messages, so a log is one session
of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oa_compile.extract.lines import LogLine
from oa_compile.extract.session import RuntimeEvent, Session
from oa_compile.extract.tally import Tally

FORMAT = "events"


def sniff(body: Mapping[str, Any]) -> bool:
    """An event names its type and has a context."""
    return isinstance(body.get("event_type"), str) and isinstance(body.get("context"), dict)


def read(lines: Iterable[LogLine], *, tally: Tally) -> Iterator[Session]:
    """One session with every well-formed event."""
    found: list[RuntimeEvent] = []
    for line in lines:
        body = line.body
        if not sniff(body):
            tally.leave_out("unknown line type", line.place)
        elif not isinstance(body.get("success"), bool) or not isinstance(body.get("output"), dict):
            tally.leave_out("event without success or output", line.place)
        else:
            found.append(
                RuntimeEvent(body["event_type"], body["success"], body["context"], body["output"], line.place)
            )
    if found:
        file = found[0].place.file
        yield Session(id=file, format=FORMAT, file=file, events=tuple(found))
