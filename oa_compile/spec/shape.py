"""What the models expect at a place of a file: which keys, which words, which type.

Owns reading the pydantic models' own declarations, so that a hint can never name a key or a value
that does not exist. Says nothing about a particular file.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from oa_compile.spec.positions import Path

KEY_STEP = "[key]"
"""What pydantic appends to a location when it is the key, and not its value, that does not hold."""

_SCALARS = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    Decimal: "a number",
    tuple: "an array",
    dict: "a table",
}


class Shape(NamedTuple):
    """What is expected at `path`. `owner` is the model that holds its last key, if a model does."""

    path: Path
    owner: type[BaseModel] | None
    annotation: Any
    is_key: bool = False


def follow(model: type[BaseModel], location: Path) -> Shape:
    """The shape at a pydantic error's `location`, which also names union members: these are left out."""
    path: Path = ()
    owner: type[BaseModel] | None = None
    annotation: Any = model
    for step in location:
        if step == KEY_STEP:
            return Shape(path, owner, annotation, is_key=True)
        members = list(_members(annotation))
        models = [member for member in members if _is_model(member)]
        tagged = [member for member in models if len(models) > 1 and step in _tags(member)]
        if tagged:
            annotation = tagged[0]
            continue
        origin = next((get_origin(member) for member in members if get_origin(member) in (tuple, dict)), None)
        if models:
            owner = models[0]
            field = owner.model_fields.get(str(step))
            annotation = field.annotation if field else None
        elif origin is not None:
            owner = None
            arguments = next(get_args(member) for member in members if get_origin(member) is origin)
            annotation = arguments[1] if origin is dict else arguments[0]
        else:
            break
        path = (*path, step)
    return Shape(path, owner, annotation)


def keys(annotation: Any) -> list[str]:
    """The keys a table may have there; none if they are free."""
    names: dict[str, None] = {}
    for member in _members(annotation):
        if _is_model(member):
            names.update(dict.fromkeys(member.model_fields))
        elif get_origin(member) is dict:
            names.update(dict.fromkeys(map(str, words(get_args(member)[0]))))
    return list(names)


def words(annotation: Any) -> list[Any]:
    """The values allowed there, if they are listed: of a Literal, or the kinds of a tagged union."""
    found: list[Any] = []
    for member in _members(annotation):
        if get_origin(member) is Literal:
            found += get_args(member)
    models = [member for member in _members(annotation) if _is_model(member)]
    if len(models) > 1:
        found += [tag for member in models for tag in _tags(member)]
    return found


def expectation(annotation: Any) -> str:
    """The type in words: ``an integer or a string``."""
    phrases: dict[str, None] = {}
    for member in _members(annotation):
        if _is_model(member):
            phrases["a table"] = None
        elif get_origin(member) is Literal:
            phrases["one of " + ", ".join(map(str, get_args(member)))] = None
        else:
            phrases[_SCALARS.get(get_origin(member) or member, "another value")] = None
    return " or ".join(phrases)


def homes(model: type[BaseModel], key: str, *, within: str = "") -> list[str]:
    """Dotted names of the tables below `model` that do have `key`. Free keys are written ``*``."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        table = f"{within}.{name}".lstrip(".")
        for member in _members(field.annotation):
            free = get_origin(member) is dict
            inner = get_args(member)[1] if free else member
            for target in _members(inner):
                if _is_model(target):
                    below = f"{table}.*" if free else table
                    found += [below] if key in target.model_fields else []
                    found += homes(target, key, within=below)
    return list(dict.fromkeys(found))


def is_table(annotation: Any) -> bool:
    """Whether a table with known keys stands there."""
    return any(_is_model(member) for member in _members(annotation))


def is_array_of_tables(annotation: Any) -> bool:
    """Whether an array of tables with known keys stands there."""
    return any(get_origin(m) is tuple and is_table(get_args(m)[0]) for m in _members(annotation))


def _is_model(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, BaseModel)


def _tags(member: type[BaseModel]) -> list[Any]:
    field = member.model_fields.get("kind")
    return words(field.annotation) if field else []


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, unions and Annotated opened, None left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _members(argument)
    elif annotation not in (None, type(None)):
        yield annotation
