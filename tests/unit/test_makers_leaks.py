"""No maker lets anything from after a decision into an input.

Held in two ways: over generated sessions in which every text carries its line, and over real logs, where
everything after a decision is changed and the inputs must stay the same.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.assemble import Assembly
from oa_compile.extract.drafts import Draft
from oa_compile.extract.lines import Line
from oa_compile.extract.makers import MAKERS
from oa_compile.extract.readers import autopilot, claude_code
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import walk
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec
from tests.support.steps import ROOT, Steps, drafts

REAL = Path(__file__).parents[3] / "shared" / "data"
SPECS: dict[str, dict[str, Any]] = {
    **{name: {"example": name, "failures": "feedback"} for name in MAKERS if name != "mapping"},
    # Everything that a path could reach.
    **{
        f"mapping {each}": {
            "example": "mapping",
            "each": each,
            "inputs": {"all": "@"},
            "outputs": {"all": "@"},
        }
        for each in ("call", "message", "verification", "event", "episode", "session")
    },
}
# All fields of each maker; of this one all but the thought, which few calls have.
ASKED = {"tool_selection": ("task_description", "available_tools", "recent_context", "tool_params")}
MARK = re.compile(r"⟦(\d+)⟧")
FILES = ("src/a.rs", "src/b.rs", "tests/t.rs", "Cargo.toml", "README.md")
BAD = (
    "error[E0425]: cannot find function `total` in this scope\n --> src/a.rs:1:1\n"
    "test result: FAILED. 0 passed; 1 failed"
)
GOOD = "test result: ok. 3 passed; 0 failed"


def decided(draft: Draft) -> int:
    """The last line from which an input may be."""
    place = draft.evidence.get("decided_at")
    return int(place.rsplit(":", 1)[1]) if place else draft.line


class Marked(Steps):
    """Steps in which every text ends with the line it is in."""

    def mark(self, text: str = "") -> str:
        return f"{text} ⟦{self.line + 1}⟧"

    def do(self, what: str, number: int) -> str:
        """Begin one step; the id of the call that waits for its answer, empty when there is none."""
        path = f"{ROOT}/{FILES[number % len(FILES)]}"
        arguments: dict[str, dict[str, Any]] = {
            "Read": {"file_path": path},
            "Edit": {"file_path": path, "old_string": "a", "new_string": self.mark("fn total() {}")},
            "Grep": {"pattern": self.mark("x"), "path": f"{ROOT}/src"},
            "Bash": {"command": self.mark("cargo test -p a #") if number % 3 else "pip install x"},
            "TodoWrite": {"todos": [{"content": self.mark("step"), "status": "in_progress"}]},
        }
        if what in arguments:
            return self.ask(what, **arguments[what])
        if what == "claim":
            call = self.ask("issue_ready")
            self.answer(call, json.dumps({"number": 7, "title": self.mark("Fix"), "description": "Broken."}))
            self.answer(self.ask("issue_claim", number=7), self.mark("Claimed issue #7"))
        elif what == "complete":
            self.answer(self.ask("issue_complete", number=7), self.mark("Completed issue #7"))
        else:
            self.say(self.mark("Let me see."), "user" if what == "user" else "assistant")
        return ""

    def reply(self, call: str, number: int) -> None:
        bad = number % 4 == 0
        self.answer(call, self.mark((BAD if bad else GOOD) + "\npub fn seen()"), error=bad)


STEP = st.tuples(
    st.sampled_from(
        ["Read", "Edit", "Edit", "Grep", "Bash", "Bash", "TodoWrite", "say", "user", "claim", "complete"]
    ),
    st.integers(0, 20),
    st.sampled_from(["now", "now", "with the next", "later"]),
)


@given(st.lists(STEP, max_size=40))
def test_every_input_is_older_than_its_decision(script: list[tuple[str, int, str]]) -> None:
    steps = Marked()
    steps.do("claim", 0)
    open_calls: list[tuple[str, int]] = []
    for what, number, when in script:
        call = steps.do(what, number)
        if call:
            open_calls.append((call, number))
        if when == "with the next":
            continue
        answered = open_calls if when == "now" else open_calls[:-1]
        for one, told in answered:
            steps.reply(one, told)
        open_calls = [] if when == "now" else open_calls[-1:]
        steps.turn()
    steps.do("complete", 0)
    for name, spec in SPECS.items():
        for draft in drafts(steps.records, spec["example"], *ASKED.get(name, ()), **spec)[0]:
            lines = [int(line) for line in MARK.findall(json.dumps(draft.inputs, ensure_ascii=False))]
            assert max(lines, default=0) <= decided(draft), (name, draft)


def made(lines: list[bytes], reader: Any) -> dict[tuple[str, int, int], Draft]:
    """All makers' drafts of a log, by maker, decision and proof."""
    tally, makers, found = Tally("log"), {}, {}
    assembly = Assembly(format=reader.FORMAT, file="log", name="log", tally=tally)
    numbered = (Line(number, raw) for number, raw in enumerate(lines, start=1))
    for scene, moment in walk(reader.read(numbered, tally=tally), assembly):
        for name, spec in SPECS.items():
            key = (name, scene.session.thread)
            if key not in makers:
                model = ExtractSpec.model_validate(spec)
                makers[key] = MAKERS[model.example](model, tally, Wanted(*ASKED.get(name, ())))
            for draft in makers[key].take(scene, moment):
                found[name, decided(draft), draft.line] = draft
    return found


KEPT = {
    "type",
    "id",
    "tool_use_id",
    "name",
    "role",
    "message_id",
    "uuid",
    "parentUuid",
    "sessionId",
    "status",
}


def changed(value: Any) -> Any:
    """The same JSON with every text another, but for what holds a log together."""
    if isinstance(value, dict):
        return {key: item if key in KEPT else changed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [changed(item) for item in value]
    return f"{value} CHANGED" if isinstance(value, str) else value


def rewritten(raw: bytes) -> bytes:
    body = json.loads(raw)
    if isinstance(body.get("message"), dict) and "content" in body["message"]:
        body["message"]["content"] = changed(body["message"]["content"])
    return json.dumps(body).encode() + b"\n"


LOGS = [
    (autopilot, "autopilot/20251222-150214-call-issue-ready-now-to.jsonl"),
    (autopilot, "autopilot/20251223-060101-call-issue-ready-now-to.jsonl"),
    (claude_code, "claude_code/claude-code-example.jsonl"),
]


@pytest.mark.parametrize(("reader", "name"), LOGS, ids=[name for _, name in LOGS])
def test_changing_everything_after_a_decision_changes_no_input(reader: Any, name: str) -> None:
    if not (REAL / name).exists():
        pytest.skip("the real logs are not here")
    lines = (REAL / name).read_bytes().splitlines(keepends=True)
    other = [rewritten(raw) for raw in lines]
    before = made(lines, reader)
    cuts = sorted({line for _, line, _ in before})
    kept = 0
    for cut in cuts[:: max(1, len(cuts) // 6)]:
        after = made(lines[:cut] + other[cut:], reader)
        for key, draft in before.items():
            if key[1] <= cut and key in after:
                kept += 1
                assert after[key].inputs == draft.inputs, key
    assert kept > len(before)
