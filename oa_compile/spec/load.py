"""From the files, variables and flags a person set to a checked ProgramSpec or Config.

Owns where settings come from and which wins: flag > ``OACOMPILE_*`` > the config file >
``[tool.oacompile]`` of the nearest pyproject.toml > the user's config > ``defaults.toml``. With `cli`
the only place that reads the environment. All problems of all files are reported at once.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from pydantic import BaseModel, ValidationError

from oa_compile.digest import digest_bytes, digest_json
from oa_compile.errors import Diagnostic, SpecError
from oa_compile.spec import positions, shape
from oa_compile.spec.config import Config
from oa_compile.spec.diagnose import Code, Locate, Located, diagnose, did_you_mean, dotted, make
from oa_compile.spec.layers import Layer, LayerName, NamedValues, Source, holder, leaves, merge, nest
from oa_compile.spec.program import ProgramSpec
from oa_compile.spec.source import TomlFile, read_toml, spec_error

PROGRAM_FILE = "program.toml"
PROGRAMS = Path("programs")
ENVIRONMENT_PREFIX = "OACOMPILE_"
DEFAULTS = Path(__file__).with_name("defaults.toml")

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class LoadedProgram:
    """A program spec and where it was read. `digest` is of the file's `text`; paths in the spec are
    relative to `folder`.
    """

    spec: ProgramSpec
    path: Path
    folder: Path
    digest: str
    text: str


@dataclass(frozen=True)
class LoadedConfig:
    """The config in effect. `sources` says for every dotted key where its value came from; `digest` is
    of the effective config, however it was put together; `path` is the config file, if there is one.
    """

    config: Config
    sources: Mapping[str, Source]
    digest: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Flag:
    """A command line option that sets a config key. None means that it was not given."""

    option: str
    value: Any


@dataclass(frozen=True)
class _FileLayer:
    name: LayerName
    data: Mapping[str, Any]
    file: TomlFile

    def locate(self, path: positions.Path) -> Located:
        return self.file.locate(path)


def load_program(path: Path) -> LoadedProgram:
    """The program at `path`: its folder, its ``program.toml``, or its name in ``programs/``.

    Raises SpecError.
    """
    if len(path.parts) == 1 and not path.exists() and (PROGRAMS / path / PROGRAM_FILE).exists():
        path = PROGRAMS / path
    file = path / PROGRAM_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise _missing(f"no {PROGRAM_FILE} in this folder", path)
    if not path.exists():
        near = [p.parent.name for folder in (path.parent, PROGRAMS) for p in folder.glob(f"*/{PROGRAM_FILE}")]
        raise _missing("no such program", path, near=did_you_mean(path.name, near))
    toml = read_toml(file)
    spec, problems = _validate(ProgramSpec, toml.data, toml.locate)
    if spec is None:
        raise spec_error(problems)
    return LoadedProgram(spec, file, file.parent, digest_bytes(toml.text.encode()), toml.text)


def load_config(
    path: Path | None = None,
    *,
    overrides: Mapping[str, Flag] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> LoadedConfig:
    """The config in effect for a command run in `folder` (the current one by default).

    `overrides` maps dotted keys to flags; `environment` stands in for the process's own. Raises
    SpecError with the diagnostics of every layer.
    """
    named, problems = _environment_layer(os.environ if environment is None else environment)
    files = _file_layers(path, folder or Path.cwd())
    layers: list[Layer] = [_flag_layer(overrides or {}), named, *files]
    top_file = files[0]

    def locate(where: positions.Path) -> Located:
        for end in range(len(where), 0, -1):
            if (layer := holder(layers, where[:end])) is not None:
                located = layer.locate(where)
                return located._replace(found=located.found and end == len(where))
        return top_file.locate(())

    config, found = _validate(Config, merge(layer.data for layer in layers), locate)
    if config is None or problems:
        raise spec_error((*problems, *found))
    return LoadedConfig(config, _sources(config, layers), digest_json(config.model_dump(mode="json")), path)


def environment_name(key: positions.Path) -> str:
    """The variable that sets a config key: ``run.seed`` -> ``OACOMPILE_RUN__SEED``."""
    return ENVIRONMENT_PREFIX + "__".join(str(step).upper().replace("-", "_") for step in key)


def _validate(
    model: type[_Model], data: Mapping[str, Any], locate: Locate
) -> tuple[_Model | None, tuple[Diagnostic, ...]]:
    # Strict JSON is the mode that takes arrays for tuples, and yet no "7" for 7 and no true for 1.
    text = json.dumps(data, default=str)
    try:
        return model.model_validate_json(text, strict=True), ()
    except ValidationError as error:
        return None, diagnose(error, model, locate)


def _flag_layer(overrides: Mapping[str, Flag]) -> NamedValues:
    given = {tuple(key.split(".")): flag for key, flag in overrides.items() if flag.value is not None}
    values = nest((key, flag.value) for key, flag in given.items())
    return NamedValues("flag", values, {key: flag.option for key, flag in given.items()})


def _environment_layer(variables: Mapping[str, str]) -> tuple[NamedValues, tuple[Diagnostic, ...]]:
    """The settings among `variables`. Names without ``__`` are not ours, unless one only lacks it."""
    values: dict[positions.Path, Any] = {}
    names: dict[positions.Path, str] = {}
    problems: list[Diagnostic] = []
    for name in sorted(variables):
        rest = name.removeprefix(ENVIRONMENT_PREFIX)
        if rest == name or not rest:
            continue
        if "__" in rest:
            steps = rest.lower().split("__")
            if steps[0] == "lanes" and len(steps) > 1:
                steps[1] = steps[1].replace("_", "-")  # a lane's name has hyphens, a variable cannot
            path = tuple(steps)
            values[path], names[path] = _from_text(variables[name], path), name
        elif meant := _SETTABLE.get(rest.replace("_", "")):
            message = f"the variable {name} sets nothing: tables are joined by two underscores"
            hint = f"did you mean `{meant}`?"
            problems.append(make(Code.UNKNOWN_KEY, message, filename=f"<{name}>", hint=hint))
    return NamedValues("environment", nest(values.items()), names), tuple(problems)


def _settable() -> dict[str, str]:
    """Variables of all keys outside the lanes and stages, by their names without underscores."""
    tables: list[tuple[positions.Path, type[BaseModel]]] = [((), Config)]
    found: dict[str, str] = {}
    for path, model in tables:
        for key, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                tables.append(((*path, key), field.annotation))
            elif path:
                name = environment_name((*path, key))
                found[name.removeprefix(ENVIRONMENT_PREFIX).replace("_", "")] = name
    return found


_SETTABLE = _settable()


def _from_text(text: str, path: positions.Path) -> Any:
    """A variable's value: TOML where the key takes something else than text, else the text itself."""
    expected = shape.follow(Config, path).annotation
    listed = shape.words(expected)
    if shape.expectation(expected) == "a string" or (listed and all(isinstance(w, str) for w in listed)):
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return value if isinstance(value, (bool, int, float, str, list, dict)) else text


