"""Frozen parts: named in the spec, out of the optimizer's sight, and byte for byte in the artifact."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.artifact.folder import read_inputs
from oa_compile.digest import canonical_json
from oa_compile.errors import UsageError
from oa_compile.events import Candidate
from oa_compile.journal import events, read
from oa_compile.optimize.plan import make_plan
from oa_compile.signatures.build import build_program
from oa_compile.signatures.frozen import (
    PARTS,
    FrozenPredictor,
    Part,
    Tunable,
    hide,
    reveal,
    tunable_parts,
)
from oa_compile.signatures.state import dump_state
from oa_compile.spec.program import ProgramSpec
from tests.support.world import make_config, new_run, run

BOTH: frozenset[Part] = frozenset(PARTS)
INSTRUCTION: frozenset[Part] = frozenset({"instruction"})
OPTIMIZERS = ("miprov2", "copro", "gepa")


class Step(dspy.Module):
    def __init__(self, fields: str) -> None:
        super().__init__()
        self.answer = dspy.Predict(fields)

    def forward(self, **inputs: Any) -> Any:
        return self.answer(**inputs)


class Tree(dspy.Module):
    """A predictor in every place DSPy looks into."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = dspy.Predict("a -> b")
        self.step = Step("b -> c")
        self.think = dspy.ChainOfThought("c -> d")
        self.listed = [dspy.Predict("d -> e"), Step("e -> f")]
        self.fixed = (Step("f -> g"), dspy.Predict("g -> h"))
        self.named = {"first": dspy.Predict("h -> i"), "second": Step("i -> j")}

    def forward(self, a: str) -> Any:
        return self.plain(a=a)


NAMES = [
    "plain",
    "step.answer",
    "think.predict",
    "listed[0]",
    "listed[1].answer",
    "fixed[0].answer",
    "fixed[1]",
    "named['first']",
    "named['second'].answer",
]


def names(program: dspy.Module) -> list[str]:
    return [name for name, _ in program.named_predictors()]


def spec_of(**optimize: Any) -> ProgramSpec:
    return ProgramSpec.model_validate(
        {
            "name": "colours",
            "module": {"kind": "python", "target": "program.py:Tree"},
            "metrics": [{"kind": "exact_match", "field": "j"}],
            "optimize": optimize,
        }
    )


def only(*open_names: str) -> Tunable:
    return Tunable(dict.fromkeys(open_names, BOTH))


# -- what a spec leaves open ---------------------------------------------------------------------


def test_all_is_open_when_nothing_is_said() -> None:
    tunable = tunable_parts(spec_of(), Tree(), searched=BOTH)
    assert tunable.parts == dict.fromkeys(NAMES, BOTH)


@pytest.mark.parametrize("name", NAMES)
def test_a_predictor_is_frozen_by_the_name_dspy_gives_it(name: str) -> None:
    written = name.replace("'", "")  # a TOML key of a dict needs no quotes
    tunable = tunable_parts(spec_of(frozen=[written]), Tree(), searched=BOTH)
    assert sorted(tunable.parts) == sorted(set(NAMES) - {name})


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_frozen_alone(name: str, part: Part) -> None:
    tunable = tunable_parts(spec_of(frozen=[f"{name.replace(chr(39), '')}.{part}"]), Tree(), searched=BOTH)
    assert not tunable.allows(name, part)
    assert tunable.parts[name] == BOTH - {part}
    assert all(tunable.parts[other] == BOTH for other in NAMES if other != name)
    assert tunable.any(part)


def test_both_parts_one_by_one_are_the_whole() -> None:
    tunable = tunable_parts(spec_of(frozen=["plain.instruction", "plain.demos"]), Tree(), searched=BOTH)
    assert "plain" not in tunable.parts


@pytest.mark.parametrize("program", [dspy.Predict("a -> b"), dspy.ChainOfThought("a -> b")])
def test_a_lone_predictor_is_called_predict(program: dspy.Module) -> None:
    (name,) = names(program)
    tunable = tunable_parts(spec_of(frozen=["predict.demos"]), program, searched=BOTH)
    assert tunable.parts == {name: INSTRUCTION}


