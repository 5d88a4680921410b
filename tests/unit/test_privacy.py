"""Privacy: what leaves in each mode, what stays, and that everything comes back."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.swarm.privacy.privacy import (
    RULES,
    PrivacyMode,
    PrivacyPolicy,
    PromptTooLarge,
    SchemaTellsSecret,
    Sealed,
    describe,
    seal,
)

MODES: tuple[PrivacyMode, ...] = get_args(PrivacyMode)
TOKEN = "ghp_" + "a1B2" * 9


def ask(*contents: str, **more: Any) -> ChatRequest:
    return ChatRequest(messages=tuple(ChatMessage("user", content) for content in contents), **more)


def sealed(request: ChatRequest, mode: PrivacyMode) -> Sealed:
    return seal(request, PrivacyPolicy(mode, max_prompt_bytes=10_000_000))


def left(text: str, mode: PrivacyMode, **more: Any) -> str:
    """`text` as it leaves; what comes back is checked on the way."""
    result = sealed(ask(text, **more), mode)
    content = result.request.messages[0].content
    assert result.restore(content) == text
    return content


def enum(*values: str, **more: Any) -> dict[str, Any]:
    """A response format as the adapters write them, with one enum."""
    field = {"type": "string", "enum": list(values), **more}
    schema = {"type": "object", "properties": {"tool_choice": field}, "required": ["tool_choice"]}
    return {"type": "json_schema", "name": "oacompile_compact", "schema": schema}


# What each mode replaces


@pytest.mark.parametrize(
    ("text", "opened", "paths", "identifiers", "full"),
    [
        (f"use {TOKEN} now", "use secret_1 now", *["use secret_1 now"] * 3),
        ("cd /home/alice/x", "cd /home/user_1/x", *["cd /home/user_1/path_1"] * 3),
        (r"C:\Users\bob\x", r"C:\Users\user_1\x", *[r"C:\Users\user_1\path_1"] * 3),
        ("to a.b@x.org.", "to a.b@x.org.", *["to email_1."] * 3),
        ("src/app/main.py:42", "src/app/main.py:42", *["path_1/path_2/path_3.py:42"] * 3),
        ("(./a/b.tar.gz)", "(./a/b.tar.gz)", *["(./path_1/path_2.gz)"] * 3),
        (r"D:\work\main.rs", r"D:\work\main.rs", *[r"D:\path_1\path_2.rs"] * 3),
        (r"'src\\\\x.py'", r"'src\\\\x.py'", *[r"'path_1\\\\path_2.py'"] * 3),
        (r"app\views\x.py", r"app\views\x.py", *[r"path_1\path_2\path_3.py"] * 3),
        ("~/.config/tool.toml", "~/.config/tool.toml", *["~/.path_1/path_2.toml"] * 3),
        ("in tests/ too", "in tests/ too", *["in path_1/ too"] * 3),
        ("file:///srv/x", "file:///srv/x", *["file:///path_1/path_2"] * 3),
        (r"a\nsrc/x.py\nb", r"a\nsrc/x.py\nb", *[r"a\npath_1/path_2.py\nb"] * 3),
        ("at https://h.org/a/b.", *["at https://h.org/a/b."] * 2, *["at url_1."] * 2),
        ("call fetch_user()", *["call fetch_user()"] * 2, *["call name_1()"] * 2),
        (
            "a FooBar, fooBar, HTTPServer",
            *["a FooBar, fooBar, HTTPServer"] * 2,
            *["a name_1, name_2, name_3"] * 2,
        ),
        ("self.repo.find", *["self.repo.find"] * 2, *["self.name_1.name_2"] * 2),
        ("std::fmt::Debug", *["std::fmt::Debug"] * 2, *["name_1::name_2::name_3"] * 2),
        ("open main.py", *["open main.py"] * 2, *["open name_1.py"] * 2),
        ("db.corp.internal", *["db.corp.internal"] * 2, *["host_1"] * 2),
        ("ssh deploy@box-7", *["ssh deploy@box-7"] * 2, *["ssh host_1"] * 2),
        ("fe80::1 or ::1", *["fe80::1 or ::1"] * 2, *["ip_1 or ip_2"] * 2),
        ("at 10.0.0.7:80", *["at 10.0.0.7:80"] * 2, "at ip_1:80", "at number_1"),
        ('say "hello world"', *['say "hello world"'] * 3, 'say "text_1"'),
        ("say 'I don't know'", *["say 'I don't know'"] * 3, "say 'text_1'"),
        ("run `rm now`, “so it”", *["run `rm now`, “so it”"] * 3, "run `text_1`, “text_2”"),
        (r"{\"k\": \"my text\"}", *[r"{\"k\": \"my text\"}"] * 3, r"{\"k\": \"text_1\"}"),
        (
            "on 2024-01-02, 1234 or 12345",
            *["on 2024-01-02, 1234 or 12345"] * 3,
            "on number_1, 1234 or number_2",
        ),
    ],
)
def test_each_mode_replaces_what_its_row_says(
    text: str, opened: str, paths: str, identifiers: str, full: str
) -> None:
    assert tuple(left(text, mode) for mode in MODES) == (opened, paths, identifiers, full)


@pytest.mark.parametrize("mode", ["paths", "identifiers"])
@pytest.mark.parametrize(
    "text",
    [
        "and/or, read/write; 3/4 of 10 jobs/s on 1/2/2024, a/b, text/plain",
        "e.g. v1.2.3 or 3.11, i.e. U.S. NASA URLs; don't, they're 2nd-best. The end.",
        "<br/> </div> <input/>",
        r"C\d+ and \w+\s*: one\ntwo",
        "# Title - item: yes! (no?) [x] 50% $5 = 7 * 8",
    ],
)
def test_prose_stays(text: str, mode: PrivacyMode) -> None:
    assert left(text, mode) == text


def test_a_users_name_is_hidden_wherever_it_is_met() -> None:
    result = sealed(
        ask("for Alice and alice's alice_box", "in /home/alice/x /home/root/y root"), "identifiers"
    )
    first, second = (message.content for message in result.request.messages)
    assert first == "for user_3 and user_1's name_1"
    assert second == "in /home/user_1/path_1 /home/user_2/path_2 root"
    assert result.restore("user_3 USER_1 user_2") == "Alice alice root"


def test_one_thing_has_one_placeholder_and_shared_folders_stay_shared() -> None:
    text = 'src/app/a.py src/app/b.py `src/app/a.py` a.py app_x.app_y src/app_x/c.py "src/app/a.py:3"'
    assert left(text, "full") == (
        "path_1/path_2/path_3.py path_1/path_2/path_4.py `path_1/path_2/path_3.py` path_3.py "
        'name_1.name_2 path_1/name_1/path_5.py "path_1/path_2/path_3.py:3"'
    )


def test_an_answer_gets_its_originals_back() -> None:
    result = sealed(ask(f"move {TOKEN} from src/app/main.py to lib_x.go, see https://h.org/a"), "identifiers")
    answer = (
        '{"edit": "path_1/path_2/path_3.py:7\\npath_1/new.py", "key": "secret_1", "to": "Name_1.go url_1"}'
    )
    assert json.loads(result.restore(answer)) == {
        "edit": "src/app/main.py:7\nsrc/new.py",
        "key": TOKEN,
        "to": "lib_x.go https://h.org/a",
    }
    assert (
        result.restore("path_12 xpath_1 path_1x path_9 paths_1") == "path_12 xpath_1 path_1x path_9 paths_1"
    )


def test_twelve_paths_do_not_eat_one_another() -> None:
    text = " ".join(f"d{n}/f{n}.py" for n in range(20))
    assert "path_1/path_2.py" in left(text, "paths")


def test_a_placeholder_is_never_a_word_the_request_holds() -> None:
    text = "path_1 and PATH_2 and my_3, src/app.py"
    assert left(text, "paths") == "path_1 and PATH_2 and my_3, path_4/path_5.py"
    result = sealed(ask("src/app.py", response_format=enum("path_1", "other_2")), "paths")
    assert result.request.messages[0].content == "path_3/path_4.py"


# What stays


@pytest.mark.parametrize("mode", MODES)
def test_the_response_format_and_its_words_stay(mode: PrivacyMode) -> None:
    format_ = enum("read_file", "src/tools/edit.py", "com.example.Run", description="what toolName does")
    text = 'one of: read_file, src/tools/edit.py; com.example.Run "read_file" tool_choice toolName'
    result = sealed(ask(text, response_format=format_), mode)
    assert result.request.response_format is format_
    assert result.request.messages[0].content == text
    assert result.counts == {}


def test_a_schemas_names_stay_within_quotes_too() -> None:
    text = '"call read_file for the invoice" in `my place`'
    assert left(text, "full", response_format=enum("read_file")) == '"text_1 read_file text_2" in `text_3`'


def test_a_schemas_own_terms_are_no_words_of_the_prompt() -> None:
    assert left("see object/string.py", "paths", response_format=enum("x")) == "see path_1/path_2.py"


@pytest.mark.parametrize("mode", MODES)
def test_dspys_markers_and_field_names_stay(mode: PrivacyMode) -> None:
    system = (
        "1. `issue_text` (str): what it says\n"
        "[[ ## issue_text ## ]]\n{issue_text}\n\n[[ ## file_paths ## ]]\n{file_paths}\n"
        "[[ ## completed ## ]]\nBegin with `[[ ## file_paths ## ]]`, then end with `[[ ## completed ## ]]`."
    )
    request = ChatRequest(
        messages=(
            ChatMessage("system", system),
            ChatMessage("assistant", "[[ ## issue_text ## ]]\nissue_text"),
        )
    )
    assert sealed(request, mode).request is request


def test_what_a_system_message_lets_a_model_choose_stays() -> None:
    system = (
        "1. `tool_name` (Literal['read_file', \"my choice\"]): x\n"
        "mode_name (see my_doc) is one of: fast_mode, slow_mode\n"
        'then "use fast_mode or other_mode" in Literal[] of `big_thing`'
    )
    request = ChatRequest(
        messages=(
            ChatMessage("system", system),
            ChatMessage("user", "Literal['user_value'] tool_name read_file fast_mode 'my choice'"),
        )
    )
    first, second = (message.content for message in sealed(request, "full").request.messages)
    assert first == (
        "1. `tool_name` (Literal['read_file', \"my choice\"]): x\n"
        "name_1 (see name_2) is one of: fast_mode, slow_mode\n"
        'then "text_1 fast_mode text_2" in Literal[] of `name_3`'
    )
    assert second == "Literal['name_4'] tool_name read_file fast_mode 'my choice'"


def test_fields_of_the_compact_layout_stay() -> None:
    request = ask("thought_text: see my_value\n  other_name: 1\n\ntool_name: read")
    (message,) = sealed(request, "identifiers").request.messages
    assert message.content == "thought_text: see name_1\n  name_2: 1\n\ntool_name: read"


@pytest.mark.parametrize("mode", MODES)
def test_roles_sampling_and_order_stay(mode: PrivacyMode) -> None:
    request = ChatRequest(
        messages=(ChatMessage("system", "x/y.py"), ChatMessage("assistant", TOKEN), ChatMessage("user", "")),
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        seed=1,
        stop=(f"\n{TOKEN}", "\n\n"),
    )
    result = sealed(request, mode).request
    assert [message.role for message in result.messages] == ["system", "assistant", "user"]
    assert result.stop == ("\nsecret_1", "\n\n")
    assert (result.max_tokens, result.temperature, result.top_p, result.top_k, result.seed) == (
        7,
        0.5,
        0.9,
        3,
        1,
    )


def test_a_request_with_nothing_to_hide_is_itself() -> None:
    request = ask("nothing here")
    assert sealed(request, "full").request is request


@pytest.mark.parametrize("private", [TOKEN, "/home/alice/x"])
@pytest.mark.parametrize("mode", MODES)
def test_a_schema_that_tells_a_secret_does_not_leave(mode: PrivacyMode, private: str) -> None:
    with pytest.raises(SchemaTellsSecret, match="field descriptions") as caught:
        sealed(ask("x", response_format=enum("a", description=f"like {private}")), mode)
    assert private not in str(caught.value)


# The policy


def test_the_size_is_counted_after_sealing() -> None:
    text = "é " + "https://example.org/" + "a" * 200
    assert len(seal(ask(text, text), PrivacyPolicy("full", 16)).request.messages) == 2
    with pytest.raises(PromptTooLarge, match="max_prompt_bytes") as caught:
        seal(ask(text, text), PrivacyPolicy("full", 15))
    assert (caught.value.bytes, caught.value.cap) == (16, 15)


def test_who_may_see_it() -> None:
    alice, bob = "a" * 64, "b" * 64
    assert PrivacyPolicy().permits(alice)
    only = PrivacyPolicy(allow=frozenset({alice}))
    assert (only.permits(alice), only.permits(bob)) == (True, False)


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "none"}, {"max_prompt_bytes": 0}, {"allow": frozenset({"npub1x"})}, {"allow": {"A" * 64}}],
)
def test_what_is_no_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        PrivacyPolicy(**wrong)


def test_a_policy_is_told_as_plain_json() -> None:
    policy = PrivacyPolicy("full", 100, frozenset({"b" * 64, "a" * 64}))
    told = describe(policy)
    assert told == {"mode": "full", "rules": RULES, "max_prompt_bytes": 100, "allow": ["a" * 64, "b" * 64]}
    assert json.loads(json.dumps(told)) == told
    assert PrivacyPolicy().mode == "paths"


def test_counts_are_of_different_things() -> None:
    result = sealed(ask(f"{TOKEN} {TOKEN} a@b.org c@d.org a/b.py", "a/b.py x@y.zz"), "paths")
    assert result.counts == {"email": 3, "path": 2, "secret": 1}


def test_a_private_key_comes_back_line_by_line() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END PRIVATE KEY-----"
    content = left(f'{{"key": {key} }}', "open")
    assert "MII" not in content
    assert "Bgk" not in content


# For any text

FRAGMENTS = [
    *(
        " ",
        "\n",
        "\\",
        "\\n",
        '"',
        '\\"',
        "'",
        "`",
        "“",
        "”",
        ":",
        "::",
        "/",
        ".",
        "..",
        "~",
        "@",
        "-",
        "_",
        "<",
        ">",
    ),
    *(
        "=",
        "é",
        "１",
        "\u0301",
        "\x00",
        "1",
        "12345",
        "n",
        "t",
        "src",
        "main.py",
        "x.tar.gz",
        "my_name",
        "fooBar",
    ),
    *("path_1", "name_1", "PATH_2", "text_1", "ext_1", "ame_1", "secret_1", "_1", "user_1.py", "read_file"),
    *(
        TOKEN,
        "a@b.org",
        "/home/alice",
        "alice",
        "C:\\Users\\bob",
        "https://h.org/a",
        "file:///x",
        "10.0.0.1",
        "::1",
    ),
    *(
        "AKIA" + "A1B2" * 4,
        "bearer " + "a1B2" * 6 + "==",
        "://u:p@",
        "secret=" + "a1" * 12,
        "-----BEGIN PRIVATE KEY-----",
    ),
    *("[[ ## f_x ## ]]", "[[ ## my_name ## ]]", "f_x: ", "  ", "</", "/>"),
]
texts = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join),
    st.text(max_size=60),
    st.text(alphabet="ab_/\\.:\"'`@- 1nt", max_size=40),
)
formats = st.one_of(st.none(), st.lists(texts, min_size=1, max_size=3).map(lambda values: enum(*values)))


@settings(max_examples=300)
@given(st.sampled_from(MODES), st.lists(texts, min_size=1, max_size=3), formats)
def test_everything_comes_back(
    mode: PrivacyMode, contents: list[str], format_: dict[str, Any] | None
) -> None:
    request = ask(*contents, response_format=format_, stop=(contents[0],))
    try:
        result = sealed(request, mode)
    except SchemaTellsSecret:
        return
    assert [result.restore(message.content) for message in result.request.messages] == contents
    assert result.restore(result.request.stop[0]) == contents[0]
    again = sealed(ask(*contents, response_format=format_, stop=(contents[0],)), mode)
    assert again.request == result.request
    assert again.counts == result.counts


@given(st.sampled_from(MODES), texts, texts)
def test_an_answer_in_json_is_json_still(mode: PrivacyMode, content: str, words: str) -> None:
    result = sealed(ask(content), mode)
    placeholders = re.findall(r"[a-z]+_[0-9]+", result.request.messages[0].content)
    answer = json.dumps({"said": [*placeholders, words], " ".join(placeholders): 1})
    assert isinstance(json.loads(result.restore(answer)), dict)


@given(st.sampled_from(MODES), texts, texts)
def test_known_secrets_never_leave(mode: PrivacyMode, before: str, after: str) -> None:
    content = sealed(ask(f"{before} {TOKEN} /home/alice {after}"), mode).request.messages[0].content
    assert TOKEN not in content
    assert " /home/alice " not in content


# Each would take minutes if any pattern tried a run again from each of its places; the suite's timeout
# ends that. All of them take seconds.
UNITS = [
    *("a", "a.", "a/", "a\\", "a::", "a:", "a@", "a-", "_", "a_", "aA", "1", "1.", "1:", "/", "\\", ":", "."),
    *(
        '"',
        '"a',
        '\\"',
        '\\"a',
        '\\\\"',
        "'",
        " 'a",
        "'a",
        "`",
        "`a",
        "“",
        "://",
        "a://",
        "a://.",
        "http://",
        "<a",
        "</",
    ),
    *(
        "[[ ## ",
        "[[ ## a",
        "a:\n",
        "  \n",
        "a: a\n  ",
        "path_",
        "path_1",
        "path_1 ",
        "_1 ",
        "/home/a",
        "é",
        "\\n",
    ),
]


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_makes_sealing_slow(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    for role in ("system", "user"):
        result = sealed(ChatRequest(messages=(ChatMessage(role, text + "!"),)), "full")
        assert result.restore(result.request.messages[0].content) == text + "!"


def test_many_users_do_not_make_it_slow() -> None:
    text = " ".join(f"/home/u{n:05}/x" for n in range(12_000))
    assert left(text, "identifiers").startswith("/home/user_1/path_1 /home/user_2/path_1 ")
