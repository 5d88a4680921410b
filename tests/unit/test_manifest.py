"""The artifact: plain DSPy opens its program, its provenance names what made it, and a change shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import MANIFEST, PROGRAM, PROVENANCE, Manifest, load_manifest
from oa_compile.dataset import load_card
from oa_compile.digest import digest_bytes
from oa_compile.errors import DigestMismatch, ExitCode, UsageError
from oa_compile.signatures.state import apply_state, dump_state, read_state, state_digest
from tests.support.cli import python
from tests.support.world import make_config, new_run, plan_of, run

BUDGET = {"breadth": 3, "depth": 1}


def compiled(root: Path, *, optimizer: str = "miprov2", **options: Any) -> RunFolder:
    config = make_config(optimizer__name=optimizer, optimizer__copro=BUDGET, run__threads=2)
    folder = new_run(root, config=config, sizes=(8, 6, 3), **options)
    assert run(folder).status == "complete"
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of a one-predictor program, with demos."""
    return compiled(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of a Python program with two predictors."""
    return compiled(tmp_path_factory.mktemp("two"), optimizer="copro", steps=2)


@pytest.fixture
def artifact(made: RunFolder, tmp_path: Path) -> Path:
    """A copy of the artifact, to change at will."""
    return Path(shutil.copytree(made.artifact, tmp_path / "artifact"))


def saved(folder: Path) -> Any:
    return json.loads((folder / PROGRAM).read_bytes())


# -- plain DSPy opens it ---------------------------------------------------------------------------

PLAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
try:
    import oa_compile
except ModuleNotFoundError:
    pass
else:
    raise SystemExit(f"oa_compile is here: {oa_compile.__file__}")
import typing
import dspy
from dspy.utils import DummyLM

class Colour(dspy.Signature):
    thing: str = dspy.InputField()
    colour: typing.Literal["red", "green", "blue"] = dspy.OutputField()

program = getattr(dspy, sys.argv[3])(Colour)
program.load(sys.argv[2])
answers = [{"reasoning": "it is", "colour": "green"}]
with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter()):
    answered = program(thing="a leaf").colour
predictor = program.predictors()[0]
print(json.dumps({
    "answered": answered,
    "instruction": predictor.signature.instructions,
    "demos": [dict(demo) for demo in predictor.demos],
    "ours": sorted(name for name in sys.modules if name.startswith("oa_compile")),
}))
"""


@pytest.mark.parametrize(("kind", "module"), [("predict", "Predict"), ("chain_of_thought", "ChainOfThought")])
def test_plain_dspy_opens_the_program_where_we_are_not_installed(
    kind: str, module: str, tmp_path: Path
) -> None:
    folder = compiled(tmp_path, kind=kind)
    # -S reads no .pth file, which is how this checkout is installed; the libraries come by their path.
    plain = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PLAIN, sysconfig.get_path("purelib"),
         str(folder.artifact / PROGRAM), module],
        cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    told = json.loads(plain.stdout.splitlines()[-1])
    assert told["answered"] == "green"
    assert told["ours"] == []
    (ours,) = read_state(
        saved(folder.artifact), predictors=["self" if kind == "predict" else "predict"]
    ).values()
    assert told["instruction"] == ours["instruction"]
    assert told["demos"] == ours["demos"] != [], "this compile has demos to carry over"


# -- it names what made it -------------------------------------------------------------------------


def test_the_manifest_names_what_the_run_was_made_of(made: RunFolder) -> None:
    manifest, plan = load_manifest(made.artifact), plan_of(made)
    assert manifest.status == "complete"
    assert manifest.program.digest == plan.inputs.program.digest
    assert manifest.metric == plan.metric.digest
    card = load_card(made.inputs / "dataset")
    assert manifest.dataset == {name: info.digest for name, info in card.splits.items()}
    assert manifest.dataset["train"] == plan.inputs.train.digest
    assert manifest.models == {"task": "rule:1", "proposer": "rule:1"}
    assert manifest.versions == plan.versions
    assert manifest.adapter == "chat"
    assert manifest.parent == state_digest(dump_state(plan.program))
    assert manifest.program.signatures == {
        "self": [
            {"name": "thing", "role": "input", "type": "str"},
            {"name": "colour", "role": "output", "type": "Literal['red', 'green', 'blue']"},
        ]
    }
    ids = [record.id for record in plan.val_records]
    for scores in (manifest.scores, manifest.baseline):
        assert [row[0] for row in scores[0].rows] == ids
        assert scores[0].mean == pytest.approx(sum(row[1] for row in scores[0].rows) / len(ids))
    assert manifest.scores[0].candidate == manifest.program.state


def test_a_python_program_s_files_are_named(two_steps: RunFolder) -> None:
    manifest = load_manifest(two_steps.artifact)
    source = (two_steps.inputs / "program" / "program.py").read_bytes()
    assert manifest.program.files == {"program.py": digest_bytes(source)}
    assert set(manifest.program.signatures) == {"describe", "name"}


