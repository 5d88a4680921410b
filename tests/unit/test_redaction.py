"""Redaction: what the patterns find, what they leave alone, and that no text makes them slow."""

from __future__ import annotations

import sysconfig
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules

import detect_secrets.plugins
import pytest
from detect_secrets.plugins.base import BasePlugin
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oa_compile.redaction import KINDS, Pattern, all_patterns, looks_secret, names_a_secret, patterns_for
from oa_compile.redaction.detector import LEFT_OUT, USED
from tests.support.secrets_made_up import MADE_UP, NAMED, PEM

SIZE = 200_000
PLANTS = [
    *((kind, "", private, "") for kind, parts in MADE_UP.items() for private in parts),
    *((kind, *parts) for kind, every in NAMED.items() for parts in every),
]


def found(text: str) -> dict[str, list[str]]:
    """The private parts of `text` by kind, each as it stands when its pattern's turn comes."""
    parts: dict[str, list[str]] = {}
    for pattern in patterns_for(text):
        spans = pattern.find(text)
        if spans:
            parts.setdefault(pattern.kind, []).extend(text[span.start : span.end] for span in spans)
        for span in reversed(spans):
            text = f"{text[: span.start]}<>{text[span.end :]}"
    return parts


def named(pattern: Pattern) -> str:
    """A pattern's name among the tests: kinds may have several."""
    return f"{pattern.kind}-{all_patterns().index(pattern)}"


each_pattern = pytest.mark.parametrize("pattern", all_patterns(), ids=named)


# What is found


@pytest.mark.parametrize(("kind", "before", "private", "after"), PLANTS)
def test_a_private_part_is_found_exactly(kind: str, before: str, private: str, after: str) -> None:
    assert found(before + private + after) == {kind: [private]}


@pytest.mark.parametrize(
    ("before", "after"), [("(", ")"), (r"\n", r"\n"), ('"', '"'), (r"\"", r"\""), ("=", "\n")]
)
@pytest.mark.parametrize("kind", MADE_UP)
def test_a_shape_of_its_own_is_known_wherever_it_stands(kind: str, before: str, after: str) -> None:
    for private in MADE_UP[kind]:
        assert found(f"x {before}{private}{after} y") == {kind: [private]}


@pytest.mark.parametrize(
    "lines",
    [
        PEM.replace("\n", r"\n"),
        PEM.replace("\n", r"\\r\\n"),
        PEM.replace("\n", '\\n" +\n    "'),
        "\n".join(f"{number:>6}→{line}" for number, line in enumerate(PEM.split("\n"), 1)),
        "\n".join(f"+{line}" for line in PEM.split("\n")),
        PEM.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n", 1),
        PEM[: PEM.index("ab==")],
        PEM[: PEM.index("ab==")].replace("\n", r"\n") + "<cut off> {",
    ],
)
def test_a_key_of_many_lines_is_found_however_its_lines_are_shown(lines: str) -> None:
    (key,) = found(f'{{"file": "{lines}')["private_key"]
    assert [line for line in PEM.split("\n")[1:-2] if line not in key] == []


def test_a_homes_user_is_its_own_part() -> None:
    text = "/home/alice.b/x /Users/bob"
    pattern = next(pattern for pattern in patterns_for(text) if pattern.what == "home")
    assert [text[a:b] for a, b in pattern.find(text, group="user")] == ["alice.b", "bob"]


# What stays


@pytest.mark.parametrize(
    "text",
    [
        "token = next_token_of_the_line_before",
        "the password is kept elsewhere, api_key: see settings.py",
        "secret: 12",
        "Basic authentication; bearer of news; a cookie: two",
        "eyJust.eyJoking.no",
        "src/home/lib.rs and crates/home/x, /root/x, ~/x",
        "@dataclass user@host @property git@github.com:org/repo.git",
        "sk-learn pk-1 risk-averse-and-something",
        "https://example.org/a:b@c http://{user}:{password}@host ssh://$USER:$PASSWORD@host",
        '{"url":"https://h.org","user":"b@c"}',
        "MAX_TOKENS=4096 API_KEY=$(cat key1) TOKEN=os.environ['A1'] GH_TOKEN=${{ secrets.T1 }}",
        '{"password": "string", "apiKey": "${KEY_1}", "secret": "what you know since 1999"}',
        'if b"-----BEGIN RSA PRIVATE KEY-----" in data:\n    return load(data)\n',
        "openssl pkcs8 # makes -----BEGIN PRIVATE KEY-----\nkey = read(1)",
        "12345678: done; AC power; SK telecom; func (r rune) rune = 'x'",
        "b" * 64 + " " + "sha512-" + "a1B2" * 21 + "==",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert found(text) == {}


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("password", "hunter2", True),
        ("clientSecret", "x1y2z3", True),
        ("X-Api-Key", "x1y2z3", True),
        ("access_token", "x1y2z3", True),
        ("token", "x1y2z3", False),
        ("password_file", "x1y2z3", False),
        ("password", "string", False),
        ("password", "at least 8 characters", False),
        ("password", "${DB_1}", False),
        ("password", "<secret>", False),
    ],
)
def test_a_key_tells_a_secret_when_its_value_looks_like_one(name: str, value: str, secret: bool) -> None:
    assert (names_a_secret(name) and looks_secret(value)) is secret