def _file_layers(path: Path | None, folder: Path) -> list[Layer]:
    found: list[Layer] = []
    if path is not None:
        if not path.is_file():
            configs = [p.name for p in path.parent.glob("*.toml")]
            what = "a folder, not a config file" if path.is_dir() else "no such config file"
            raise _missing(what, path, near=did_you_mean(path.name, configs))
        file = read_toml(path)
        found.append(_FileLayer("file", file.data, file))
    if (project := _pyproject(folder)) is not None:
        found.append(project)
    user = platformdirs.user_config_path("oacompile") / "config.toml"
    if user.is_file():
        file = read_toml(user)
        found.append(_FileLayer("user", file.data, file))
    defaults = read_toml(DEFAULTS)
    # The default lane is for those who chose none; beside chosen ones it would quietly stand in.
    chosen = any({"lanes", "stages"} & layer.data.keys() for layer in found)
    values = {k: v for k, v in defaults.data.items() if not (chosen and k in {"lanes", "stages"})}
    return [*found, _FileLayer("default", values, defaults)]


def _pyproject(folder: Path) -> _FileLayer | None:
    """``[tool.oacompile]`` of the nearest pyproject.toml, if it has such a table."""
    here = folder.resolve()
    for parent in (here, *here.parents):
        path = parent / "pyproject.toml"
        if path.is_file():
            file = read_toml(path)
            table = file.data.get("tool", {}).get("oacompile")
            if not isinstance(table, dict):
                return None
            inside = TomlFile(path, file.text, file.data, root=("tool", "oacompile"))
            return _FileLayer("pyproject", table, inside)
    return None


def _sources(config: Config, layers: list[Layer]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for path, _value in leaves(config.model_dump()):
        layer = holder(layers, path)
        if layer is None or layer.name == "default":
            sources[dotted(path)] = Source("default", DEFAULTS.name)
            continue
        located = layer.locate(path)
        name = located.filename.strip("<>")
        where = f"{name}:{located.place.key.row}" if isinstance(layer, _FileLayer) else name
        sources[dotted(path)] = Source(layer.name, where)
    return sources


def _missing(message: str, path: Path, *, near: str = "") -> SpecError:
    hint = near or "`oacompile init` writes a program and a config to start from"
    return spec_error((make(Code.UNREADABLE_FILE, message, filename=str(path), hint=hint),))
