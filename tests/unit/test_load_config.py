"""Configs: where settings come from, which wins, and what is said when they do not hold."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from oa_compile.errors import Diagnostic
from oa_compile.spec.config import Config
from oa_compile.spec.diagnose import Code
from oa_compile.spec.layers import leaves
from oa_compile.spec.load import DEFAULTS, Flag, LoadedConfig, environment_name, load_config
from tests.support.diagnostics import Said, problems

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


def config(tmp_path: Path, text: str | None = None, **more: object) -> LoadedConfig:
    path = None
    if text is not None:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
    more.setdefault("environment", {})
    return load_config(path, folder=tmp_path, **more)  # type: ignore[arg-type]


def config_problems(tmp_path: Path, text: str | None = None, **more: object) -> tuple[Diagnostic, ...]:
    return problems(lambda: config(tmp_path, text, **more))


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
        loaded = config(
            tmp_path,
            CONFIG,
            environment={name: str(value).lower() if isinstance(value, bool) else str(value)},
        )
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
