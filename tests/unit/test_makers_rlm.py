"""RLM's signatures: steps a runtime logs, and searches whose finds were used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oa_compile.extract.session import RuntimeEvent
from tests.support.steps import ROOT, Steps

SHOWN = "    40→def total(items):\n    41→    return 0\n"


def searching(found: str = "src/cart.py:40:def total(items):") -> Steps:
    steps = Steps().claim().say("Where is the total made?")
    return steps.call("Grep", found, pattern="total", path=f"{ROOT}/src").say("There. Let me see it.")


def reading(steps: Steps, path: str = "src/cart.py", text: str = SHOWN) -> Steps:
    return steps.call("Read", text, file_path=f"{ROOT}/{path}", offset=40, limit=2)


def test_lines_that_were_found_read_and_edited_are_a_routers_label() -> None:
    steps = (
        reading(reading(searching()), "src/other.py")
        .edit("src/cart.py", "return 1", old="    return 0")
        .complete()
    )
    (draft,), _ = steps.drafts("rlm")
    assert draft.inputs == {
        "query": "Where is the total made?",
        "document_preview": "src:\nsrc/cart.py:40:def total(items):",
    }
    (span,) = draft.outputs["candidate_spans"]
    assert json.loads(span) == {
        "path": "src/cart.py",
        "start_line": 40,
        "end_line": 41,
        "why": "There. Let me see it.",
    }
    assert draft.outputs["spans"] == ["src/cart.py:40-41"]
    assert draft.evidence["decided_at"] == "log:8"
    assert draft.evidence["used_at"] == [14]
    assert draft.line == 14


@pytest.mark.parametrize(
    "steps",
    [
        reading(searching()).complete(),
        reading(searching()).edit("src/cart.py", "x", old="def other():").complete(),
        reading(searching("No matches found")).edit("src/cart.py", "x", old="    return 0").complete(),
        reading(searching(), "lib/else.py").edit("lib/else.py", "x", old="    return 0").complete(),
        searching().read("src/cart.py", SHOWN).edit("src/cart.py", "x", old="    return 0").complete(),
        reading(searching(), text="no numbers").edit("src/cart.py", "x", old="no numbers").complete(),
    ],
    ids=["not edited", "edited elsewhere", "not found", "another file", "the whole file", "lines unknown"],
)
def test_what_was_not_used_is_no_label(steps: Steps) -> None:
    assert steps.drafts("rlm") == ([], {})


def test_lines_read_beside_the_search_were_not_found_by_it() -> None:
    steps = Steps().claim().say("Where is it?")
    search = steps.ask("Grep", pattern="total", path=f"{ROOT}/src")
    read = steps.ask("Read", file_path=f"{ROOT}/src/cart.py", offset=40, limit=2)
    steps.answer(search, "src/cart.py:40:def total").answer(read, SHOWN)
    assert steps.edit("src/cart.py", "x", old="    return 0").complete().drafts("rlm") == ([], {})


def event(kind: str, *, success: bool = True) -> Steps:
    context: dict[str, Any] = {"query": "why", "chunk": "text", "span_ref": "a:1"}
    body = RuntimeEvent(kind, success, context, {"findings": "because", "relevance": 0.9}, 2)
    return Steps().record(body)


@pytest.mark.parametrize("kind", ["extractor", "RLM.Extractor", "rlm_extractor", "rlm.SimpleExtractor"])
def test_a_step_the_runtime_logs(kind: str) -> None:
    (draft,), _ = event(kind).drafts("rlm")
    assert draft.inputs == {"query": "why", "chunk": "text", "span_ref": "a:1"}
    assert draft.outputs == {"findings": "because", "relevance": 0.9}
    assert draft.evidence["event_type"] == kind


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (event("PlanningComplete"), "event of another type"),
        (event("router"), "event of another type"),
        (event("extractor", success=False), "event of a failure"),
    ],
)
def test_events_that_do_not_fit_are_told(steps: Steps, reason: str) -> None:
    assert steps.drafts("rlm", event_type="Extractor") == ([], {reason: 1})
