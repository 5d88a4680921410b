"""Failed tests and builds: what had been wrong, by what made the same check pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.steps import ROOT, Steps

FAILED = (
    "test total ... FAILED\n\nfailures:\n  assertion `left == right` failed\n\n"
    "test result: FAILED. 2 passed; 1 failed"
)
MISSING = (
    "error[E0425]: cannot find function `total` in this scope\n --> src/cart.rs:9:5\n"
    "error: could not compile `shop`"
)
OK = "test result: ok. 3 passed; 0 failed"


def failing(output: str = FAILED) -> Steps:
    return (
        Steps()
        .claim()
        .read("src/cart.rs", "     9→let x = total();")
        .run("cargo test -p shop", output, error=True)
    )


def passing(steps: Steps) -> Steps:
    return steps.run("cd x && cargo test -p shop 2>&1 | tail -3", OK).complete()


CAUSES: dict[str, tuple[Callable[[Steps], Steps], str, float]] = {
    "code": (lambda steps: steps.edit("src/cart.rs", "sum + 1"), "BUG", 0.8),
    "test": (lambda steps: steps.edit("tests/cart.rs", "assert!(true)"), "TEST_ISSUE", 0.9),
    "test among the code": (lambda steps: steps.edit("src/cart.rs", "#[test]\nfn a() {}"), "TEST_ISSUE", 0.7),
    "example in a comment": (
        lambda steps: steps.edit("src/lib.rs", "/// let a = 2;", "/// let a = 1;"),
        "TEST_ISSUE",
        0.7,
    ),
    "both": (lambda steps: steps.edit("src/cart.rs", "sum").edit("tests/cart.rs", "x"), "BUG", 0.56),
    "install": (lambda steps: steps.run("cargo add rand"), "ENV_ISSUE", 0.9),
    "manifest": (lambda steps: steps.edit("Cargo.toml", 'rand = "1"'), "ENV_ISSUE", 0.75),
    "in place": (lambda steps: steps.run("sed -i 's/a/b/' src/cart.rs"), "BUG", 0.8),
    "after another failure": (
        lambda steps: (
            steps.edit("src/cart.rs", "a")
            .run("cargo test -p shop", FAILED, error=True)
            .edit("src/cart.rs", "b")
        ),
        "BUG",
        0.64,
    ),
    "and what may be anything": (
        lambda steps: steps.edit("src/cart.rs", "sum").run("git stash pop"),
        "BUG",
        0.48,
    ),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_what_was_changed_until_it_passed(name: str) -> None:
    change, cause, confidence = CAUSES[name]
    made, _ = passing(change(failing())).drafts("test_analyzer")
    assert (made[0].outputs["root_cause"], made[0].confidence) == (cause, confidence)


@pytest.mark.parametrize(
    "change",
    [
        lambda steps: steps.edit("src/cart.rs", "pub fn total() -> u32 { 1 }"),
        lambda steps: steps.call(
            "Write", "File created successfully", file_path=f"{ROOT}/src/total.rs", content="// later"
        ),
    ],
    ids=["defined", "a new file"],
)
def test_what_was_missing_and_then_written(change: Callable[[Steps], Steps]) -> None:
    (made,), _ = passing(change(failing(MISSING))).drafts("test_analyzer")
    assert (made.outputs["root_cause"], made.confidence) == ("MISSING_IMPL", 0.9)


def test_what_was_missing_and_is_used_no_more_is_a_bug() -> None:
    (made,), _ = passing(failing(MISSING).edit("src/cart.rs", "let x = sum();")).drafts("test_analyzer")
    assert made.outputs["root_cause"] == "BUG"


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (passing(failing()), "failed test whose cause the log does not prove"),
        (passing(failing().run("git stash pop")), "failed test whose cause the log does not prove"),
        (passing(failing().edit("docs/a.md", "words")), "failed test whose cause the log does not prove"),
        (failing().edit("src/cart.rs").complete(), "check that failed and did not pass again"),
        (
            failing().edit("src/cart.rs").run("cargo test -p other", OK).complete(),
            "check that failed and did not pass again",
        ),
        (
            failing().edit("src/cart.rs").run("cargo test -p shop", "test result: ok. 0 passed").complete(),
            "check that failed and did not pass again",
        ),
        (passing(failing("Exit code 101").edit("src/cart.rs")), "failed test with hardly any output"),
    ],
)
def test_what_proves_nothing_is_told(steps: Steps, reason: str) -> None:
    assert steps.drafts("test_analyzer") == ([], {reason: 1})


def test_a_whole_example_and_its_evidence() -> None:
    steps = failing(MISSING).say("The sum is not there. I write it.")
    (made,), _ = passing(steps.edit("src/cart.rs", "fn total() {}")).drafts("test_analyzer")
    assert made.inputs == {
        "test_output": MISSING,
        "code_context": "src/cart.rs:\n     9→let x = total();",
    }
    assert made.outputs == {
        "root_cause": "MISSING_IMPL",
        "analysis": "The sum is not there. I write it.",
        "suggested_fixes": ["src/cart.rs: fn total() {}"],
        "affected_files": ["src/cart.rs"],
    }
    assert made.line == 14
    assert made.evidence == {
        "check": "cargo test -p shop",
        "decided_at": "log:9",
        "passed_at": "log:14",
        "changed_at": [11],
        "further_failures": 0,
    }


def test_a_failure_looked_at_again_is_one_failure() -> None:
    steps = failing("error: could not compile `shop` (lib) due to 1 previous error").run(
        "cargo test -p shop 2>&1", MISSING
    )
    made, _ = passing(steps.edit("src/cart.rs", "x")).drafts("test_analyzer")
    assert [draft.inputs["test_output"] for draft in made] == [MISSING]
    assert made[0].evidence["further_failures"] == 0


def test_a_build_that_was_repaired() -> None:
    broken = "error[E0308]: mismatched types\n --> src/a.rs:3:1\nerror: could not compile `shop`"
    steps = Steps().claim().run("cargo build", broken, error=True)
    steps.edit("src/a.rs", "let a: u8 = 1;").edit("src/b.rs", "b").run(
        "cargo build", "    Finished `dev` profile"
    )
    (made,), _ = steps.complete().drafts("build_analyzer")
    assert made.inputs == {"build_output": broken}
    assert made.outputs == {
        "error_category": "TYPE_ERROR",
        "errors": ["E0308: mismatched types (src/a.rs:3)"],
        "fixes": ["src/a.rs: let a: u8 = 1;", "src/b.rs: b"],
        "fix_order": ["src/a.rs", "src/b.rs"],
    }
    assert made.confidence == 0.95
    assert made.evidence["decided_at"] == "log:7"


@pytest.mark.parametrize(
    ("broken", "category", "confidence"),
    [
        ("error[E0308]: a\nerror[E0599]: b\nerror[E0432]: c", "TYPE_ERROR", 0.63),
        ("error[E0308]: a\nerror[E0382]: moved", "TYPE_ERROR", 0.7),
    ],
)
def test_errors_of_several_kinds(broken: str, category: str, confidence: float) -> None:
    steps = Steps().claim().run("cargo build", broken, error=True).edit("src/a.rs")
    (made,), _ = steps.run("cargo build", "    Finished `dev`").complete().drafts("build_analyzer")
    assert (made.outputs["error_category"], made.confidence) == (category, confidence)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("error[E0308]: a\nerror[E0432]: c", "build that failed in two ways alike"),
        ("error[E0382]: moved", "compiler error of another kind"),
        ("error: no such command", "failed check without a compiler's error"),
    ],
)
def test_a_build_whose_kind_cannot_be_told(broken: str, reason: str) -> None:
    steps = Steps().claim().run("cargo build", broken, error=True).edit("src/a.rs")
    assert steps.run("cargo build", "    Finished `dev`").complete().drafts("build_analyzer") == (
        [],
        {reason: 1},
    )