def test_the_state_in_the_artifact_is_the_one_its_manifest_names(two_steps: RunFolder) -> None:
    program = plan_of(two_steps).program
    state = read_state(saved(two_steps.artifact), predictors=["describe", "name"])
    manifest = load_manifest(two_steps.artifact)
    assert state_digest(state) == manifest.program.state
    apply_state(program, state)
    assert dump_state(program) == state


def test_the_provenance_is_an_in_toto_statement_with_slsa_s_shape(made: RunFolder) -> None:
    statement = json.loads((made.artifact / PROVENANCE).read_bytes())
    manifest = load_manifest(made.artifact)

    def bare(digest: str) -> dict[str, str]:
        return {"sha256": digest.removeprefix("sha256:")}

    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": MANIFEST, "digest": bare(manifest.digest)}]

    predicate = statement["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert set(definition) == {
        "buildType", "externalParameters", "internalParameters", "resolvedDependencies",
    }  # fmt: skip
    assert re.match(r"\w+:", definition["buildType"]), "a URI"
    assert definition["externalParameters"] == {"program": "colours", "optimizer": "miprov2", "seed": 0}
    dependencies = {entry["name"]: entry for entry in definition["resolvedDependencies"]}
    assert len(dependencies) == len(definition["resolvedDependencies"])
    assert dependencies["program"]["digest"] == bare(manifest.program.digest)
    for split in ("train", "val"):
        assert dependencies[split]["digest"] == bare(manifest.dataset[split])
    assert dependencies["model/task"]["uri"] == "urn:oacompile:model:rule:1"
    assert "test" not in dependencies

    assert set(details) == {"builder", "metadata", "byproducts"}
    assert details["builder"]["id"]
    assert details["metadata"]["invocationId"] == "run"
    rfc3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    begun, ended = details["metadata"]["startedOn"], details["metadata"]["finishedOn"]
    assert rfc3339.fullmatch(begun)
    assert rfc3339.fullmatch(ended)
    assert begun <= ended
    byproducts = {entry["name"]: entry["annotations"]["value"] for entry in details["byproducts"]}
    lane = byproducts["lanes"]["local"]
    assert lane["calls"] == byproducts["calls"]["made"] > 0
    assert lane["msat"] == 10 * lane["calls"]


# -- a change shows --------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values that hold no others."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inside = False
    for key, item in items:
        inside = True
        yield from leaves(item, (*path, key))
    if not inside:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same JSON type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return "something" if value is None else [*value, "more"] if isinstance(value, list) else {"more": "x"}