def test_an_attribute_called_like_a_part_is_a_predictor_first() -> None:
    class Odd(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.demos = dspy.Predict("a -> b")
            self.other = Step("b -> c")
            self.other.demos = dspy.Predict("c -> d")

    tunable = tunable_parts(spec_of(frozen=["other.demos"]), Odd(), searched=BOTH)
    assert sorted(tunable.parts) == ["demos", "other.answer"]


@pytest.mark.parametrize("entry", ["nobody", "plain.prompt", "step", "listed[7]", "predict", "demos"])
def test_an_unknown_name_lists_the_names_as_they_are_written(entry: str) -> None:
    with pytest.raises(UsageError) as caught:
        tunable_parts(spec_of(frozen=[entry]), Tree(), searched=BOTH)
    assert f"`{entry}`" in caught.value.message
    for name in NAMES:
        assert name.replace("'", "") in caught.value.message
    assert caught.value.exit_code == 2
    assert "name.instruction" in caught.value.hint


def test_an_unknown_name_beside_a_lone_predictor_offers_predict() -> None:
    with pytest.raises(UsageError, match=r"predictors are: predict$"):
        tunable_parts(spec_of(frozen=["self"]), dspy.Predict("a -> b"), searched=BOTH)


def test_what_the_optimizer_does_not_search_is_not_open() -> None:
    tunable = tunable_parts(spec_of(), Tree(), searched=INSTRUCTION)
    assert set(tunable.parts.values()) == {INSTRUCTION}
    assert not tunable.any("demos")


@pytest.mark.parametrize(
    ("optimize", "searched", "ways"),
    [
        ({"instructions": False}, INSTRUCTION, ["optimize.instructions = true", "--optimizer miprov2"]),
        (
            {"instructions": False, "demos": False},
            BOTH,
            ["optimize.instructions = true", "optimize.demos = true"],
        ),
        ({"frozen": ["predict"]}, BOTH, ["`predict` out of optimize.frozen"]),
        ({"frozen": ["predict.instruction"]}, INSTRUCTION, ["`predict.instruction`", "--optimizer miprov2"]),
    ],
)
def test_nothing_to_change_is_refused_with_what_to_open(
    optimize: dict[str, Any], searched: frozenset[Part], ways: list[str]
) -> None:
    with pytest.raises(UsageError, match="nothing to change") as caught:
        tunable_parts(spec_of(**optimize), dspy.Predict("a -> b"), searched=searched)
    for way in ways:
        assert way in caught.value.hint


def test_miprov2_is_not_offered_for_demos_that_are_shut() -> None:
    with pytest.raises(UsageError) as caught:
        tunable_parts(spec_of(instructions=False, demos=False), dspy.Predict("a -> b"), searched=INSTRUCTION)
    assert "miprov2" not in caught.value.hint


def test_a_program_without_predictors_is_told_where_dspy_looks() -> None:
    class Empty(dspy.Module):  # type: ignore[misc]
        pass

    with pytest.raises(UsageError, match="no predictor") as caught:
        tunable_parts(spec_of(), Empty(), searched=BOTH)
    assert "attribute" in caught.value.hint


# -- hide and reveal -----------------------------------------------------------------------------


@given(open_names=st.sets(st.sampled_from(NAMES)))
def test_hide_leaves_only_the_open_ones_and_reveal_undoes_it(open_names: set[str]) -> None:
    program = Tree()
    before = dict(program.named_predictors())
    hide(program, only(*open_names))
    assert names(program) == [name for name in NAMES if name in open_names]
    reveal(program)
    after = dict(program.named_predictors())
    assert list(after) == NAMES
    assert all(after[name] is before[name] for name in NAMES)
    assert not list(program.named_sub_modules(FrozenPredictor))


def test_a_predictor_held_in_two_places_is_hidden_in_both() -> None:
    program = Tree()
    program.again = program.plain
    program.list_again = [program.plain]
    hide(program, only("think.predict"))
    assert names(program) == ["think.predict"]
    assert program.again is program.plain is program.list_again[0]
    reveal(program)
    assert program.again is program.plain is program.list_again[0]
    assert type(program.plain) is dspy.Predict


def test_a_list_that_holds_itself_is_walked_once() -> None:
    program = Tree()
    program.listed.append(program.listed)
    hide(program, only("plain"))
    assert isinstance(program.listed[0], FrozenPredictor)
    reveal(program)
    assert type(program.listed[0]) is dspy.Predict


def test_a_tuple_without_predictors_stays_the_same_object() -> None:
    program = Tree()
    program.numbers = numbers = (1, 2, [3])
    hide(program, only("plain"))
    assert program.numbers is numbers


def test_a_hidden_predictor_runs_and_answers_for_itself() -> None:
    program = Tree()
    hide(program, only("think.predict"))
    assert isinstance(program.plain, FrozenPredictor)
    lm = dspy.utils.DummyLM([{"b": "one"}, {"b": "two"}])
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        assert program(a="x").b == "one"
        assert asyncio.run(program.plain.acall(a="x")).b == "two"
    assert program.plain.signature is program.plain.inner.signature
    with pytest.raises(AttributeError):
        program.plain.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    "copied", [dspy.Module.deepcopy, copy.deepcopy, dspy.Module.reset_copy], ids=["own", "deep", "reset"]
)
def test_copies_keep_what_is_hidden_hidden_and_whole(copied: Any) -> None:
    program = Tree()
    program.plain.demos = [{"a": "1", "b": "2"}]
    program.plain.signature = program.plain.signature.with_instructions("Stay.")
    hide(program, only("think.predict"))
    twin = copied(program)
    assert names(twin) == ["think.predict"]
    reveal(twin)
    assert names(twin) == NAMES
    assert twin.plain is not program.plain.inner
    assert dump_state(twin)["plain"]["demos"] == [{"a": "1", "b": "2"}]
    assert twin.plain.signature.instructions == "Stay."


