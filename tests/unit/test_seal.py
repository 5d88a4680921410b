"""The swarm's cipher: NIP-44 as the NIP has it, NIP-04 read, and one kind of error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import nostr_sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.protocol.nip90 import ProtocolError
from oa_compile.swarm.protocol.seal import MOST_BYTES, SealCipher

LOOSE = settings(deadline=None, max_examples=40)
ALICE, BOB, EVE = (Keys.from_hex(digit * 64) for digit in "123")


def ours() -> SealCipher:
    return SealCipher(ALICE)


def theirs() -> SealCipher:
    return SealCipher(BOB)


@LOOSE
@given(st.text(min_size=1, max_size=300))
def test_what_one_writes_the_other_reads(text: str) -> None:
    sealed = ours().encrypt(BOB.public, text)
    assert theirs().decrypt(ALICE.public, sealed) == text
    assert ours().decrypt(BOB.public, sealed) == text, "who wrote it can read it, too"


def test_it_is_nip44_with_a_new_nonce_each_time() -> None:
    one, two = (ours().encrypt(BOB.public, "the same") for _ in range(2))
    assert one != two
    keys = nostr_sdk.Keys.parse(BOB.secret_hex)
    alice = nostr_sdk.PublicKey.parse(ALICE.public)
    assert nostr_sdk.nip44_decrypt(keys.secret_key(), alice, one) == "the same"


def test_a_vector_of_the_nip() -> None:
    first, second = (Keys.from_hex(f"{number:064x}") for number in (1, 2))
    payload = (
        "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABee0G5VSK0/9YypIObAtDKf"
        "YEAjD35uVkHyB0F4DwrcNaCXlCWZKaArsGrY6M9wnuTMxWfp1RTN9Xga8no+kF5Vsb"
    )
    assert SealCipher(second).decrypt(first.public, payload) == "a"


@pytest.mark.parametrize("text", ["", "plain", "é 🫠 \u2028\x00", "x" * 20_000])
def test_nip04_is_read(text: str) -> None:
    sealed = nostr_sdk.nip04_encrypt(
        nostr_sdk.SecretKey.parse(ALICE.secret_hex), nostr_sdk.PublicKey.parse(BOB.public), text
    )
    assert theirs().decrypt(ALICE.public, sealed) == text


def test_somebody_elses_text_is_not_readable() -> None:
    sealed = ours().encrypt(BOB.public, "for Bob")
    with pytest.raises(ProtocolError, match="cannot decrypt"):
        SealCipher(EVE).decrypt(ALICE.public, sealed)
    with pytest.raises(ProtocolError, match="cannot decrypt"):
        theirs().decrypt(EVE.public, sealed)


SEALED = ours().encrypt(BOB.public, "tampered with")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain text",
        "#not base64",
        "AAAA",
        "é" * 200,
        "\ud800",
        SEALED[:-1],
        SEALED[:-8],
        SEALED[:40] + ("A" if SEALED[40] != "A" else "B") + SEALED[41:],
        SEALED + "AAAA",
        SEALED + "?iv=",
        "?iv=",
        "x?iv=y",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==",
    ],
    ids=[str(number) for number in range(14)],  # the keys are new in every process
)
def test_what_is_not_encrypted_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="cannot decrypt"):
        theirs().decrypt(ALICE.public, text)


@LOOSE
@given(st.text(st.characters(), max_size=200), st.sampled_from(["", "?iv="]))
def test_any_text_decrypts_or_is_a_protocol_error(text: str, suffix: str) -> None:
    with pytest.raises(ProtocolError):
        theirs().decrypt(ALICE.public, text + suffix)


def test_the_longest_text() -> None:
    longest = "x" * MOST_BYTES
    assert theirs().decrypt(ALICE.public, ours().encrypt(BOB.public, longest)) == longest


@pytest.mark.parametrize("text", ["x" * (MOST_BYTES + 1), "é" * (MOST_BYTES // 2 + 1), "x" * 70_000])
def test_a_text_over_the_cap_is_refused_with_the_cap(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"too long to encrypt: .* 65,408"):
        ours().encrypt(BOB.public, text)


def test_an_empty_text_and_half_a_surrogate_pair_are_refused() -> None:
    with pytest.raises(ProtocolError, match="empty"):
        ours().encrypt(BOB.public, "")
    with pytest.raises(ProtocolError, match="surrogate"):
        ours().encrypt(BOB.public, "a\ud800")


@pytest.mark.parametrize(
    "peer", ["", "0" * 63, "0" * 64, "f" * 64, "zz" * 32, "é" * 64, "\ud800", BOB.public.upper()]
)
def test_a_peer_that_is_no_key_is_refused(peer: str) -> None:
    with pytest.raises(ProtocolError):
        ours().encrypt(peer, "text")
    with pytest.raises(ProtocolError):
        ours().decrypt(peer, SEALED)


def test_many_threads_share_one_cipher() -> None:
    writer, reader = ours(), theirs()
    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(lambda n: writer.encrypt(BOB.public, f"text {n}"), range(64)))
        opened = list(pool.map(lambda text: reader.decrypt(ALICE.public, text), sealed))
    assert opened == [f"text {n}" for n in range(64)]


def test_no_secret_is_shown() -> None:
    assert ALICE.secret_hex not in repr(ours())
    with pytest.raises(ProtocolError) as caught:
        ours().decrypt(BOB.public, "nothing")
    assert ALICE.secret_hex not in str(caught.value)
