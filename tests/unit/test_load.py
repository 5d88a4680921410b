"""Specs and configs: where settings come from, and what is said when they do not hold."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.digest import digest_file
from oa_compile.errors import Diagnostic, ExitCode, SpecError
from oa_compile.spec.config import Config
from oa_compile.spec.diagnose import Code
from oa_compile.spec.layers import leaves
from oa_compile.spec.load import (
    DEFAULTS,
    Flag,
    LoadedConfig,
    environment_name,
    load_config,
    load_program,
)
from oa_compile.spec.source import MAX_BYTES

PROGRAM = """\
name = "triage"
[signature]
instructions = "Say what the issue is."
inputs = [{ name = "title" }]
outputs = [{ name = "label", type = "enum", values = ["bug", "feature"] }]
[[metrics]]
kind = "exact_match"
field = "label"
"""

CONFIG = """\
[lanes.cheap]
kind = "litellm"
model = "openai/gpt-4o-mini"
[stages.compile]
task = "cheap"
"""


@pytest.fixture(autouse=True)
def _no_user_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


class Said(NamedTuple):
    """What a diagnostic must say; `column` 0 means anywhere in the row."""

    code: Code
    row: int
    column: int
    message: str
    hint: str


def problems(load: Callable[[], object]) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        load()
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.diagnostics
    return caught.value.diagnostics


def program_problems(tmp_path: Path, text: str | bytes) -> tuple[Diagnostic, ...]:
    path = tmp_path / "program.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return problems(lambda: load_program(path))


def config(tmp_path: Path, text: str | None = None, **more: object) -> LoadedConfig:
    path = None
    if text is not None:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
    more.setdefault("environment", {})
    return load_config(path, folder=tmp_path, **more)  # type: ignore[arg-type]


def config_problems(tmp_path: Path, text: str | None = None, **more: object) -> tuple[Diagnostic, ...]:
    return problems(lambda: config(tmp_path, text, **more))


# --- programs ---------------------------------------------------------------------------------------


def test_a_program_loads_by_its_folder_and_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "program.toml"
    file.write_text(PROGRAM, encoding="utf-8")
    loaded = load_program(tmp_path)
    assert loaded == load_program(file)
    assert (loaded.spec.name, loaded.path, loaded.folder) == ("triage", file, tmp_path)
    assert loaded.text == PROGRAM
    assert loaded.digest == digest_file(file)


def test_windows_line_ends_do_not_move_positions(tmp_path: Path) -> None:
    (found,) = program_problems(tmp_path, PROGRAM.replace("exact_match", "exact").replace("\n", "\r\n"))
    assert (found.row, found.column) == (7, 8)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "[[metrics]]",
            "[[metric]]",
            Said(Code.UNKNOWN_KEY, 6, 3, "`metric` is not a key of the file", "`metrics`"),
        ),
        (
            'field = "label"',
            'feild = "label"',
            Said(Code.UNKNOWN_KEY, 8, 1, "`feild` is not a key of `metrics[0]`", "did you mean `field`?"),
        ),
        (
            '"label", type',
            '"label", typ',
            Said(
                Code.UNKNOWN_KEY,
                5,
                30,
                "`typ` is not a key of `signature.outputs[0]`",
                "did you mean `type`?",
            ),
        ),
        (
            '"exact_match"',
            '"exactmatch"',
            Said(Code.UNKNOWN_VALUE, 7, 8, '`kind` cannot be "exactmatch"', "did you mean `exact_match`?"),
        ),
        ('"triage"', "3", Said(Code.WRONG_TYPE, 1, 8, "`name` must be a string, not an integer", "")),
        (
            '"triage"',
            '"My Triage"',
            Said(Code.BAD_FORM, 1, 8, "`name` must be lower-case letters and digits", ""),
        ),
        (
            '"Say what the issue is."',
            '""',
            Said(Code.BAD_FORM, 3, 16, "`instructions` must not be empty", ""),
        ),
        (
            'field = "label"',
            'field = "lable"',
            Said(Code.INCONSISTENT, 8, 9, "reads `lable`, which is not an output", "did you mean `label`?"),
        ),
        ('field = "label"', "", Said(Code.INCONSISTENT, 6, 3, "the `exact_match` metric needs `field`", "")),
        (
            '["bug", "feature"]',
            '["bug", "bug"]',
            Said(Code.INCONSISTENT, 5, 54, "`values` must be distinct", ""),
        ),
        (
            'field = "label"',
            'field = "label"\nweight = 0',
            Said(Code.OUT_OF_RANGE, 9, 10, "`weight` must be above 0, got 0", ""),
        ),
        (
            'field = "label"',
            'field = "label"\nweight = nan',
            Said(Code.OUT_OF_RANGE, 9, 10, "`weight` must be a finite number", ""),
        ),
        (
            'name = "triage"',
            'name = "triage"\nschema_version = 9',
            Said(
                Code.UNKNOWN_VALUE,
                2,
                18,
                "`schema_version` 9 is not known here",
                "version the file was written for",
            ),
        ),
        (
            'name = "triage"',
            'name = "triage"\n[splits]\nseed = "7"',
            Said(Code.WRONG_TYPE, 3, 8, "`seed` must be an integer, not a string", ""),
        ),
        (
            'name = "triage"',
            'name = "triage"\n[optimize]\ndemos = 1',
            Said(Code.WRONG_TYPE, 3, 9, "`demos` must be true or false, not an integer", ""),
        ),
        (
            'name = "triage"\n',
            "",
            Said(Code.MISSING_KEY, 1, 1, "the file needs `name`", "add `name = …`, a string"),
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(tmp_path: Path, before: str, after: str, said: Said) -> None:
    assert PROGRAM.count(before) == 1
    found = program_problems(tmp_path, PROGRAM.replace(before, after))
    first = next(d for d in found if d.code == said.code)
    assert (first.row, first.column) == (said.row, said.column)
    assert said.message in first.message
    assert said.hint in first.hint
    assert first.name == said.code.short_name
    assert first.filename == str(tmp_path / "program.toml")


def test_all_problems_are_reported_in_order(tmp_path: Path) -> None:
    text = PROGRAM.replace('"triage"', "3").replace("feild", "x").replace('kind = "', 'sort = "')
    found = program_problems(tmp_path, text + "weight = -1\n")
    assert [(d.row, d.code) for d in found] == [
        (1, Code.WRONG_TYPE),
        (6, Code.MISSING_KEY),
        (7, Code.UNKNOWN_KEY),
        (9, Code.OUT_OF_RANGE),
    ]


def test_a_misspelt_key_is_not_missing_as_well(tmp_path: Path) -> None:
    found = program_problems(tmp_path, PROGRAM.replace("instructions =", "instruction ="))
    assert [d.code for d in found] == [Code.UNKNOWN_KEY]


def test_no_raw_phrase_of_pydantic_is_left(tmp_path: Path) -> None:
    text = 'name = 1\nsignature = 2\nmodule = 3\noptimize = 4\nmetrics = 5\nextract = [6]\nsplits = "7"\n'
    for found in program_problems(tmp_path, text):
        assert found.code == Code.WRONG_TYPE
        for phrase in ("Input", "Value error", "valid", "instance"):
            assert phrase not in found.message


@pytest.mark.parametrize(
    ("content", "code", "row", "message"),
    [
        (b"", Code.UNREADABLE_FILE, 1, "the file is empty"),
        (b" \n\n", Code.UNREADABLE_FILE, 1, "the file is empty"),
        (b"#" * (MAX_BYTES + 1), Code.UNREADABLE_FILE, 1, "larger than"),
        (b"\xef\xbb\xbfname = 1", Code.BAD_ENCODING, 1, "byte order mark"),
        ("name = 1".encode("utf-16"), Code.BAD_ENCODING, 1, "byte order mark"),
        (b"name = 1\nx = '\xff'", Code.BAD_ENCODING, 2, "byte 0xff is not UTF-8"),
        (b"a = 1\nb = = 2\n", Code.TOML_SYNTAX, 2, "not TOML"),
        (b"a = 1\na = 2\n", Code.TOML_SYNTAX, 2, "not TOML"),
        (b"a = 1\nb = [1,\n", Code.TOML_SYNTAX, 2, "not TOML"),
        (b"{}", Code.TOML_SYNTAX, 1, "not TOML"),
        (b"a = " + b"[" * 100_000, Code.TOML_SYNTAX, 1, "nested too deeply"),
        (bytes(range(256)) * 100, Code.BAD_ENCODING, 2, "is not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_says_so(
    tmp_path: Path, content: bytes, code: Code, row: int, message: str
) -> None:
    (found,) = program_problems(tmp_path, content)
    assert (found.code, found.row) == (code, row)
    assert message in found.message


@given(st.integers(0, len(PROGRAM)), st.integers(0, 12), st.text(max_size=8))
def test_no_damage_ends_in_anything_but_diagnostics(
    tmp_path_factory: pytest.TempPathFactory, at: int, gone: int, put: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes((PROGRAM[:at] + put + PROGRAM[at + gone :]).encode("utf-8", "surrogatepass"))
    diagnostics: tuple[Diagnostic, ...] | None = None
    try:
        load_program(path)
    except SpecError as error:
        diagnostics = error.diagnostics
    assert diagnostics != ()
    rows = path.read_bytes().count(b"\n") + 1
    for found in diagnostics or ():
        assert 1 <= found.row <= rows
        assert found.column >= 1
        assert found.message


def test_a_missing_program_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "triage").mkdir()
    (tmp_path / "triage" / "program.toml").write_text(PROGRAM, encoding="utf-8")
    (found,) = problems(lambda: load_program(tmp_path / "triagge"))
    assert (found.code, found.hint) == (Code.UNREADABLE_FILE, "did you mean `triage`?")


def test_a_folder_without_a_program_says_what_to_do(tmp_path: Path) -> None:
    (found,) = problems(lambda: load_program(tmp_path))
    assert "no program.toml" in found.message
    assert "oacompile init" in found.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text(PROGRAM, encoding="utf-8")
    path.chmod(0)
    (found,) = problems(lambda: load_program(path))
    assert "Permission denied" in found.message


# --- configs ----------------------------------------------------------------------------------------


def test_defaults_are_a_whole_config_and_equal_the_models(tmp_path: Path) -> None:
    defaults = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    from_models = Config.model_validate({key: defaults[key] for key in ("lanes", "stages")})
    assert config(tmp_path).config == from_models
    written = {path for path, _value in leaves(defaults)}
    optional = {path for path, value in leaves(from_models.model_dump()) if value is None}
    in_comments = DEFAULTS.read_text(encoding="utf-8")
    for path, _value in leaves(from_models.model_dump(exclude={"lanes", "stages"})):
        if path in optional:
            assert f"\n# {path[-1]} = " in in_comments, path
        else:
            assert path in written, path


def test_each_place_wins_over_the_next(tmp_path: Path) -> None:
    user = tmp_path / "home" / "oacompile" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[run]\nseed = 1\nthreads = 1\n[gates]\nmin_score = 0.1\n[budget]\ncalls = 1\n")
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'x'\n[tool.oacompile.run]\nseed = 2\nthreads = 2\n"
        "[tool.oacompile.budget]\ncalls = 2\n"
    )
    text = CONFIG + "[run]\nseed = 3\nthreads = 3\n"
    loaded = config(
        tmp_path,
        text,
        environment={"OACOMPILE_RUN__SEED": "4", "HOME": "/"},
        overrides={"run.seed": Flag("--seed", 5), "run.threads": Flag("--threads", None)},
    )
    run, sources = loaded.config.run, {key: str(value) for key, value in loaded.sources.items()}
    assert (run.seed, sources["run.seed"]) == (5, "--seed")
    assert (run.threads, sources["run.threads"]) == (3, f"{tmp_path / 'config.toml'}:8")
    assert (loaded.config.budget.calls, sources["budget.calls"]) == (2, f"{tmp_path / 'pyproject.toml'}:7")
    assert (loaded.config.gates.min_score, sources["gates.min_score"]) == (0.1, f"{user}:5")
    assert (loaded.config.gates.alpha, sources["gates.alpha"]) == (0.05, "default")
    without_flag = config(tmp_path, text, environment={"OACOMPILE_RUN__SEED": "4"})
    assert without_flag.config.run.seed == 4
    assert str(without_flag.sources["run.seed"]) == "OACOMPILE_RUN__SEED"
    assert without_flag.digest != loaded.digest


def test_the_nearest_pyproject_is_the_one_above(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.oacompile.run]\nseed = 9\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert load_config(folder=below, environment={}).config.run.seed == 9
    (below / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert load_config(folder=below, environment={}).config.run.seed == 0


def test_every_value_has_a_source(tmp_path: Path) -> None:
    loaded = config(tmp_path, CONFIG)
    names = {".".join(map(str, path)) for path, _value in leaves(loaded.config.model_dump())}
    assert loaded.sources.keys() == names


def test_the_default_lane_does_not_stand_beside_chosen_ones(tmp_path: Path) -> None:
    loaded = config(tmp_path, CONFIG)
    assert set(loaded.config.lanes) == {"cheap"}
    assert set(loaded.config.stages) == {"compile"}


def test_a_lane_of_another_kind_replaces_the_one_below(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.oacompile.lanes.cheap]\nkind = "litellm"\nmodel = "x"\napi_key_env = "K"\nmax_tokens = 7\n'
    )
    other = config(tmp_path, '[lanes.cheap]\nkind = "embedded"\n[stages.compile]\ntask = "cheap"\n')
    assert other.config.lanes["cheap"].kind == "embedded"
    same = config(tmp_path, CONFIG).config.lanes["cheap"]
    assert (same.model, same.max_tokens) == ("openai/gpt-4o-mini", 7)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("OACOMPILE_RUN__SEED", "7", "run.seed", 7),
        ("OACOMPILE_BUDGET__COST", "0.5usd", "budget.cost", "0.5usd"),
        ("OACOMPILE_BUDGET__COST", "500", "budget.cost", 500),
        ("OACOMPILE_OPTIMIZER__PREFLIGHT", "false", "optimizer.preflight", False),
        ("OACOMPILE_OPTIMIZER__NAME", "gepa", "optimizer.name", "gepa"),
        ("OACOMPILE_LANES__MY_LANE__MODEL", "123", "lanes.my-lane.model", "123"),
        ("OACOMPILE_LANES__MY_LANE__TEMPERATURE", "0.5", "lanes.my-lane.temperature", 0.5),
        ("OACOMPILE_STAGES__COMPILE__TASK", "my-lane", "stages.compile.task", "my-lane"),
    ],
)
def test_variables_set_values_of_the_right_type(
    tmp_path: Path, name: str, text: str, key: str, value: object
) -> None:
    source = CONFIG.replace("cheap", "my-lane")
    found: object = config(tmp_path, source, environment={name: text}).config.model_dump()
    for step in key.split("."):
        found = found[step]  # type: ignore[index]
    assert found == value
    assert type(found) is type(value)


def test_every_key_can_be_set_by_its_variable(tmp_path: Path) -> None:
    plain = config(tmp_path, CONFIG)
    settings = plain.config.model_dump(
        mode="json", exclude_none=True, exclude={"schema_version", "description"}
    )
    for path, value in leaves(settings):
        if value == {}:  # all of its keys are not set
            continue
        name = environment_name(path)
        loaded = config(tmp_path, CONFIG, environment={name: str(value).lower()})
        assert str(loaded.sources[".".join(path)]) == name
        assert loaded.config == plain.config


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    assert config(tmp_path, environment={"OACOMPILE_SOMETHING": "1", "OACOMPILE_": "2"}).config.run.seed == 0


def test_a_variable_with_one_underscore_is_not_silently_nothing(tmp_path: Path) -> None:
    (found,) = config_problems(tmp_path, environment={"OACOMPILE_RUN_SEED": "7"})
    assert (found.filename, found.hint) == ("<OACOMPILE_RUN_SEED>", "did you mean `OACOMPILE_RUN__SEED`?")


def test_problems_name_the_layer_they_came_from(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.oacompile.run]\nseed = 'x'\n")
    found = config_problems(
        tmp_path,
        CONFIG + "[budget]\ncalls = -1\n",
        environment={"OACOMPILE_RUN__THREDS": "3"},
        overrides={"gates.alpha": Flag("--alpha", 2.0)},
    )
    assert [(d.filename, d.row, d.code) for d in found] == [
        (str(tmp_path / "config.toml"), 7, Code.OUT_OF_RANGE),
        (str(tmp_path / "pyproject.toml"), 2, Code.WRONG_TYPE),
        ("<--alpha>", 1, Code.OUT_OF_RANGE),
        ("<OACOMPILE_RUN__THREDS>", 1, Code.UNKNOWN_KEY),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "seed = 3\n" + CONFIG,
            Said(Code.UNKNOWN_KEY, 1, 0, "`seed` is not a key of the file", "belongs under [run]"),
        ),
        (
            CONFIG + '[optimizer]\nauto = "light"\n',
            Said(
                Code.UNKNOWN_KEY,
                7,
                0,
                "`auto` is not a key of [optimizer]",
                "[optimizer.miprov2] or [optimizer.gepa]",
            ),
        ),
        (
            CONFIG.replace("litellm", "litelm"),
            Said(Code.UNKNOWN_VALUE, 2, 0, "`kind` cannot be", "`litellm`"),
        ),
        (
            CONFIG.replace('kind = "litellm"\n', ""),
            Said(Code.MISSING_KEY, 1, 0, "[lanes.cheap] needs `kind`", "embedded"),
        ),
        (
            CONFIG.replace('task = "cheap"', 'task = "cheep"'),
            Said(Code.INCONSISTENT, 5, 0, "`cheep`", "`cheap`"),
        ),
        (
            CONFIG.replace("stages.compile", "stages.compil"),
            Said(Code.UNKNOWN_KEY, 4, 0, "`compil`", "`compile`"),
        ),
        (
            CONFIG.replace("stages.compile", "stages.verify"),
            Said(Code.INCONSISTENT, 4, 0, "[stages.compile]", ""),
        ),
        (
            CONFIG.replace("lanes.cheap", "lanes.Cheap"),
            Said(Code.BAD_FORM, 1, 0, "`Cheap` must be lower-case", ""),
        ),
        (CONFIG + '[budget]\ncost = "5 euros"\n', Said(Code.BAD_FORM, 7, 0, "not an amount", "")),
        (
            CONFIG + "[budget]\ncost = 1.5\n",
            Said(Code.WRONG_TYPE, 7, 0, "an integer or a string, not a float", ""),
        ),
        (CONFIG + '[run]\nconfirm_above = "much"\n', Said(Code.BAD_FORM, 7, 0, "not an amount", "")),
        (
            CONFIG + '[lanes.both]\nkind = "fallback"\nlanes = ["cheap", "chep"]\n',
            Said(Code.INCONSISTENT, 8, 0, "`chep`", "did you mean `cheap`?"),
        ),
        (
            CONFIG.replace("[stages.compile]\ntask", "[stage.compile]\ntask"),
            Said(Code.UNKNOWN_KEY, 4, 0, "`stage`", "stages"),
        ),
    ],
)
def test_what_is_wrong_with_a_config(tmp_path: Path, text: str, said: Said) -> None:
    found = config_problems(tmp_path, text)
    assert (found[0].code, found[0].row) == (said.code, said.row)
    assert said.message in found[0].message
    assert said.hint in found[0].hint


def test_a_missing_config_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "embedded.toml").write_text(CONFIG)
    (found,) = problems(lambda: load_config(tmp_path / "embeded.toml", environment={}))
    assert found.hint == "did you mean `embedded.toml`?"
    (found,) = problems(lambda: load_config(tmp_path, environment={}))
    assert "a folder" in found.message
