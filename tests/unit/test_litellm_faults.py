"""How long a provider asks to wait, in each of the forms it may say so."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from oa_compile.lanes.litellm_faults import classify, retry_after

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:30 -0000"}, 90.0),  # parsed without a zone
        ({"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After-Ms": "1500", "Retry-After": "2"}, 1.5),
        ({"Retry-After-Ms": "x", "Retry-After": "2"}, 2.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers), now=NOW) == seconds


def test_the_key_is_masked_and_the_message_bounded() -> None:
    error = ValueError("key=hidden " * 500)
    told = classify(error, mask=lambda text: text.replace("hidden", "***"))
    assert "hidden" not in str(told)
    assert len(str(told)) < 600


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert "one" in str(classify(one, mask=str))
