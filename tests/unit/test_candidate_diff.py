"""What changed between two candidates, and how candidates are found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import UsageError
from oa_compile.hud.diff import CandidateDiff, Flip, demo_line, diff_candidates
from oa_compile.hud.find import find_candidate
from oa_compile.hud.view import RunView
from oa_compile.hud.words import changes, changes_text
from tests.support.runs import BASELINE, DEMOS, FIRST, SECOND, THIRD, Script, optimize_run, state

VIEW = RunView.of(optimize_run())


def compared(before: dict[str, Any], after: dict[str, Any]) -> CandidateDiff:
    script = Script()
    script.candidate("sha256:aa", state=before)
    script.candidate("sha256:bb", state=after)
    return diff_candidates(RunView.of(script.lines), "aa", "bb")


@pytest.mark.parametrize(
    ("name", "candidate"),
    [
        ("baseline", BASELINE),
        ("best", THIRD),
        ("BEST", THIRD),
        ("bbb2", FIRST),
        (" BBB2 ", FIRST),
        ("c", SECOND),
        (SECOND, SECOND),
    ],
)
def test_candidates_are_found_by_a_word_or_a_unique_prefix(name: str, candidate: str) -> None:
    assert find_candidate(VIEW, name).candidate == candidate


def test_an_unknown_name_suggests_the_near_ones() -> None:
    with pytest.raises(UsageError, match="no candidate `bbb3`") as caught:
        find_candidate(VIEW, "bbb3")
    assert caught.value.hint == "did you mean bbb2222?"
    with pytest.raises(UsageError) as caught:
        find_candidate(VIEW, "basline")
    assert "baseline" in caught.value.hint


@pytest.mark.parametrize("name", ["zzzz", "", "sha256:"])
def test_a_name_near_to_nothing_lists_what_there_is(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_candidate(VIEW, name)
    assert caught.value.hint == "candidates are baseline, best, aaa1111, bbb2222, ccc3333, ddd4444"


def test_an_ambiguous_prefix_lists_its_candidates() -> None:
    script = Script()
    for tail in ("1", "2"):
        script.candidate(f"sha256:abcdefgh{tail}")
    view = RunView.of(script.lines)
    with pytest.raises(UsageError, match="means 2 candidates: abcdefgh1, abcdefgh2"):
        find_candidate(view, "abc")
    assert find_candidate(view, "abcdefgh1").candidate == "sha256:abcdefgh1"


def test_an_id_that_begins_another_is_found_when_written_in_full() -> None:
    script = Script()
    script.candidate("c1")
    script.candidate("c10")
    assert find_candidate(RunView.of(script.lines), "c1").candidate == "c1"


@pytest.mark.parametrize("name", ["best", "baseline"])
def test_best_and_baseline_before_there_is_one(name: str) -> None:
    with pytest.raises(UsageError, match=f"no {name} candidate yet"):
        find_candidate(RunView(), name)


def test_instruction_and_demos_of_the_predictor_that_changed() -> None:
    diff = diff_candidates(VIEW, "bbb", "ddd")
    assert diff.names == ("bbb2222", "ddd4444")
    [predictor] = diff.predictors
    assert (predictor.predictor, predictor.presence) == ("predict", "changed")
    assert changes_text(predictor.instruction).plain == "Choose the tool{+ that the thought asks for+}."
    assert predictor.demos_removed == (DEMOS[0],)
    assert predictor.demos_added == (DEMOS[1],)
    assert predictor.demos_kept == 0


def test_flips_are_counted_on_the_examples_both_answered() -> None:
    diff = diff_candidates(VIEW, "bbb", "best")
    assert (diff.split, diff.n) == ("val", 19), "the example that a fault took from the first is left out"
    assert diff.scores == (pytest.approx(9 / 19), pytest.approx(12 / 19))
    assert diff.gain == pytest.approx(3 / 19)
    assert diff.fixed == (Flip("e9", 0.0, 1.0), Flip("e10", 0.0, 1.0), Flip("e11", 0.0, 1.0))
    assert diff.broken == ()


def test_the_other_way_round_what_was_fixed_is_broken() -> None:
    there, back = diff_candidates(VIEW, "bbb", "best"), diff_candidates(VIEW, "best", "bbb")
    assert [flip.example for flip in back.broken] == [flip.example for flip in there.fixed]
    assert back.gain == -there.gain if there.gain is not None else False
    assert back.predictors[0].demos_added == there.predictors[0].demos_removed


def test_a_minibatch_is_compared_with_the_same_examples_of_a_full_evaluation() -> None:
    diff = diff_candidates(VIEW, "baseline", "ccc")
    assert diff.n == 10
    assert [flip.example for flip in diff.broken] == ["e3", "e4", "e5", "e6"]


def test_no_example_in_common_is_no_comparison() -> None:
    diff = compared(state("a"), state("b"))
    assert (diff.n, diff.scores, diff.gain, diff.fixed, diff.broken) == (0, None, None, (), ())


def test_the_split_with_most_examples_in_common_is_compared() -> None:
    script = Script()
    for name in ("sha256:aa", "sha256:bb"):
        script.candidate(name)
        script.evaluated(name, [1.0], split="val")
        script.evaluated(name, [0.5, 1.0], split="train")
    assert diff_candidates(RunView.of(script.lines), "aa", "bb").split == "train"


def test_the_same_state_has_no_differences() -> None:
    assert compared(state("a", DEMOS), state("a", list(DEMOS))).predictors == ()


def test_predictors_that_come_and_go() -> None:
    diff = compared({"old": {"instruction": "a"}, "same": {}}, {"same": {}, "new": {"instruction": "b"}})
    assert [(p.predictor, p.presence) for p in diff.predictors] == [("old", "removed"), ("new", "added")]


def test_demos_are_a_multiset_and_their_order_matters() -> None:
    one, two = DEMOS
    [predictor] = compared(state("a", [one, one, two]), state("a", [two, one])).predictors
    assert (predictor.demos_added, predictor.demos_removed, predictor.demos_kept) == ((), (one,), 2)
    assert not predictor.reordered
    [predictor] = compared(state("a", [one, two]), state("a", [two, one])).predictors
    assert (predictor.demos_kept, predictor.reordered) == (2, True)
    assert predictor.instruction == ()


def test_changed_fields_are_told_by_name() -> None:
    before = {"p": {"fields": {"tool": {"prefix": "Tool:", "description": "x"}}}}
    after = {"p": {"fields": {"tool": {"prefix": "Next tool:", "description": "x"}}}}
    assert compared(before, after).predictors[0].fields == (("tool.prefix", "Tool:", "Next tool:"),)
    lists = compared({"p": {"fields": [{"prefix": "a"}]}}, {"p": {"fields": [{"prefix": "b"}]}})
    assert lists.predictors[0].fields == (("0.prefix", "a", "b"),)


@pytest.mark.parametrize("odd", [None, 3, "text", [], {"demos": "x"}, {"demos": [1]}, {"instruction": 7}])
def test_a_state_of_another_shape_is_no_error(odd: Any) -> None:
    diff = compared({"p": odd}, state("a"))
    assert [predictor.predictor for predictor in diff.predictors] == ["p", "predict"]


def test_a_demo_on_one_line() -> None:
    assert demo_line(DEMOS[0]) == "thought: The tests fail in parse_date · tool: run"
    nested = {"inputs": {"thought": "a\nb"}, "outputs": {"tool": "run"}, "augmented": True}
    assert demo_line(nested) == "thought: a b · tool: run"
    assert demo_line({"thought": "x" * 99}, width=5) == "thought: xxxx…"


texts = st.text(alphabet="ab .\n", max_size=60) | st.text(max_size=30)


@given(texts, texts)
def test_changes_hold_both_texts(before: str, after: str) -> None:
    found = changes(before, after)
    assert "".join(change.text for change in found if change.kind != "added") == before
    assert "".join(change.text for change in found if change.kind != "removed") == after
    assert before != after or all(change.kind == "same" for change in found)


def test_neighbouring_words_change_as_one_phrase() -> None:
    assert [tuple(change) for change in changes("pick one tool", "say which tool")] == [
        ("removed", "pick one"),
        ("added", "say which"),
        ("same", " tool"),
    ]


def test_long_texts_are_compared_by_line() -> None:
    lines = [f"line {number} of many\n" for number in range(2_000)]
    found = changes("".join(lines), "".join([*lines[:7], "another line\n", *lines[8:]]))
    assert [tuple(change) for change in found if change.kind != "same"] == [
        ("removed", "line 7 of many\n"),
        ("added", "another line\n"),
    ]


def test_long_unchanged_stretches_are_cut_around_the_change() -> None:
    same = "word " * 100
    text = changes_text(changes(f"{same}old {same}", f"{same}new {same}"), context=10).plain
    assert text == "…word word [-old-]{+new+} word word…"
