"""docs/metrics.md: its examples hold, and its table names every kind with its tier."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from oa_compile.evaluate.metrics import build_metric
from oa_compile.spec.metrics import AnyMetricSpec
from oa_compile.spec.program import ProgramSpec

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_hold(text: str, tmp_path: Path) -> None:
    signature = {
        "instructions": "Plan.",
        "inputs": [{"name": "issue"}],
        "outputs": [{"name": "plan"}],
    }
    spec = ProgramSpec.model_validate({"name": "demo", "signature": signature, **tomllib.loads(text)})
    assert build_metric(spec, tmp_path).rules


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


def test_the_table_names_every_kind_with_its_tier() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, flags=re.MULTILINE))
    union, _ = get_args(AnyMetricSpec)
    known = {
        kind: model.natural_tier
        for model in get_args(union)
        for kind in get_args(model.model_fields["kind"].annotation)
    }
    assert told == known
