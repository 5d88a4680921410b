"""Example makers: a session's moments become drafts, one file a maker, behind one Protocol.

A new maker is one new module, its name in `spec.program.ExtractSpec`, and its line in `MAKERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from oa_compile.extract.drafts import Draft
from oa_compile.extract.makers import (
    build_analyzer,
    event,
    execution_strategy,
    mapping,
    planning,
    rlm,
    solution_verifier,
    test_analyzer,
    tool_selection,
)
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec


class Maker(Protocol):
    """Makes drafts of one thread of a session; a new one is made for each. It makes the fields that are
    wanted, and may make others that cost nothing.
    """

    def take(self, scene: Scene, moment: Moment) -> Iterable[Draft]:
        """The drafts that this moment completes. Nothing from after a decision is in its inputs; what
        could have been an example and is none goes to the tally.
        """


MAKERS: dict[str, Callable[[ExtractSpec, Tally, Wanted], Maker]] = {
    "tool_selection": tool_selection.ToolSelection,
    "execution_strategy": execution_strategy.ExecutionStrategy,
    "planning": planning.Planning,
    "test_analyzer": test_analyzer.TestAnalyzer,
    "build_analyzer": build_analyzer.BuildAnalyzer,
    "solution_verifier": solution_verifier.SolutionVerifier,
    "rlm": rlm.Rlm,
    "event": event.Event,
    "mapping": mapping.MapTo,
}
