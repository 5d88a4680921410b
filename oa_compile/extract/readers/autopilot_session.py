"""Reader of AutopilotSession records: one object a session, with its task, the decisions it made, its
verifications and its outcome.

A decision says whether it was right only once the outcome is known; one that nobody judged teaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from oa_compile.extract.fields import amount, count, listed, mapping, text, truth
from oa_compile.extract.lines import Line, objects
from oa_compile.extract.records import Finished, Opened, Record, Tasked
from oa_compile.extract.session import Issue, Outcome, RuntimeEvent, Verification
from oa_compile.extract.tally import Tally

FORMAT = "autopilot-session"

_CHECKS: tuple[tuple[str, str, Literal["build", "test"]], ...] = (
    ("cargo_check", "cargo check", "build"),
    ("cargo_test", "cargo test", "test"),
)
_SUCCESS: Mapping[str, bool | None] = {
    "Success": True,
    "Failed": False,
    "MaxIterationsReached": False,
    "UserInterrupted": None,
    "Error": None,
}
"""What an outcome says of the work; neither an interruption nor a fault of the system says anything."""


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """A task's title beside a list of decisions."""
    return isinstance(body.get("task_title"), str) and isinstance(body.get("decisions"), list)


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each record says."""
    for number, body in objects(lines, tally=tally):
        if sniff(body, b""):
            yield from _session(number, body, tally)
        else:
            tally.leave_out("unknown line type", number)


def _session(line: int, body: Mapping[str, Any], tally: Tally) -> Iterator[Record]:
    title, description = text(body.get("task_title")), text(body.get("task_description"))
    yield Opened(line, id=text(body.get("id")))
    yield Tasked(Issue(text(body.get("task_id")) or title, title, description, given=True, line=line))
    for decision in map(mapping, listed(body.get("decisions"))):
        yield from _decision(line, decision, title, description, tally)
    for entry in map(mapping, listed(body.get("verification_history"))):
        yield from _verification(line, entry, tally)
    outcome = mapping(body.get("outcome"))
    kind = text(outcome.get("type"))
    if not kind:
        tally.count("sessions_without_outcome")
        return
    success = _SUCCESS.get(kind)
    if success and outcome.get("verification_passed") is False:
        # The agent called it done, and what checked it did not.
        success = False
    yield Outcome(kind, is_error=kind == "Error", line=line, turns=count(body.get("iterations_used")))
    yield Finished(line, success)


def _decision(
    line: int, decision: Mapping[str, Any], title: str, description: str, tally: Tally
) -> Iterator[Record]:
    kind, right, output = (
        text(decision.get("decision_type")),
        truth(decision.get("was_correct")),
        decision.get("output"),
    )
    if not kind or output is None:
        tally.leave_out("decision without a type or output", line)
    elif right is None:
        tally.leave_out("decision that nobody judged", line)
    else:
        context = {
            "task_title": title,
            "task_description": description,
            "input_summary": text(decision.get("input_summary")),
            "predicted_confidence": amount(decision.get("predicted_confidence")),
        }
        told = output if isinstance(output, dict) else {"output": output}
        yield RuntimeEvent(f"decision.{kind}", right, context, told, line)


def _verification(line: int, entry: Mapping[str, Any], tally: Tally) -> Iterator[Record]:
    passed, reason = truth(entry.get("passed")), text(entry.get("reason"))
    if passed is None:
        tally.leave_out("verification without a command or verdict", line)
        return
    ran = [(command, kind, truth(entry.get(name))) for name, command, kind in _CHECKS]
    for command, kind, verdict in ran:
        if verdict is not None:
            yield Verification(command, verdict, reason, line, kind)
    if all(verdict is None or verdict is not passed for _, _, verdict in ran):
        # The whole was judged otherwise than its parts, or had none.
        yield Verification("verification", passed, reason, line, "other")
