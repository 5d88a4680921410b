"""BOLT11: the specification's own examples, an exact inverse, and a refusal for everything else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from oa_compile.money import MAX_MSAT, MSAT_PER_BTC
from oa_compile.swarm.lightning import bech32, bolt11
from oa_compile.swarm.lightning.bolt11 import (
    DEFAULT_FEATURES,
    MOST_DESCRIPTION_BYTES,
    PREFIXES,
    Invoice,
    InvoiceError,
    NodeKey,
    decode,
    encode,
)

LOOSE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

# The specification's examples are signed with one key, and pay for one hash.
SECRET = bytes.fromhex("e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734")
PAYEE = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
HASH = "0001020304050607080900010203040506070809000102030405060708090102"
STAMP = 1_496_314_658
CAKE = "3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1"

DONATION = (
    "lnbc1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2urs"
    "dae8g6twvus8g6rfwvs8qun0dfjkxaq8rkx3yf5tcsyz3d73gafnh3cax9rn449d9p5uxz9ezhhypd0elx87sjle52x86fux2ypatg"
    "ddc6k63n7erqz25le42c4u4ecky03ylcqca784w"
)
COFFEE = (
    "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5r"
    "qwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhe"
    "dh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"
)
NONSENSE = (
    "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc"
    "7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpn"
    "l2jfll544esqchsrny"
)
HASHED = (
    "lnbc20m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7"
    "xmw5fk98klysy043l2ahrqscc6gd6ql3jrc5yzme8v4ntcewwz5cnw92tz0pc8qcuufvq7khhr8wpald05e92xw006sq94mg8v2ndf"
    "4sefvf9sygkshp5zfem29trqq2yxxz7"
)
TESTNET = (
    "lntb20m1pvjluezhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqw"
    "zqfqqqsyqcyq5rqwzqfqypqfpp3x9et2e20v6pu37c5d9vax37wxq72un98kmzzhznpurw9sgl2v0nklu2g4d0keph5t7tj9tcqd8r"
    "exnd07ux4uv2cjvcqwaxgj7v4uwn5wmypjd5n69z2xm3xgksg28nwht7f6zspwp3f9t"
)
ROUTED = (
    "lnbc20m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7"
    "xmw5fk98klysy043l2ahrqsfpp3qjmp7lwpagxun9pygexvgpjdc4jdj85fr9yq20q82gphp2nflc7jtzrcazrra7wwgzxqc8u7754"
    "cdlpfrmccae92qgzqvzq2ps8pqqqqqqpqqqqq9qqqvpeuqafqxu92d8lr6fvg0r5gv0heeeqgcrqlnm6jhphu9y00rrhy4grqszsvp"
    "cgpy9qqqqqqgqqqqq7qqzqj9n4evl6mr5aj9f58zp6fyjzup6ywn3x6sk8akg5v4tgn2q8g4fhx05wf6juaxu9760yp46454gpg5mt"
    "zgerlzezqcqvjnhjh8z3g2qqdhhwkj"
)
PICO = (
    "lnbc9678785340p1pwmna7lpp5gc3xfm08u9qy06djf8dfflhugl6p7lgza6dsjxq454gxhj9t7a0sd8dgfkx7cmtwd68yetpd5s9x"
    "ar0wfjn5gpc8qhrsdfq24f5ggrxdaezqsnvda3kkum5wfjkzmfqf3jkgem9wgsyuctwdus9xgrcyqcjcgpzgfskx6eqf9hzqnteypz"
    "xz7fzypfhg6trddjhygrcyqezcgpzfysywmm5ypxxjemgw3hxjmn8yptk7untd9hxwg3q2d6xjcmtv4ezq7pqxgsxzmnyyqcjqmt0w"
    "fjjq6t5v4khxxqyjw5qcqp2rzjq0gxwkzc8w6323m55m4jyxcjwmy7stt9hwkwe2qxmy8zpsgg7jcuwz87fcqqeuqqqyqqqqlgqqqq"
    "n3qq9qn07ytgrxxzad9hc4xt3mawjjt8znfv8xzscs7007v9gh9j569lencxa8xeujzkxs0uamak9aln6ez02uunw6rd2ht2sqe4hz"
    "8thcdagpleym0j"
)
BEANS = (
    "lnbc25m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5vdhkven9v5sxyetpdeessp5zyg3zy"
    "g3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q5sqqqqqqqqqqqqqqqpqsq67gye39hfg3zd8rgc80k32tvy9xk2xunw"
    "m5lzexnvpx6fd77en8qaq424dxgt56cag2dpt359k3ssyhetktkpqh24jqnjyw6uqd08sgptq44qu"
)

REFUSED = {
    "checksum": NONSENSE[:-1] + "t",
    "no separator": NONSENSE.removeprefix("lnbc2500u1"),
    "both cases": "LNBC2500U" + NONSENSE.removeprefix("lnbc2500u"),
    "signature recovers no key": (
        "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpuax"
        "trnwngzn3kdzw5hydlzf03qdgm2hdq27cqv3agm2awhz5se903vruatfhq77w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rsp"
        "k28uwq"
    ),
    "too short": (
        "lnbc1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2urs"
        "dae8g6na6hlh"
    ),
    "multiplier": (
        "lnbc2500x1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpujr"
        "6jxr9gq9pv6g46y7d20jfkegkg4gljz2ea2a3m9lmvvr95tq2s0kvu70u3axgelz3kyvtp2ywwt0y8hkx2869zq5dll9nelr83zzqq"
        "pgl2zg"
    ),
    "a tenth of a msat": (
        "lnbc2500000001p1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsx"
        "qzpu7hqtk93pkf7sw55rdv4k9z2vj050rxdr6za9ekfs3nlt5lr89jqpdmxsmlj9urqumg0h9wzpqecw7th56tdms40p2ny9q4ddvj"
        "sedzcplva53s"
    ),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DONATION, {"amount_msat": None, "description": "Please consider supporting this project"}),
        (COFFEE, {"amount_msat": 250_000_000, "description": "1 cup coffee", "expiry_seconds": 60}),
        (COFFEE, {"payment_secret": "11" * 32, "features": 1 << 8 | 1 << 14}),
        (NONSENSE, {"amount_msat": 250_000_000, "description": "ナンセンス 1杯"}),
        (HASHED, {"amount_msat": 2_000_000_000, "description": "", "description_hash": CAKE}),
        (TESTNET, {"network": "testnet", "description_hash": CAKE}),
        (ROUTED, {"amount_msat": 2_000_000_000, "description_hash": CAKE}),
        (BEANS, {"features": 1 << 9 | 1 << 15 | 1 << 99, "payment_secret": "11" * 32}),
        (BEANS.upper(), {"description": "coffee beans", "bolt11": BEANS}),
    ],
)
def test_the_specifications_examples_are_read(text: str, expected: dict[str, object]) -> None:
    invoice = decode(text)
    assert (invoice.payee, invoice.payment_hash, invoice.created_at) == (PAYEE, HASH, STAMP)
    assert {name: getattr(invoice, name) for name in expected} == expected


def test_an_amount_in_pico_and_route_hints_are_read() -> None:
    invoice = decode(PICO)
    assert (invoice.payee, invoice.amount_msat) == (PAYEE, 967_878_534)
    assert (invoice.expiry_seconds, invoice.min_final_cltv) == (604_800, 10)
    assert invoice.expires_at == 1_572_468_703 + 604_800


@pytest.mark.parametrize("fault", REFUSED)
def test_the_specifications_invalid_examples_are_refused(fault: str) -> None:
    with pytest.raises(InvoiceError):
        decode(REFUSED[fault])


def test_the_specifications_example_is_written_to_the_letter() -> None:
    written = encode(
        NodeKey(SECRET),
        payment_hash=HASH,
        payment_secret="11" * 32,
        amount_msat=250_000_000,
        network="bitcoin",
        created_at=STAMP,
        expiry_seconds=60,
        description="1 cup coffee",
        features=1 << 8 | 1 << 14,
    )
    assert written.bolt11 == COFFEE
    assert NodeKey(SECRET).id == PAYEE
    assert SECRET.hex() not in repr(NodeKey(SECRET))


def texts(most: int) -> st.SearchStrategy[str]:
    every = st.text(st.characters(codec="utf-8"), max_size=most)
    return every.filter(lambda text: len(text.encode()) <= MOST_DESCRIPTION_BYTES)


INVOICES = st.builds(
    encode,
    st.integers(1, (1 << 255) - 1).map(lambda secret: NodeKey(secret.to_bytes(32, "big"))),
    payment_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    payment_secret=st.binary(min_size=32, max_size=32).map(bytes.hex) | st.just(""),
    amount_msat=st.none() | st.integers(1, MAX_MSAT) | st.integers(1, 10**6).map(lambda sat: sat * 1000),
    network=st.sampled_from(sorted(PREFIXES)),
    created_at=st.integers(0, (1 << 35) - 1),
    expiry_seconds=st.integers(0, 1 << 40),
    description=texts(300),
    features=st.integers(0, 1 << 130) | st.just(DEFAULT_FEATURES),
    min_final_cltv=st.integers(0, 1 << 20),
)


@LOOSE
@given(INVOICES)
def test_what_is_written_is_read_the_same(invoice: Invoice) -> None:
    assert decode(invoice.bolt11) == invoice
    assert decode(invoice.bolt11.upper()) == invoice


@LOOSE
@given(INVOICES, st.data())
def test_any_changed_character_is_refused(invoice: Invoice, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(invoice.bolt11) - 1))
    other = data.draw(st.sampled_from(ALPHABET + "1bioLN -é"))
    changed = invoice.bolt11[:at] + other + invoice.bolt11[at + 1 :]
    assume(changed != invoice.bolt11)
    with pytest.raises(InvoiceError):
        decode(changed)


@LOOSE
@given(st.text(max_size=200) | st.text(ALPHABET + "1").map(lambda tail: f"lnbcrt10n1{tail}"))
def test_any_other_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(InvoiceError):
        decode(text)


def test_an_endless_text_is_refused_unread() -> None:
    with pytest.raises(InvoiceError, match="characters"):
        decode("lnbcrt1" + "q" * 10**6)


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def resigned(fields: str, human: str = "lnbcrt10n", *, high: bool = False) -> str:
    """An invoice with these tagged fields in bech32's characters, rightly signed, with the `high` one of the
    two signatures there are if so wanted: no honest writer makes some of these, so the codec's own parts
    are put together here.
    """
    words = b"".join([bech32.words_of(STAMP, size=7), bytes(ALPHABET.index(c) for c in fields)])
    signature = NodeKey(SECRET).sign(bolt11._message(human, words))
    if high:
        other = ORDER - int.from_bytes(signature[32:64], "big")
        signature = signature[:32] + other.to_bytes(32, "big") + bytes([signature[64] ^ 1])
    return bech32.encode(human, words + bech32.packed(signature))


PAID_FOR = "pp5" + "q" * 52
NOTE = "dqq"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (NOTE, "no payment hash"),
        (PAID_FOR, "description"),
        (PAID_FOR + NOTE + "hp5" + "q" * 52, "not both"),
        (PAID_FOR + NOTE + PAID_FOR, "twice"),
        (PAID_FOR + NOTE + "x", "cut off"),
        (PAID_FOR + NOTE + "xzz", "longer than the invoice"),
        (PAID_FOR + "dqz" + "ll", "UTF-8"),
        (PAID_FOR + NOTE + "np4" + "p" * 53, "payee it names"),
    ],
)
def test_a_signed_contradiction_is_refused(fields: str, told: str) -> None:
    with pytest.raises(InvoiceError, match=told):
        decode(resigned(fields))


def test_fields_of_a_wrong_size_and_unknown_ones_are_passed_over() -> None:
    passed = "".join(["pp4" + "q" * 53, "pp0" + "q" * 15, "np5" + "q" * 52, "2qrqqq", "sp4" + "q" * 53])
    invoice = decode(resigned(PAID_FOR + NOTE + passed))
    assert (invoice.payee, invoice.payment_hash, invoice.payment_secret) == (PAYEE, "00" * 32, "")


def test_a_payee_may_be_named_and_then_signs_in_one_way_only() -> None:
    named = "np4" + "".join(ALPHABET[word] for word in bech32.packed(bytes.fromhex(PAYEE)))
    assert decode(resigned(PAID_FOR + NOTE + named)).payee == PAYEE
    assert decode(resigned(PAID_FOR + NOTE, high=True)).payee == PAYEE
    with pytest.raises(InvoiceError, match="payee it names"):
        decode(resigned(PAID_FOR + NOTE + named, high=True))


@pytest.mark.parametrize("human", ["lnsb10n", "lnbc01u", "lnbc0u", "lnbc21000001", "ln10n", "lnbcrt1.5u"])
def test_amounts_and_networks_that_are_none_are_refused(human: str) -> None:
    with pytest.raises(InvoiceError):
        decode(resigned(PAID_FOR + NOTE, human))


def test_an_amount_without_a_unit_is_bitcoin() -> None:
    assert decode(resigned(PAID_FOR + NOTE, "lnbc10")).amount_msat == 10 * MSAT_PER_BTC


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_msat": 0},
        {"amount_msat": -1},
        {"amount_msat": MAX_MSAT + 1},
        {"network": "liquid"},
        {"created_at": -1},
        {"created_at": 1 << 35},
        {"expiry_seconds": -1},
        {"description": "ä" * 320},
        {"description": "\ud800"},
        {"payment_hash": "00" * 31},
        {"payment_secret": "zz"},
    ],
)
def test_what_an_invoice_cannot_hold_is_not_written(wrong: dict[str, object]) -> None:
    right = {
        "payment_hash": HASH,
        "payment_secret": "11" * 32,
        "amount_msat": 10,
        "network": "regtest",
        "created_at": STAMP,
    }
    with pytest.raises(InvoiceError):
        encode(NodeKey(SECRET), **(right | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, bytes(31)])
def test_what_is_no_key_makes_no_node(secret: bytes) -> None:
    with pytest.raises(InvoiceError):
        NodeKey(secret)


@given(
    human=st.text("abcn1", min_size=1, max_size=9),
    words=st.binary(max_size=40).map(lambda raw: bytes(c % 32 for c in raw)),
)
def test_the_checksum_is_the_specifications_whatever_the_length(human: str, words: bytes) -> None:
    """As BIP 173 writes it down, a word at a time; ours takes several at once."""
    register = 1
    spread = [ord(c) >> 5 for c in human] + [0] + [ord(c) & 31 for c in human]
    for word in [*spread, *words, 0, 0, 0, 0, 0, 0]:
        top, register = register >> 25, (register & 0x1FFFFFF) << 5 ^ word
        for bit, tap in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            register ^= tap if top >> bit & 1 else 0
    check = "".join(ALPHABET[(register ^ 1) >> 5 * place & 31] for place in reversed(range(6)))
    text = f"{human}1{''.join(ALPHABET[word] for word in words)}{check}"
    assert bech32.encode(human, words) == text
    assert bech32.decode(text) == (human, words)
