"""Proxy metrics and the two tiers: what is free comes first, and decides whether the truth is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oa_compile.errors import SpecError
from oa_compile.evaluate.compare import file_overlap
from oa_compile.evaluate.metrics import Metric, build_metric
from oa_compile.evaluate.rules import Case
from oa_compile.spec.program import ProgramSpec


def spec_of(*entries: dict[str, Any], threshold: float | None = None) -> ProgramSpec:
    body: dict[str, Any] = {
        "name": "demo",
        "signature": {
            "instructions": "Answer.",
            "inputs": [{"name": "question"}],
            "outputs": [{"name": "answer"}],
        },
        "metrics": list(entries),
    }
    if threshold is not None:
        body["evaluation"] = {"proxy_threshold": threshold}
    return ProgramSpec.model_validate(body)


def metric(*entries: dict[str, Any], threshold: float | None = None) -> Metric:
    return build_metric(spec_of(*entries, threshold=threshold), Path())


def one(kind: str, answer: Any, gold: Any = "x", **settings: Any) -> tuple[float, str]:
    """A metric's own score and feedback for an answer."""
    rule = metric({"kind": kind, "field": "answer", **settings}).rules[0]
    part = rule.part(Case({}, {"answer": gold}, {"answer": answer}))
    assert part.score is not None
    return part.score, part.feedback


@pytest.mark.parametrize(
    ("answer", "score"),
    [("fix: the parser", 1), ("Fix it", 0), ("fix: a\n", 0), (" fix: a", 0), ("", 0)],
)
def test_format_takes_the_whole_of_the_output(answer: str, score: int) -> None:
    assert one("format", answer, pattern=r"(fix|feat): [^\n]+")[0] == score


def test_a_pattern_that_takes_exponential_time_elsewhere_is_linear_here() -> None:
    # Backtracking would outlast the universe, and this test's time limit.
    assert one("format", "a" * 50_000 + "!", pattern=r"(a+)+")[0] == 0


def test_a_pattern_that_is_none_is_told_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"program\.toml: metric format\(answer\): `pattern` is not"):
        build_metric(spec_of({"kind": "format", "field": "answer", "pattern": "(?=x)"}), tmp_path)


@pytest.mark.parametrize(
    ("answer", "score", "told"),
    [
        ("Run the tests, then commit.", 1.0, "right"),
        ("RUN it, then push!", 2 / 3, "should hold “commit”"),
        ("Commit with --force, and run.", 2 / 3, "should not hold “--force”"),
        ("Contests in the runtime", 1 / 3, "should hold “run” and should hold “commit”"),
    ],
)
def test_keywords_are_whole_words(answer: str, score: float, told: str) -> None:
    found, feedback = one("keywords", answer, every=["run", "commit"], none=["--force"])
    assert found == pytest.approx(score)
    assert told in feedback


def test_some_keywords_are_one_demand() -> None:
    assert one("keywords", "pytest it", some=["pytest", "unittest"])[0] == 1
    assert one("keywords", "nothing", some=["pytest", "unittest"]) == (
        0,
        "`answer` should hold one of “pytest”, “unittest”.",
    )


@pytest.mark.parametrize(
    ("unit", "answer", "score"),
    [
        ("words", "one two three", 1.0),
        ("words", "one two three four", 1.0),
        ("words", "one", 0.5),
        ("words", "", 0.0),
        ("words", "one two three four five six seven eight", 0.5),
        ("characters", "abcd", 1.0),
        ("lines", "a\nb\n\nc", 1.0),
    ],
)
def test_length_falls_with_the_ratio(unit: str, answer: str, score: float) -> None:
    assert one("length", answer, unit=unit, least=2, most=4)[0] == score


@pytest.mark.parametrize(
    ("language", "text", "score"),
    [
        ("json", '{"a": [1, 2]}', 1),
        ("json", "```json\n{}\n```", 1),
        ("json", "{'a': 1}", 0),
        ("json", "[" * 100_000, 0),
        ("python", "def f(x):\n    return x", 1),
        ("python", "```python\nimport os\n```\n", 1),
        ("python", "def f(x) return x", 0),
        ("python", "(" * 5_000, 0),
        ("python", "-" * 100_000 + "1", 0),
        ("python", "x = '\0'", 0),
        ("toml", 'a = "b"', 1),
        ("toml", "a = ", 0),
        ("yaml", "a: [1, 2]", 1),
        ("yaml", "a: [1, 2", 0),
        ("yaml", "a: &a [*a, *a]", 1),
        ("json", '"' + "x" * 300_000 + '"', 0),
    ],
)
def test_syntax_parses_and_runs_nothing(language: str, text: str, score: int) -> None:
    assert one("syntax", text, language=language)[0] == score


def test_a_wrong_syntax_is_told_in_the_parsers_words() -> None:
    assert "does not parse as json: Expecting value" in one("syntax", "nope", language="json")[1]