def at(whole: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        whole = whole[key]
    return whole


def test_any_change_to_the_manifest_is_noticed(artifact: Path) -> None:
    """Every value in it, one at a time."""
    original = (artifact / MANIFEST).read_bytes()
    paths = list(leaves(json.loads(original)))
    assert len(paths) > 50
    for path in paths:
        body = json.loads(original)
        at(body, path[:-1])[path[-1]] = changed(at(body, path))
        (artifact / MANIFEST).write_text(json.dumps(body))
        with pytest.raises(DigestMismatch) as caught:
            load_manifest(artifact)
        assert caught.value.exit_code == ExitCode.MISMATCH
        assert MANIFEST in caught.value.message


@pytest.mark.parametrize("where", [(), ("program",), ("search",), ("scores", 0)])
def test_a_field_too_many_or_too_few_in_the_manifest_is_refused(
    artifact: Path, where: tuple[Any, ...]
) -> None:
    original = (artifact / MANIFEST).read_bytes()
    body = json.loads(original)
    at(body, where)["sneaked_in"] = 1
    (artifact / MANIFEST).write_text(json.dumps(body))
    with pytest.raises(DigestMismatch, match="sneaked_in"):
        load_manifest(artifact)
    for name in at(json.loads(original), where):
        body = json.loads(original)
        del at(body, where)[name]
        (artifact / MANIFEST).write_text(json.dumps(body))
        if at(json.loads(original), where)[name] in ("", 1, {}, "val") or name == "media_type":
            continue  # a default: the same manifest, said shorter
        with pytest.raises(DigestMismatch):
            load_manifest(artifact)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_byte_of_the_manifest_changes_nothing_or_is_noticed(artifact: Path, data: st.DataObject) -> None:
    original = (artifact / MANIFEST).read_bytes()
    wanted = Manifest.model_validate_json(original)
    body = bytearray(original)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    (artifact / MANIFEST).write_bytes(body)
    try:
        assert load_manifest(artifact) == wanted
    except DigestMismatch:
        pass
    finally:
        (artifact / MANIFEST).write_bytes(original)


def test_another_program_under_the_manifest_is_noticed(artifact: Path) -> None:
    body = saved(artifact)
    body["signature"]["instructions"] += " Answer red."
    (artifact / PROGRAM).write_text(json.dumps(body))
    with pytest.raises(DigestMismatch, match=r"program\.json: not the program"):
        load_manifest(artifact)


def test_what_is_no_artifact_is_usage(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an artifact"):
        load_manifest(tmp_path)
    (artifact / PROGRAM).unlink()
    with pytest.raises(UsageError, match="is not an artifact"):
        load_manifest(artifact)


# -- program.json is read with care ----------------------------------------------------------------


def with_change(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(whole))
    at(copy, path[:-1])[path[-1]] = value
    return copy


ONE = {
    "traces": [],
    "train": [],
    "demos": [{"thing": "sky", "colour": "blue"}],
    "signature": {"instructions": "Name it.", "fields": [{"prefix": "Thing:", "description": "${thing}"}]},
    "lm": None,
    "metadata": {"dependency_versions": {"dspy": "3.4.1"}},
}
SPOILED: dict[str, Any] = {
    "not an object": [ONE],
    "an unknown key, which DSPy would set as an attribute": {**ONE, "forward": "evil"},
    "a missing key": {key: value for key, value in ONE.items() if key != "demos"},
    "an unknown key in the signature": with_change(ONE, ("signature", "strict"), True),
    "an unknown key in a field": with_change(ONE, ("signature", "fields", 0, "type"), "int"),
    "a field without its description": with_change(ONE, ("signature", "fields", 0), {"prefix": "Thing:"}),
    "a field that is a number": with_change(ONE, ("signature", "fields", 0), 7),
    "a field text that is a number": with_change(ONE, ("signature", "fields", 0, "prefix"), 7),
    "fields that are an object": with_change(ONE, ("signature", "fields"), {}),
    "an instruction that is none": with_change(ONE, ("signature", "instructions"), None),
    "a signature that is none": with_change(ONE, ("signature",), None),
    "a demo that is a string": with_change(ONE, ("demos", 0), "sky"),
    "demos that are an object": with_change(ONE, ("demos",), {}),
    "a model of its own": with_change(ONE, ("lm",), {"model": "openai/gpt-4o", "api_base": "http://evil"}),
}


def test_what_dspy_saves_is_read() -> None:
    parts = {"instruction": "Name it.", "fields": ONE["signature"]["fields"], "demos": ONE["demos"]}
    assert read_state(ONE, predictors=["self"]) == {"self": parts}
    part = {key: value for key, value in ONE.items() if key != "metadata"}
    assert read_state({"a": part, "metadata": {}}, predictors=["a"]) == {"a": parts}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_any_other_shape_of_program_json_is_refused(spoiled: str) -> None:
    with pytest.raises(DigestMismatch, match=r"program\.json"):
        read_state(SPOILED[spoiled], predictors=["self"])


@pytest.mark.parametrize("given_names", [["a"], ["a", "b", "c"], ["a", "x"], []])
def test_other_predictors_than_the_program_s_are_refused(given_names: list[str]) -> None:
    part = {key: value for key, value in ONE.items() if key != "metadata"}
    with pytest.raises(DigestMismatch, match="its predictors are"):
        read_state(dict.fromkeys(given_names, part), predictors=["a", "b"])


# -- no pickle -------------------------------------------------------------------------------------

WATCHED = """
import json, sys
from pathlib import Path
from tests.support.world import make_config, make_dataset, make_program, new_run, plan_of, run, RuleLane
from oa_compile.artifact.folder import dataset_of, read_inputs
from oa_compile.replay.player import replay
from oa_compile.validate.question import ask
from oa_compile.validate.runner import validate
import oa_compile.optimize.copro, oa_compile.optimize.gepa, oa_compile.optimize.miprov2
import pickle, _pickle, cloudpickle

seen = []
sys.addaudithook(lambda event, args: seen.append([event, repr(args)]) if event.startswith("pickle") else None)

def refuse(*args, **kwargs):
    raise SystemExit("something is pickled")

for module in (pickle, _pickle, cloudpickle):
    for name in ("dump", "dumps", "load", "loads"):
        setattr(module, name, refuse)
    for name in ("Pickler", "Unpickler"):  # classes that libraries derive from when they are imported
        if hasattr(module, name):
            refusing = {"dump": refuse, "load": refuse}
            setattr(module, name, type(name, (getattr(module, name),), refusing))

for optimizer in ("miprov2", "copro", "gepa"):
    config = make_config(optimizer__name=optimizer, optimizer__gepa={"max_metric_calls": 30})
    folder = new_run(Path.cwd() / optimizer, config=config, sizes=(8, 6, 4))
    assert run(folder).status == "complete"
    assert replay(folder.bundle).identical
    inputs = read_inputs(folder)
    question = ask(folder.path, program=inputs.program, config=config, dataset=dataset_of(folder))
    assert validate(question, lanes={"local": RuleLane()}).n == 4
print(json.dumps(seen))
"""


def test_nothing_is_pickled_or_unpickled_on_the_whole_path(tmp_path: Path) -> None:
    done = python(WATCHED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    left = [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pickle", ".bin"}]
    assert left == []
