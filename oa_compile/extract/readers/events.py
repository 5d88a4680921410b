"""Reader of the seed's event JSONL: ``{event_type, success, context{}, output{}}`` a line.

The runtime logs decisions (PlanningComplete and its siblings), not messages, so a log is one session
of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oa_compile.extract.lines import Line, objects
from oa_compile.extract.records import Record
from oa_compile.extract.session import RuntimeEvent
from oa_compile.extract.tally import Tally

FORMAT = "events"


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """An event names its type and has a context."""
    return isinstance(body.get("event_type"), str) and isinstance(body.get("context"), dict)


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """Every well-formed event."""
    for line, body in objects(lines, tally=tally):
        if not sniff(body, b""):
            tally.leave_out("unknown line type", line)
        elif not isinstance(body.get("success"), bool) or not isinstance(body.get("output"), dict):
            tally.leave_out("event without success or output", line)
        else:
            yield RuntimeEvent(body["event_type"], body["success"], body["context"], body["output"], line)
