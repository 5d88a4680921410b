"""Announcements: written and read without loss, strangers' read sensibly, nonsense refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.money import MAX_MSAT
from oa_compile.swarm.protocol.event import Draft, Event, Keys, Tags
from oa_compile.swarm.protocol.nip89 import HANDLER_KIND, Handler, draft_handler, read_handler
from oa_compile.swarm.protocol.nip90 import ProtocolError

PROVIDER = Keys.from_hex("2" * 64)
TEXT = st.text(max_size=30)
MSAT = st.integers(0, MAX_MSAT)
HANDLERS = st.builds(
    Handler,
    provider=st.just(PROVIDER.public),
    name=TEXT,
    about=TEXT,
    models=st.lists(TEXT, max_size=3).map(tuple),
    price_msat=st.none() | MSAT,
    order=st.sampled_from(["result-first", "pay-first", "tab", ""]),
    network=st.sampled_from(["", "bitcoin", "regtest"]),
    operator=TEXT,
    encrypts=st.booleans(),
    tab_limit_msat=MSAT,
    created_at=st.integers(0, 2**40),
)


def announced(tags: Tags, content: str = "") -> Event:
    return Event("f" * 64, PROVIDER.public, 7, HANDLER_KIND, [["k", "5050"], *tags], content, "")


@settings(deadline=None, max_examples=60)
@given(HANDLERS)
def test_an_announcement_is_read_as_it_was_written(handler: Handler) -> None:
    event = PROVIDER.sign(draft_handler(handler), created_at=handler.created_at)
    assert read_handler(event) == handler


def test_an_announcement_on_the_wire() -> None:
    handler = Handler("", "Ada", "fast", ("smollm2",), 10, "tab", "regtest", "Ada & Co", True, 500)
    draft = draft_handler(handler)
    assert draft == Draft(
        HANDLER_KIND,
        [
            ["d", "oacompile-5050"],
            ["k", "5050"],
            ["handler", "compute_provider"],
            ["price", "10", "per-request", "msat"],
            ["order", "tab"],
            ["network", "regtest"],
            ["operator", "Ada & Co"],
            ["tab", "500"],
        ],
        draft.content,
    )
    assert json.loads(draft.content) == {
        "name": "Ada",
        "about": "fast",
        "description": "fast",
        "encryptionSupported": True,
        "nip90Params": {"model": {"required": False, "values": ["smollm2"]}},
    }


def test_who_announces_is_who_signed() -> None:
    draft = draft_handler(Handler("somebody else", created_at=5))
    handler = read_handler(PROVIDER.sign(draft, created_at=7))
    assert (handler.provider, handler.created_at) == (PROVIDER.public, 7)


def test_a_plain_providers_announcement() -> None:
    content = '{"name":"DVM","about":"I generate text","encryptionSupported":true,"nip90Params":{}}'
    tags = [["d", "x"], ["k", "5100"], ["p", "c" * 64, "", "operator"]]
    assert read_handler(announced(tags, content)) == Handler(
        PROVIDER.public, "DVM", "I generate text", operator="c" * 64, encrypts=True, created_at=7
    )


def test_nostr_dvm_has_a_word_of_its_own_for_encryption() -> None:
    assert read_handler(announced([], '{"name":"DVM","supportsEncryption":true}')).encrypts
    assert not read_handler(announced([], '{"name":"DVM","supportsEncryption":false}')).encrypts


def test_a_pylons_announcement() -> None:
    tags = [["handler", "compute_provider"], ["capability", "text"], ["price", "10"]]
    handler = read_handler(announced(tags, '{"name":"Pylon","description":"local","icon_url":null}'))
    assert handler == Handler(PROVIDER.public, "Pylon", "local", price_msat=10, created_at=7)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "text",
        "[]",
        "null",
        "5",
        "{",
        "[" * 100_000,
        '{"name":5,"about":[],"nip90Params":3}',
        '{"nip90Params":{"model":[]}}',
        '{"nip90Params":{"model":{"values":"m"}}}',
        '{"encryptionSupported":"yes"}',
    ],
)
def test_a_content_that_says_nothing(content: str) -> None:
    assert read_handler(announced([], content)) == Handler(PROVIDER.public, created_at=7)


def test_models_are_texts() -> None:
    content = '{"nip90Params":{"model":{"values":["a",5,null,"b"]}}}'
    assert read_handler(announced([], content)).models == ("a", "b")


@pytest.mark.parametrize(
    ("tag", "msat"),
    [
        (["price", "10"], 10),
        (["price", "10", "per-request"], 10),
        (["price", "10", "", "MSATS"], 10),
        (["price", "2", "per-request", "sat"], 2000),
        (["price", "10", "per-token", "msat"], None),
        (["price", "10", "per-request", "usd"], None),
    ],
)
def test_a_price_and_its_unit(tag: list[str], msat: int | None) -> None:
    assert read_handler(announced([tag])).price_msat == msat


@pytest.mark.parametrize(
    "tags",
    [
        [["price"]],
        [["price", ""]],
        [["price", "-1"]],
        [["price", "1e3"]],
        [["price", "9" * 5000]],
        [["price", str(MAX_MSAT), "per-request", "sat"]],
        [["order", "whenever"]],
        [["tab"]],
        [["tab", "1.5"]],
    ],
)
def test_terms_that_make_no_sense_are_refused(tags: Tags) -> None:
    with pytest.raises(ProtocolError):
        read_handler(announced(tags))


@pytest.mark.parametrize("tags", [[], [["k"]], [["k", "5100"]], [["k", "05050"]], [["K", "5050"]]])
def test_other_jobs_are_not_ours(tags: Tags) -> None:
    with pytest.raises(ProtocolError, match="5050"):
        read_handler(Event("f" * 64, PROVIDER.public, 7, HANDLER_KIND, tags, "", ""))


def test_another_kind_is_refused() -> None:
    with pytest.raises(ProtocolError, match="of kind"):
        read_handler(Event("f" * 64, PROVIDER.public, 7, 31989, [["k", "5050"]], "", ""))


@pytest.mark.parametrize(
    "changes",
    [
        {"price_msat": -1},
        {"tab_limit_msat": MAX_MSAT + 1},
        {"order": "whenever"},
        {"name": "\ud800"},
        {"operator": "\udfff"},
    ],
)
def test_what_could_not_be_read_again_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        draft_handler(replace(Handler(PROVIDER.public), **changes))


WORDS = "price order network operator tab p k encrypted 5050 10 -1 sat msat per-request operator"
VALUES = st.sampled_from(WORDS.split()) | st.text(st.characters(), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "about", "nip90Params", "model", "values"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(VALUES, max_size=5), max_size=6), TEXT | JSON.map(json.dumps))
def test_any_announcement_is_read_or_refused(tags: Tags, content: str) -> None:
    try:
        handler = read_handler(announced(tags, content))
    except ProtocolError:
        return
    assert handler.price_msat is None or 0 <= handler.price_msat <= MAX_MSAT
    assert 0 <= handler.tab_limit_msat <= MAX_MSAT
    assert all(isinstance(text, str) for text in (handler.name, handler.about, *handler.models))