@given(
    st.text() | st.none() | st.integers() | st.lists(st.text()), st.sampled_from(["json", "python", "yaml"])
)
def test_whatever_an_answer_holds_it_gets_a_score(answer: Any, language: str) -> None:
    built = metric(
        {"kind": "syntax", "field": "answer", "language": language},
        {"kind": "keywords", "field": "answer", "every": ["a"]},
        {"kind": "length", "field": "answer", "most": 3},
        {"kind": "format", "field": "answer", "pattern": "a.*"},
    )
    assert 0 <= built.score(inputs={}, gold={}, pred={"answer": answer}).score <= 1


@pytest.mark.parametrize(
    ("gold", "pred", "score"),
    [
        (["src/a.py", "src/b.py"], ["./src/a.py", "src//b.py"], 1.0),
        (["src/a.py"], ["`src/a.py`"], 1.0),
        (["src/a.py"], "- src/a.py\n- src/c.py", 2 / 3),
        (["src/a.py"], ["/repo/src/a.py"], 1.0),
        (["src/a.py"], ["SRC/A.py"], 0.0),
        (["src/a.py", "lib/a.py"], ["a.py"], 0.0),
        (["src/a.py"], ["xsrc/a.py"], 0.0),
        ([], [], 1.0),
        (["a.py"], [], 0.0),
    ],
)
def test_file_overlap_knows_paths(gold: Any, pred: Any, score: float) -> None:
    assert file_overlap(gold, pred) == pytest.approx(score)


@given(st.lists(st.text(), max_size=5), st.lists(st.text(), max_size=5))
def test_file_overlap_is_bounded_and_reflexive(gold: list[str], pred: list[str]) -> None:
    assert 0 <= file_overlap(gold, pred) <= 1
    assert file_overlap(gold, gold) == 1


# -- tiers -----------------------------------------------------------------------------------------


def counting(folder: Path, **more: Any) -> tuple[Metric, Path]:
    """A proxy (a word) and a truth in Python that leaves a mark for every time it is asked."""
    mark = folder / "asked"
    (folder / "metric.py").write_text(
        f"def truth(inputs, gold, pred):\n    with open({str(mark)!r}, 'a') as file:\n"
        "        file.write('x')\n    return 1.0\n"
    )
    spec = spec_of(
        {"kind": "keywords", "field": "answer", "every": ["yes", "please"], **more},
        {"kind": "python", "target": "metric.py:truth"},
    )
    return build_metric(spec, folder), mark


@pytest.mark.parametrize(
    ("answer", "asked", "score"), [("yes please", 1, 1.0), ("yes", 0, 0.25), ("no", 0, 0.0)]
)
def test_the_truth_is_asked_past_the_threshold_only(
    tmp_path: Path, answer: str, asked: int, score: float
) -> None:
    built, mark = counting(tmp_path)
    scored = built.score(inputs={}, gold={"answer": "x"}, pred={"answer": answer})
    assert scored.score == score
    assert (len(mark.read_text()) if mark.exists() else 0) == asked
    if not asked:
        assert scored.parts[1].score is None
        assert "metric.py:truth was not asked: the proxies came to" in scored.feedback


def test_a_proxy_of_weight_0_only_decides(tmp_path: Path) -> None:
    built, _ = counting(tmp_path, weight=0)
    assert built.score(inputs={}, gold={"answer": "x"}, pred={"answer": "yes please"}).score == 1
    assert built.score(inputs={}, gold={"answer": "x"}, pred={"answer": "yes"}).score == 0


def test_the_threshold_and_the_tier_are_settings() -> None:
    entries = (
        {"kind": "length", "field": "answer", "most": 2, "weight": 0},
        {"kind": "exact_match", "field": "answer"},
    )
    long = {"answer": "a b c"}
    assert metric(*entries).score(inputs={}, gold=long, pred=long).score == 0
    assert metric(*entries, threshold=0.5).score(inputs={}, gold=long, pred=long).score == 1
    truth = ({**entries[0], "tier": "truth"}, entries[1])
    assert metric(*truth).score(inputs={}, gold=long, pred=long).score == 1
    assert metric(*entries).digest != metric(*entries, threshold=0.5).digest


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "keywords", "field": "answer"}, "needs words"),
        ({"kind": "length", "field": "answer"}, "needs `least` or `most`"),
        ({"kind": "length", "field": "answer", "least": 3, "most": 2}, "`least` is above `most`"),
        ({"kind": "judge", "rubric": "Good?", "tier": "proxy"}, "a proxy is free"),
        ({"kind": "judge", "rubric": "Good?", "fields": ["nothing"]}, "reads `nothing`"),
        ({"kind": "exact_match", "field": "answer", "weight": 0}, "some metric needs a `weight`"),
        ({"kind": "syntax", "field": "answer", "language": "cobol"}, "'json', 'python'"),
    ],
)
def test_what_makes_no_sense_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(entry)