def test_only_what_is_asked_for_is_looked_at() -> None:
    text = "a@b.org /home/alice " + "ghp_" + "a1B2" * 9
    assert {pattern.what for pattern in patterns_for(text, what=("email",))} == {"email"}
    assert list(patterns_for("nothing to see")) == []


ORDINARY = {"email", "home_path", "url_password", "cookie"}
"""Kinds the standard library has: authors' addresses, and examples in tests of URLs, paths and cookies."""


def test_no_code_of_the_standard_library_is_taken_for_a_secret() -> None:
    sources = Path(sysconfig.get_path("stdlib")).rglob("*.py")
    parts: Counter[str] = Counter()
    size = 0
    for source in sources:
        if "site-packages" in source.parts:
            continue
        text = source.read_text(encoding="utf-8", errors="replace")
        size += len(text)
        for kind, those in found(text).items():
            parts[kind] += len(those)
    assert size > 1_000_000
    assert set(parts) <= ORDINARY
    assert parts["url_password"] + parts["cookie"] < 50, parts


# The detector


def test_every_detector_is_used_or_left_out_by_name() -> None:
    there = set()
    for module in iter_modules(detect_secrets.plugins.__path__, "detect_secrets.plugins."):
        for item in vars(import_module(module.name)).values():
            if isinstance(item, type) and issubclass(item, BasePlugin) and not isabstract(item):
                there.add(item.__name__)
    used = {detector.__name__ for detector in USED}
    assert used & set(LEFT_OUT) == set()
    assert used | set(LEFT_OUT) == there


def test_every_kind_is_told_and_every_kind_told_is_found() -> None:
    assert {pattern.kind for pattern in all_patterns()} == set(KINDS)
    assert {kind for kind, *_ in PLANTS} == set(KINDS)


# The sieve


@each_pattern
@given(data=st.data())
@settings(max_examples=40)
def test_the_sieve_lets_every_match_through(pattern: Pattern, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern.regex))
    around = data.draw(st.sampled_from(["", "é", "\ud800", "\n", '"', " " * 70, "x = 1\n" * 9]))
    whole = around + text + around
    assume(pattern.find(whole))
    assert pattern in patterns_for(whole)


PARTS = """
eyJ .eyJ aaaaaaaa - . sk- ghp_ @ org secret= 1 AKIA " :// : /home/ bob C:\\Users\\ bearer KEY A1B2C3D4E5F6G7H8
é ſ K \\n password': 'a1b2c3 ;password= \ud800 １２３
"""


@given(st.lists(st.sampled_from([*PARTS.split(), " ", "\n"]), max_size=40))
def test_the_sieve_misses_nothing_in_what_nearly_matches(parts: list[str]) -> None:
    text = "".join(parts)
    tried = set(patterns_for(text))
    assert [pattern for pattern in all_patterns() if pattern not in tried and pattern.find(text)] == []


def test_threads_look_at_the_same_time() -> None:
    texts = [f"{'x' * 300_000} {private}" for private in ("a@b.org", "/home/alice", MADE_UP["aws_key"][0])]

    def kinds(text: str) -> list[str]:
        return [pattern.kind for pattern in patterns_for(text)]

    alone = [kinds(text) for text in texts]
    with ThreadPoolExecutor(max_workers=6) as threads:
        together = list(threads.map(kinds, texts * 20))
    assert together == alone * 20


# A pattern that tries a run again from each of its places takes minutes for one of these; the suite's
# timeout ends it. All of them together take seconds.
UNITS = r"""
a a. -eyJ -eyJaaaaaaaa eyJaaaaaaaa. eyJaaaaaaaaaaaa.. a@ a@a. @1. . -----BEGIN;PRIVATE;KEY
-----BEGIN;PRIVATE;KEY----------END; -----BEGIN;PRIVATE;KEY-----¶
-----BEGIN;PRIVATE;KEY-----\naaaaaaaaaaaaaaaa
Private-Lines:;1 Private-Lines:;1¶aaaaaaaaaaaaaaaa ¶;1→ \n bearer; secret secret= secret=a secret='\ secret\/
key; token token-token- ://a ://a:b ://: /home/ /home/a. \/home sk- gh SG.a SG.aaaaaaaaaaaaaaaa. \Users\ C:
C:\Users\a C:\Users\a;b; projects/ -home- wsl$\ \\ cookie:;a=a cookie:;a=aaaaaaaaaaaaaaaa;; A_TOKEN= _TOKEN
A_TOKEN=a 'password': 'password':'a ;password ;pwd= xoxb-1-1- aws aws.key aws.key' MNO 1 12345678: AC0 rune
rune: rune=== MDA 0201036c6e64 authorization: authorization:basic; glcbt- glagent- u0026secret
"""


@pytest.mark.parametrize("unit", [unit.replace(";", " ").replace("¶", "\n") for unit in UNITS.split()])
def test_no_text_makes_a_pattern_slow(unit: str) -> None:
    text = unit * (SIZE // len(unit))
    for pattern in all_patterns():
        pattern.find(text + " ")
        pattern.find("eyJ -----BEGIN PRIVATE KEY----- " + text + "!")


@each_pattern
def test_what_nearly_matches_over_and_over_makes_no_pattern_slow(pattern: Pattern) -> None:
    for kind, *parts in PLANTS:
        if kind == pattern.kind:
            whole = "".join(parts)
            for cut in (len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4, len(whole) - 1):
                pattern.find(whole[: cut + 1] * (SIZE // (cut + 1)) + "!")
