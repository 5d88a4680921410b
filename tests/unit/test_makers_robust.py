"""Whatever stands in a log, no maker raises: arguments of any shape, results of any text, any order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.makers import MAKERS
from tests.support.steps import ROOT, Steps, drafts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "file_path", "path", "command", "cmd", "todos", "plan", "old_string", "new_string", "content", "edits",
    "offset", "limit", "pattern", "number", "patch",
)  # fmt: skip
TEXTS = st.sampled_from(
    [
        f"{ROOT}/src/a.rs",
        "cargo test | tail",
        "../x",
        "sed -i s/a/b/ src/a.rs",
        "*** Update File: a.rs",
        "a\0b",
    ]
)
ARGUMENTS = st.dictionaries(st.sampled_from(NAMES), JSON | TEXTS, max_size=5)
EDITORS = ["Edit", "Write", "MultiEdit", "apply_patch"]
OTHERS = ["Read", "Bash", "shell", "Grep", "TodoWrite", "update_plan", "issue_claim", "issue_complete"]
TOOLS = st.sampled_from([*EDITORS, *OTHERS])
RESULTS = st.text(max_size=40) | st.sampled_from(
    [
        "Claimed issue #7",
        "Completed issue #7",
        "test result: ok. 1 passed",
        "error[E0425]: cannot find function `f`\n --> src/a.rs:1:1",
        "     1→fn f() {}",
        '{"number": 7, "title": "T", "description": "D"}',
    ]
)
CALLS = st.tuples(TOOLS, ARGUMENTS, st.none() | st.tuples(RESULTS, st.booleans()))
MAPPED: dict[str, Any] = {"inputs": {"all": "@"}, "outputs": {"all": "@"}}


@given(st.lists(CALLS | st.text(max_size=30), max_size=12))
def test_no_log_is_too_odd(script: list[Any]) -> None:
    steps = Steps().claim()
    for step in script:
        if isinstance(step, str):
            steps.say(step)
            continue
        tool, arguments, result = step
        call = steps.ask(tool, **arguments)
        if result is not None:
            steps.answer(call, result[0], error=result[1])
    steps.complete()
    for maker in MAKERS:
        for failures in ("feedback", "negatives"):
            for draft in drafts(
                steps.records, maker, failures=failures, **MAPPED if maker == "mapping" else {}
            )[0]:
                assert 0 <= draft.confidence <= 1
                assert draft.line >= 0


def test_arguments_no_encoder_likes() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    steps = Steps().claim().call("Read", file_path="\ud800", offset=2**70, deep=deep).complete()
    made, _ = steps.drafts("execution_strategy")
    assert made[0].outputs["action_params"] == '"…"'
    made, _ = Steps().claim().call("Read", file_path="\ud800", offset=2**70).drafts("execution_strategy")
    assert made[0].outputs["action_params"] == '{"file_path":"\ud800","offset":1180591620717411303424}'
