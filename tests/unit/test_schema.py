"""The published schemas: drift, dialect, and agreement with the models."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from oa_compile.spec.load import DEFAULTS
from oa_compile.spec.schema import MODELS, json_schema, schema_text

ROOT = Path(__file__).parents[2]

PROGRAM: dict[str, Any] = {
    "name": "triage",
    "signature": {
        "instructions": "Say what it is.",
        "inputs": [{"name": "title"}],
        "outputs": [{"name": "label", "type": "enum", "values": ["bug", "feature"]}],
    },
    "metrics": [{"kind": "exact_match", "field": "label"}],
}


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema(name))


@pytest.mark.parametrize("name", MODELS)
def test_the_checked_in_schema_is_the_generated_one(name: str) -> None:
    path = ROOT / "schemas" / f"{name}.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(name), (
        f"run: oacompile schema {name} > schemas/{name}.schema.json"
    )


@pytest.mark.parametrize("name", MODELS)
def test_it_is_draft_2020_12_and_names_its_version(name: str) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:oacompile:schema:{name}:1"
    assert '"null"' not in json.dumps(schema)


@pytest.mark.parametrize("name", MODELS)
def test_every_table_is_described_and_closed(name: str) -> None:
    schema = json_schema(name)
    for label, table in {"": schema, **schema["$defs"]}.items():
        assert table["description"], label
        assert table["additionalProperties"] is False, label


def test_attribute_docstrings_are_the_descriptions() -> None:
    fields = json_schema("program")["$defs"]["FieldSpec"]["properties"]
    assert fields["values"]["description"] == "The allowed values of an `enum`."


FILES = [
    *(("config", path) for path in sorted(ROOT.glob("configs/*.toml"))),
    ("config", DEFAULTS),
    *(("program", path) for path in sorted(ROOT.glob("programs/*/program.toml"))),
    *(("config", path) for path in sorted(ROOT.glob("oa_compile/cli/templates/configs/*.toml"))),
]


@pytest.mark.parametrize(("name", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _name, path in FILES])
def test_the_shipped_files_hold(name: str, path: Path) -> None:
    validator(name).validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Not A Slug"},
        {"nam": "x"},
        {"metrics": []},
        {"schema_version": 2},
        {"signature": {"instructions": "", "inputs": [], "outputs": []}},
        {"splits": {"train": 2}},
        {"metrics": [{"kind": "exact"}]},
    ],
)
def test_what_the_schema_refuses_the_model_refuses(change: dict[str, Any]) -> None:
    validator("program").validate(PROGRAM)
    MODELS["program"].model_validate_json(json.dumps(PROGRAM), strict=True)
    wrong = PROGRAM | change
    assert not validator("program").is_valid(wrong)
    with pytest.raises(ValidationError):
        MODELS["program"].model_validate_json(json.dumps(wrong), strict=True)


@pytest.mark.parametrize(
    ("config", "holds"),
    [
        ({"run": {"seed": 1}}, True),
        ({"stages": {"compile": {"proposer": "big"}}}, True),
        ({"lanes": {"a": {"kind": "embedded"}}}, True),
        ({"lanes": {"a": {"kind": "embeded"}}}, False),
        ({"lanes": {"a": {"kind": "litellm"}}}, False),
        ({"lanes": {"Bad Name": {"kind": "embedded"}}}, False),
        ({"stages": {"compil": {"task": "a"}}}, False),
        ({"run": {"threads": 0}}, False),
    ],
)
def test_a_config_file_may_be_partial_but_not_wrong(config: dict[str, Any], holds: bool) -> None:
    assert validator("config").is_valid(config) is holds
