"""Example makers: sessions become drafts, one file a maker, behind one Protocol.

A new maker is one new module, its name in `spec.program.ExtractSpec`, and its line in `MAKERS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from oa_compile.extract.drafts import Draft
from oa_compile.extract.makers import event, planning, tool_selection
from oa_compile.extract.session import Session
from oa_compile.extract.tally import Tally
from oa_compile.spec.program import ExtractSpec


class Maker(Protocol):
    """Makes drafts of one session."""

    def __call__(self, session: Session, *, spec: ExtractSpec, tally: Tally) -> Iterator[Draft]:
        """The drafts of `session`, in its order. Nothing from after a decision is in its inputs;
        what could have been an example and is none goes to the tally.
        """


MAKERS: dict[str, Maker] = {
    "tool_selection": tool_selection.make,
    "planning": planning.make,
    "event": event.make,
}
