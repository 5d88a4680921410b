"""What a test expects a diagnostic to say, and catching what a loader says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from oa_compile.errors import Diagnostic, ExitCode, SpecError
from oa_compile.spec.diagnose import Code


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
