"""Redaction: what the patterns find, what they leave alone, and that no text makes them slow."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.redact import redact
from oa_compile.redaction import all_patterns, patterns_for

SIZE = 200_000


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


@pytest.mark.parametrize(
    ("kind", "before", "private", "after"),
    [
        ("jwt", "x-", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", " end"),
        ("api_key", "key ", "gsk_" + "a1B2" * 12, "."),
        ("api_key", "(", "sk-proj-" + "a1B2_-" * 6, ")"),
        ("npm_token", "=", "npm_" + "a1B2" * 9, "\n"),
        ("pypi_token", " ", "pypi-" + "AgEIcHlwaS5vcmc" * 4, " "),
        ("google_token", " ", "ya29." + "a1B2" * 8, " "),
        ("slack_hook", "https://hooks.slack.com/services/", "T00000000/B00000000/" + "a1B2" * 6, " "),
        ("sendgrid_key", "", "SG." + "a1B2" * 5 + "." + "c3D4" * 10, ""),
        ("vault_token", "", "hvs." + "a1B2" * 8, ""),
        ("age_key", "# ", "AGE-SECRET-KEY-1" + "QPZRY9X8" * 7, "\n"),
        ("bearer", "authorization: ", "bearer abcdefghijklmnopqrstuvwxyz", "\n"),
        ("assigned_secret", "AWS_SECRET_ACCESS_KEY=", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY23EXAMPLEKEY", "\n"),
        ("assigned_secret", '"db_password": "', "correct1horse2battery3", '"'),
        ("assigned_secret", "nostr+walletconnect://a?relay=wss://r&secret=", "0123456789abcdef" * 4, ""),
        ("github_token", "of1", "ghp_" + "a1B2" * 9, ""),
        ("github_token", r"a\n", "ghp_" + "a1B2" * 9, r"\n"),
        ("jwt", r"\t", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", ""),
        ("home_path", r"\n", "/home/alice", r"/x\n"),
        ("email", "mail ", "jürgen.o_x+y@mail.example.org", "."),
        ("email", "-+", "a@b.org", " "),
        ("home_path", "at ", "/home/jürgen", "/x"),
        ("home_path", "", "/mnt/c/Users/bob", "/x"),
        ("home_path", "see ", "/home/alice", "."),
        ("home_path", "{'", r"C:\\Users\\bob", r"\\x'}"),
    ],
)
def test_a_private_part_is_found_exactly(kind: str, before: str, private: str, after: str) -> None:
    assert found(before + private + after).get(kind) == [private]


def test_a_homes_user_is_its_own_part() -> None:
    text = "/home/alice.b/x /Users/bob"
    pattern = next(pattern for pattern in patterns_for(text) if pattern.what == "home")
    assert [text[a:b] for a, b in pattern.find(text, group="user")] == ["alice.b", "bob"]


@pytest.mark.parametrize(
    "text",
    [
        "token = next_token_of_the_line_before",
        "the password is kept elsewhere, api_key: see settings.py",
        "secret: 12",
        "Basic authentication; bearer of news",
        "eyJust.eyJoking.no",
        "src/home/lib.rs and crates/home/x",
        "@dataclass user@host @property",
        "sk-learn pk-1 risk-averse-and-something",
        "https://example.org/a:b@c",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert found(text) == {}


def test_only_what_is_asked_for_is_looked_at() -> None:
    text = "a@b.org /home/alice " + "ghp_" + "a1B2" * 9
    assert {pattern.what for pattern in patterns_for(text, what=("email",))} == {"email"}
    assert list(patterns_for("nothing to see")) == []


PARTS = """
eyJ .eyJ aaaaaaaa - . sk- ghp_ @ org secret= 1 AKIA " :// : /home/ bob C:\\Users\\ bearer KEY A1B2C3D4E5F6G7H8
é
"""


@given(st.lists(st.sampled_from([*PARTS.split(), " ", "\n"]), max_size=40))
def test_the_clues_miss_nothing(parts: list[str]) -> None:
    text = "".join(parts)
    tried = list(patterns_for(text))
    assert [pattern.kind for pattern in all_patterns() if pattern not in tried and pattern.find(text)] == []


@given(
    st.lists(
        st.sampled_from(["ghp_" + "a1B2" * 9, "a@b.org", "/home/x", "token: ", "/", " ", "x"]), max_size=9
    )
)
def test_redacting_twice_changes_nothing(parts: list[str]) -> None:
    once = redact("".join(parts), counts=Counter())
    again: Counter[str] = Counter()
    assert redact(once, counts=again) == once
    assert again == {}


# A pattern that tries a run again from each of its places takes minutes for one of these; the suite's
# timeout ends it. All of them together take a fraction of a second.
UNITS = """
a a. -eyJ -eyJaaaaaaaa eyJaaaaaaaa. a@ a@a. @1. . -----BEGIN;PRIVATE;KEY
-----BEGIN;PRIVATE;KEY----------END; bearer; secret secret= secret=a key; ://a ://a:b
/home/ /home/a. sk- gh SG.a SG.aaaaaaaaaaaaaaaa. \\Users\\ C:
"""


@pytest.mark.parametrize("unit", [unit.replace(";", " ") for unit in UNITS.split()])
def test_no_text_makes_a_pattern_slow(unit: str) -> None:
    text = unit * (SIZE // len(unit))
    for pattern in all_patterns():
        pattern.find(text + " ")
        pattern.find("eyJ -----BEGIN PRIVATE KEY----- " + text + "!")
