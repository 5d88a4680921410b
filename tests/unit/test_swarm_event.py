"""Events: ids and signatures as nostr_sdk has them, and nothing foreign that verifies or raises."""

from __future__ import annotations

import json
from typing import Any

import coincurve
import nostr_sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from oa_compile.errors import UsageError
from oa_compile.swarm.protocol.event import (
    Draft,
    Event,
    Keys,
    decode_event,
    encode_event,
    event_from,
    event_id,
    verify,
)

LOOSE = settings(deadline=None, max_examples=60)
KEYS = Keys.from_hex("7" * 64)
HOSTILE = [
    "",
    "plain",
    'quotes " and \\ backslashes / slashes',
    "\n\r\t\b\f",
    "".join(map(chr, range(32))),
    "\x7f\x80\x9f\xa0\xad",
    "\u2028\u2029\ufeff\ufffe\uffff",
    "emoji 🫠 flags 🇪🇪 joined 👩‍👩‍👧",
    "שלום \u202e reversed",
    "e\u0301 is not \u00e9",
    "<script>&amp;\u0000",
    "\U0010ffff",
]


def theirs(event: Event) -> nostr_sdk.Event:
    return nostr_sdk.Event.from_json(encode_event(event).decode())


def signed(content: str = "hello", *, tags: list[list[str]] | None = None, kind: int = 5050) -> Event:
    return KEYS.sign(
        Draft(kind, [["i", "q", "text"]] if tags is None else tags, content), created_at=1_700_000_000
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_nostr_sdk_computes_the_same_id_and_accepts_the_signature(text: str) -> None:
    event = signed(text, tags=[["i", text, "text"], ["t", text]])
    other = theirs(event)
    assert other.verify_id()
    assert other.verify_signature()
    assert other.verify()
    assert verify(event)


@LOOSE
@given(st.text(max_size=50), st.lists(st.lists(st.text(max_size=20), min_size=1, max_size=4), max_size=5))
def test_any_text_has_one_id(text: str, tags: list[list[str]]) -> None:
    event = signed(text, tags=tags)
    assert theirs(event).verify()
    assert verify(event)
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("text", HOSTILE)
def test_events_of_nostr_sdk_verify_here(text: str) -> None:
    keys = nostr_sdk.Keys.generate()
    tags = [nostr_sdk.Tag.parse(["i", text, "text"])]
    other = nostr_sdk.EventBuilder(nostr_sdk.Kind(6050), text).tags(tags).finalize(keys)
    event = decode_event(other.as_json())
    assert event.id == other.id().to_hex()
    assert event.content == text
    assert event.pubkey == keys.public_key().to_hex()
    assert verify(event)


def test_keys_are_nostr_sdks() -> None:
    assert KEYS.public == nostr_sdk.Keys.parse(KEYS.secret_hex).public_key().to_hex()
    assert KEYS.secret_hex == "7" * 64
    assert Keys.from_hex(f" {KEYS.secret_hex}\n").public == KEYS.public
    assert Keys(bytes.fromhex(KEYS.secret_hex)).public == KEYS.public
    assert Keys.generate().public != Keys.generate().public


def test_an_event_is_of_now_unless_told() -> None:
    assert abs(KEYS.sign(Draft(1, [], "")).created_at - nostr_sdk.Timestamp.now().as_secs()) < 3600


@pytest.mark.parametrize(
    "change",
    [
        {"id": "0" * 64},
        {"pubkey": Keys.from_hex("8" * 64).public},
        {"created_at": 1_700_000_001},
        {"kind": 5051},
        {"tags": []},
        {"tags": [["i", "q", "text"], ["bid", "1"]]},
        {"tags": [["i", "q "], ["text"]]},
        {"content": "hello "},
        {"sig": "0" * 128},
        {"sig": signed("another").sig},
    ],
)
def test_what_was_changed_does_not_verify(change: dict[str, Any]) -> None:
    assert verify(signed())
    assert not verify(replace(signed(), **change))


def test_a_forger_who_recomputes_the_id_has_no_signature() -> None:
    event = replace(signed(), content="forged")
    event = replace(event, id=event_id(event.pubkey, event.created_at, event.kind, event.tags, event.content))
    assert not verify(event)
    mallory = Keys.from_hex("9" * 64).sign(Draft(5050, [], "forged"))
    assert not verify(replace(mallory, pubkey=KEYS.public))


def signed_as(pubkey: str) -> Event:
    """An event of KEYS that spells its key that way, id and signature otherwise right."""
    id_ = event_id(pubkey, 1, 1, [], "")
    signature = coincurve.PrivateKey(bytes.fromhex(KEYS.secret_hex)).sign_schnorr(bytes.fromhex(id_))
    return Event(id_, pubkey, 1, 1, [], "", signature.hex())


def test_a_key_has_one_spelling() -> None:
    assert verify(signed_as(KEYS.public))
    assert not verify(signed_as(KEYS.public.upper()))
    assert not verify(signed_as(KEYS.public[:8] + " " + KEYS.public[8:]))
    assert not verify(signed_as(KEYS.public + "\n"))


def test_a_signature_has_one_spelling() -> None:
    event = signed()
    assert not verify(replace(event, sig=event.sig.upper()))
    assert not verify(replace(event, sig=event.sig[:8] + " " + event.sig[8:]))
    assert not verify(replace(event, id=event.id.upper()))


@pytest.mark.parametrize(
    "bad",
    ["", "00", "0" * 63, "0" * 64, "f" * 64, "f" * 128, "0" * 128, "00" * 33, "zz" * 32, "é" * 64, "\ud800"],
)
@pytest.mark.parametrize("field", ["id", "pubkey", "sig"])
def test_bad_hex_is_false_and_never_an_exception(field: str, bad: str) -> None:
    event = replace(signed(), **{field: bad})
    assert not verify(event)
    if field == "pubkey" and bad != "\ud800":
        id_ = event_id(bad, event.created_at, event.kind, event.tags, event.content)
        assert not verify(replace(event, id=id_))


@LOOSE
@given(
    st.builds(
        Event,
        id=st.text(max_size=70),
        pubkey=st.text(max_size=70),
        created_at=st.integers(),
        kind=st.integers(),
        tags=st.lists(st.lists(st.text(max_size=5), max_size=3), max_size=3),
        content=st.text(st.characters(), max_size=5),
        sig=st.text(max_size=130),
    )
)
def test_verify_never_raises(event: Event) -> None:
    assert verify(event) is False
    own = event_id(KEYS.public, event.created_at, event.kind, event.tags, "x")
    assert verify(replace(event, id=own, pubkey=KEYS.public, content="x")) is False


def test_half_a_surrogate_pair_does_not_verify() -> None:
    assert not verify(replace(signed(), content="\ud800"))
    assert not verify(replace(signed(), tags=[["i", "\udfff"]]))


def fields(**changes: Any) -> dict[str, Any]:
    return {**json.loads(encode_event(signed())), **changes}


GARBAGE: list[Any] = [
    None,
    True,
    0,
    "",
    [],
    {},
    [fields()],
    {name: value for name, value in fields().items() if name != "sig"},
    fields(id=1),
    fields(id=None),
    fields(pubkey=["a"]),
    fields(created_at="1700000000"),
    fields(created_at=1.5),
    fields(created_at=True),
    fields(created_at=None),
    fields(kind="5050"),
    fields(tags=None),
    fields(tags={}),
    fields(tags=["i"]),
    fields(tags=[[1]]),
    fields(tags=[[None]]),
    fields(tags=[[["nested"]]]),
    fields(content=None),
    fields(sig=5),
]


@pytest.mark.parametrize("value", GARBAGE)
def test_what_is_no_event_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="not an event"):
        event_from(value)
    with pytest.raises(ValueError, match="not an event"):
        decode_event(json.dumps(value))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"nonsense",
        b'{"id":"\\ud800"}',
        b'{"id":"\xff"}',
        b'{"created_at":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        json.dumps(fields(extra=0)).replace("0}", "[" * 100_000 + "]" * 100_000 + "}").encode(),
    ],
    ids=[str(number) for number in range(9)],  # the keys are new in every process
)
def test_bytes_that_are_no_event_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not an event"):
        decode_event(raw)


