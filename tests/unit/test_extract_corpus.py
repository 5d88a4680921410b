"""The corpus: inputs that once broke reading, or that the fuzzer found to go their own way, read again.

``tests/fuzz/fuzz_extract.py`` says how it grows.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzzed import take

CORPUS = sorted((Path(__file__).parents[1] / "corpus" / "extract").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_it_is_read_to_its_end(path: Path) -> None:
    take(path.read_bytes())