# -- what an optimizer leaves alone --------------------------------------------------------------


def saved(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "program.json").read_text())
    del state["metadata"]
    return state


def compiled(
    root: Path, optimizer: str, *, optimize: str = ""
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """The program's state as written, in the artifact, and of every candidate that was tried."""
    config = make_config(optimizer__name=optimizer)
    folder = new_run(root, config=config, steps=2, extra=f"\n[optimize]\n{optimize}\n")
    outcome = run(folder)
    assert outcome.status == "complete", outcome.error
    inputs = read_inputs(folder)
    build_program(inputs.program.spec, inputs.program.folder).save(root / "program.json")
    tried = [event.state for event in events(read(folder.journal)) if isinstance(event, Candidate)]
    return saved(root), saved(folder.artifact), tried


def part_of(state: dict[str, Any], name: str, part: str) -> bytes:
    """A part's bytes: of a saved program, or of a candidate's state."""
    held = state[name]
    if part == "demos":
        return canonical_json(held["demos"])
    signature = held.get("signature") or {"instructions": held["instruction"], "fields": held["fields"]}
    return canonical_json([signature["instructions"], signature["fields"]])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["describe", "name"])
def test_a_frozen_predictor_is_byte_for_byte_in_the_artifact(
    tmp_path: Path, optimizer: str, name: str
) -> None:
    before, after, tried = compiled(tmp_path, optimizer, optimize=f'frozen = ["{name}"]')
    assert canonical_json(after[name]) == canonical_json(before[name])
    assert list(after) == list(before)
    other = ({"describe", "name"} - {name}).pop()
    assert all(set(state) == {other} for state in tried)
    assert len(tried) > 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["describe", "name"])
@pytest.mark.parametrize("part", PARTS)
def test_a_frozen_part_is_the_same_in_every_candidate(
    tmp_path: Path, optimizer: str, name: str, part: str
) -> None:
    before, after, tried = compiled(tmp_path, optimizer, optimize=f'frozen = ["{name}.{part}"]')
    kept = part_of(before, name, part)
    assert part_of(after, name, part) == kept
    assert all(part_of(state, name, part) == kept for state in tried if name in state)
    assert len({canonical_json(state) for state in tried}) > 1


def test_no_instruction_changes_when_instructions_are_off(tmp_path: Path) -> None:
    before, after, tried = compiled(tmp_path, "miprov2", optimize="instructions = false")
    for name in before:
        assert part_of(after, name, "instruction") == part_of(before, name, "instruction")
        assert {part_of(state, name, "instruction") for state in tried} == {
            part_of(before, name, "instruction")
        }
    assert any(state[name]["demos"] for state in tried for name in before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_demos_are_taken_when_demos_are_off(tmp_path: Path, optimizer: str) -> None:
    before, after, tried = compiled(tmp_path, optimizer, optimize="demos = false")
    assert [after[name]["demos"] for name in before] == [[], []]
    assert all(not state[name]["demos"] for state in tried for name in before)
    assert len({canonical_json(state) for state in tried}) > 1


def test_the_proposer_still_has_every_demo_set_to_look_at(tmp_path: Path) -> None:
    """Freezing the first predictor's demos must not cut down the number of instructions proposed."""
    _, _, free = compiled(tmp_path / "free", "miprov2")
    _, _, frozen = compiled(tmp_path / "frozen", "miprov2", optimize='frozen = ["describe.demos"]')

    def instructions(tried: list[dict[str, Any]]) -> set[str]:
        return {state["describe"]["instruction"] for state in tried}

    assert len(instructions(frozen)) > 1
    assert len(instructions(free)) > 1


@pytest.mark.parametrize("optimizer", ["copro", "gepa"])
def test_instructions_off_leaves_copro_and_gepa_nothing(tmp_path: Path, optimizer: str) -> None:

    folder = new_run(
        tmp_path,
        config=make_config(optimizer__name=optimizer),
        extra="\n[optimize]\ninstructions = false\n",
    )
    with pytest.raises(UsageError, match="nothing to change") as caught:
        make_plan(read_inputs(folder))
    assert "optimize.instructions = true" in caught.value.hint


def test_few_combinations_and_many_trials_end_well(tmp_path: Path) -> None:
    """MIPROv2 raises when there is no combination left to score in full; a small search must not."""
    settings = {
        "num_candidates": 2,
        "num_trials": 12,
        "minibatch_size": 6,
        "full_eval_steps": 2,
        "instructions": False,
    }
    folder = new_run(tmp_path, config=make_config(optimizer__miprov2=settings), sizes=(20, 14, 6))
    assert run(folder).status == "complete"