@LOOSE
@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode_event(raw)


def test_fields_that_are_no_events_are_left_out() -> None:
    event = signed()
    value = {**json.loads(encode_event(event)), "ots": "…", "seen": [1]}
    assert decode_event(json.dumps(value)) == event
    assert event_from(value) == event


def test_the_first_tag_of_a_name_counts() -> None:
    event = signed(tags=[[], ["e"], ["e", "second"], ["p", "one"], ["p", "two"]])
    assert event.first("e") == ["e"]
    assert event.value("e") is None
    assert event.value("p") == "one"
    assert event.first("x") is None
    assert event.value("x") is None


@pytest.mark.parametrize(
    "text", ["", "zz" * 32, "00" * 31, "00" * 32, "ff" * 32, "77" * 33, "7" * 63, "é" * 64]
)
def test_what_is_no_secret_key_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(UsageError, match="not a secret key") as caught:
        Keys.from_hex(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_secret_key_has_32_bytes(size: int) -> None:
    with pytest.raises(UsageError, match="not a secret key"):
        Keys(b"\x07" * size)


def test_a_repr_shows_the_public_half_only() -> None:
    for shown in (repr(KEYS), str(KEYS), f"{KEYS}", repr([KEYS])):
        assert KEYS.public in shown
        assert KEYS.secret_hex not in shown
