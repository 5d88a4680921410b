"""NIP-90's tags: nothing is lost on the way, strangers are read sensibly, and liars get a ProtocolError."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest, Usage
from oa_compile.money import MAX_MSAT
from oa_compile.swarm.protocol.event import Draft, Event, Keys, Tags, encode_event
from oa_compile.swarm.protocol.nip90 import (
    FEEDBACK_KIND,
    JOB_KIND,
    RESULT_KIND,
    Cipher,
    Feedback,
    Job,
    ProtocolError,
    Result,
    addressed_to,
    draft_feedback,
    draft_job,
    draft_result,
    is_encrypted,
    job_of,
    read_feedback,
    read_job,
    read_result,
)
from oa_compile.swarm.protocol.seal import SealCipher

LOOSE = settings(deadline=None, max_examples=80)
FEW = settings(deadline=None, max_examples=25)
CUSTOMER, PROVIDER, STRANGER = (Keys.from_hex(digit * 64) for digit in "123")
ID, OTHER_ID = "a" * 64, "b" * 64


class Envelope:
    """A cipher without a secret: who wrote to whom, and what."""

    def __init__(self, own: Keys) -> None:
        self.own = own.public

    def encrypt(self, peer: str, text: str) -> str:
        return json.dumps([self.own, peer, text])

    def decrypt(self, peer: str, text: str) -> str:
        if not text.startswith(f'["{peer}", "{self.own}", '):
            raise ProtocolError("not for us")
        return str(json.loads(text)[2])


def signed(draft: Draft, keys: Keys = CUSTOMER) -> Event:
    return keys.sign(draft, created_at=1_700_000_000)


def event(kind: int, tags: Tags, content: str = "", keys: Keys = CUSTOMER) -> Event:
    """An event as `verify` would let it pass, unsigned for speed: `nip90` does not look."""
    return Event("f" * 64, keys.public, 1, kind, tags, content, "")


def ask(*messages: ChatMessage, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (ChatMessage("user", "hello"),), **fields)


HEX = st.integers(0, 2**256 - 1).map("{:064x}".format)
MSAT = st.integers(0, MAX_MSAT)
TEXT = st.text(max_size=40)
NUMBER = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**63), 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
CHATS = st.builds(
    ChatRequest,
    messages=st.lists(st.builds(ChatMessage, role=st.text(max_size=8), content=TEXT), max_size=4).map(tuple),
    max_tokens=st.none() | st.integers(0, 2**53),
    temperature=st.none() | NUMBER,
    top_p=st.none() | NUMBER,
    top_k=st.none() | WHOLE,
    stop=st.lists(TEXT, max_size=3).map(tuple),
    seed=st.none() | WHOLE,
    response_format=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
)
RELAYS = st.sampled_from(["ws://127.0.0.1:7777", "wss://relay.example/a?b=c", "wss://ü.example"])
CALLS = st.builds(
    Job,
    chat=CHATS,
    model=TEXT,
    bid_msat=MSAT,
    provider=st.sampled_from(["", PROVIDER.public]),
    nonce=TEXT,
    relays=st.lists(RELAYS, max_size=3).map(tuple),
    tab=st.booleans(),
)
SETTLEMENTS = st.builds(
    Job,
    chat=st.just(ChatRequest(messages=())),
    bid_msat=MSAT,
    provider=st.just(PROVIDER.public),
    nonce=TEXT,
    tab=st.booleans(),
    settles=st.lists(HEX, min_size=1, max_size=4, unique=True).map(tuple),
)
COUNTS = st.integers(0, 2**53)
ANSWERS = st.builds(
    ChatAnswer,
    text=TEXT,
    usage=st.builds(Usage, COUNTS, COUNTS, COUNTS),
    finish_reason=st.sampled_from(["stop", "length", "content_filter", "tool_call", "error"]),
    model=TEXT,
)
AMOUNTS = st.one_of(st.tuples(st.none(), st.just("")), st.tuples(MSAT, st.sampled_from(["", "lnbcrt1…"])))
STATUSES = st.sampled_from(["payment-required", "processing", "error", "success", "partial"])


# Nothing is lost.


@LOOSE
@given(CALLS | SETTLEMENTS)
@example(Job(ChatRequest(messages=(ChatMessage("", ""), ChatMessage(":,%", "\n\n"), ChatMessage("ü", "")))))
@example(Job(ask(temperature=1e-7, top_p=0.1 + 0.2, seed=-1, stop=("", "\n\n"), response_format={})))
def test_a_job_is_read_as_it_was_written(job: Job) -> None:
    assert read_job(signed(draft_job(job))) == job


@LOOSE
@given(CALLS | SETTLEMENTS)
def test_an_encrypted_job_too(job: Job) -> None:
    job = replace(job, provider=PROVIDER.public)
    sealed = signed(draft_job(job, cipher=Envelope(CUSTOMER)))
    assert read_job(sealed, cipher=Envelope(PROVIDER)) == job


@FEW
@given(CALLS | SETTLEMENTS, ANSWERS, AMOUNTS, st.booleans())
def test_with_the_real_cipher_there_and_back(job: Job, answer: ChatAnswer, amount: Any, tab: bool) -> None:
    job = replace(job, provider=PROVIDER.public)
    ours, theirs = SealCipher(CUSTOMER), SealCipher(PROVIDER)
    request = signed(draft_job(job, cipher=ours))
    assert read_job(request, cipher=theirs) == job
    result = Result(request.id, answer, *amount, tab)
    reply = signed(draft_result(request, result, cipher=theirs), PROVIDER)
    assert is_encrypted(reply)
    assert read_result(reply, cipher=ours) == result


@LOOSE
@given(ANSWERS, AMOUNTS, st.booleans(), st.booleans(), st.booleans())
def test_a_result_is_read_as_it_was_written(
    answer: ChatAnswer, amount: Any, tab: bool, sealed: bool, plain_customer: bool
) -> None:
    job = Job(ask(), provider=PROVIDER.public)
    request = signed(draft_job(job, cipher=Envelope(CUSTOMER) if sealed else None))
    if plain_customer:
        request = msgspec.structs.replace(request, tags=[tag for tag in request.tags if tag[0] != "param"])
    result = Result(request.id, answer, *amount, tab)
    reply = signed(draft_result(request, result, cipher=Envelope(PROVIDER)), PROVIDER)
    assert is_encrypted(reply) is sealed
    assert read_result(reply, cipher=Envelope(CUSTOMER)) == result


@LOOSE
@given(STATUSES, TEXT, AMOUNTS)
def test_feedback_is_read_as_it_was_written(status: Any, message: str, amount: Any) -> None:
    request = signed(draft_job(Job(ask())))
    feedback = Feedback(request.id, status, message, *amount)
    assert read_feedback(signed(draft_feedback(request, feedback), PROVIDER)) == feedback


# What stands on the wire: another implementation relies on it.


def test_a_job_on_the_wire() -> None:
    chat = ask(
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Zwölf?"),
        max_tokens=64,
        temperature=0.7,
        top_p=0.95,
        top_k=40,
        stop=("\n", "END"),
        seed=-3,
        response_format={"type": "json_schema", "name": "n", "schema": {"b": 1, "a": "é"}},
    )
    job = Job(chat, "smollm2", 10, PROVIDER.public, "c0ffee", ("wss://a", "wss://b"), True)
    draft = draft_job(job)
    assert draft == Draft(
        JOB_KIND,
        [
            ["i", "Be brief.\n\nZwölf?", "text"],
            ["param", "roles", "system:9,user:6"],
            ["param", "max_tokens", "64"],
            ["param", "temperature", "0.7"],
            ["param", "top_p", "0.95"],
            ["param", "top_k", "40"],
            ["param", "seed", "-3"],
            ["param", "response_format", '{"type":"json_schema","name":"n","schema":{"b":1,"a":"é"}}'],
            ["param", "stop", "\n"],
            ["param", "stop", "END"],
            ["param", "model", "smollm2"],
            ["param", "nonce", "c0ffee"],
            ["param", "tab", "1"],
            ["param", "request_echo", "0"],
            ["output", "text/plain"],
            ["bid", "10"],
            ["p", PROVIDER.public],
            ["relays", "wss://a", "wss://b"],
        ],
        "",
    )


def test_a_job_says_nothing_it_was_not_asked_to() -> None:
    assert draft_job(Job(ask())).tags == [
        ["i", "hello", "text"],
        ["param", "roles", "user:5"],
        ["param", "request_echo", "0"],
        ["output", "text/plain"],
    ]


def test_an_encrypted_job_shows_nothing_of_the_prompt() -> None:
    job = Job(
        ask(max_tokens=5, stop=("x",)), "secret-model", 10, PROVIDER.public, "c0ffee", ("wss://a",), True
    )
    draft = draft_job(job, cipher=Envelope(CUSTOMER))
    assert draft.tags == [
        ["encrypted"],
        ["param", "request_echo", "0"],
        ["output", "text/plain"],
        ["bid", "10"],
        ["p", PROVIDER.public],
        ["relays", "wss://a"],
    ]
    inside = json.loads(Envelope(PROVIDER).decrypt(CUSTOMER.public, draft.content))
    assert inside == [
        ["i", "hello", "text"],
        ["param", "roles", "user:5"],
        ["param", "max_tokens", "5"],
        ["param", "stop", "x"],
        ["param", "model", "secret-model"],
        ["param", "nonce", "c0ffee"],
        ["param", "tab", "1"],
    ]


def test_a_settlement_asks_a_plain_provider_for_nothing() -> None:
    job = Job(ChatRequest(messages=()), bid_msat=30, provider=PROVIDER.public, settles=(ID, OTHER_ID))
    draft = draft_job(job)
    assert draft.tags == [
        ["param", "settles", f"{ID},{OTHER_ID}"],
        ["param", "request_echo", "0"],
        ["output", "text/plain"],
        ["bid", "30"],
        ["p", PROVIDER.public],
    ]
    sealed = draft_job(job, cipher=Envelope(CUSTOMER))
    assert ID not in json.dumps(sealed.tags)
    assert read_job(signed(sealed), cipher=Envelope(PROVIDER)) == job


def test_a_result_and_feedback_on_the_wire() -> None:
    request = signed(draft_job(Job(ask())))
    result = Result(request.id, ChatAnswer("hi", Usage(5, 2, 1), "length", "m"), 10, "lnbc1…", tab=True)
    assert draft_result(request, result) == Draft(
        RESULT_KIND,
        [
            ["e", request.id],
            ["p", CUSTOMER.public],
            ["status", "success"],
            ["amount", "10", "lnbc1…"],
            ["usage", "5", "2", "1"],
            ["model", "m"],
            ["finish_reason", "length"],
            ["tab", "1"],
        ],
        "hi",
    )
    feedback = Feedback(request.id, "payment-required", "pay first", 10, "lnbc1…")
    assert draft_feedback(request, feedback) == Draft(
        FEEDBACK_KIND,
        [
            ["status", "payment-required", "pay first"],
            ["e", request.id],
            ["p", CUSTOMER.public],
            ["amount", "10", "lnbc1…"],
        ],
        "",
    )


def test_the_module_is_pure() -> None:
    code = (
        "import sys, oa_compile.swarm.protocol.nip90, oa_compile.swarm.protocol.nip89;"
        "assert not {'nostr_sdk', 'pyln', 'websockets', 'dspy', 'asyncio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Plain customers and plain providers.


def test_a_plain_customers_job() -> None:
    tags = [
        ["i", "What is the capital of France?", "text"],
        ["param", "model", "LLaMA-2"],
        ["param", "max-tokens", "512"],
        ["param", "temperature", "0.5"],
        ["param", "top-k", "50"],
        ["param", "Top-P", "0.7"],
        ["param", "frequency_penalty", "1"],
        ["param", "broken"],
        ["output", "text/plain"],
        ["bid", "21000"],
        ["relays", "wss://a", "http://b", "", "wss://c"],
        ["t", "bitcoin"],
        ["p", PROVIDER.public],
        ["p", STRANGER.public],
    ]
    question = ChatMessage("user", "What is the capital of France?")
    chat = ask(question, max_tokens=512, temperature=0.5, top_k=50, top_p=0.7)
    job = Job(chat, "LLaMA-2", 21_000, PROVIDER.public, relays=("wss://a", "wss://c"))
    assert read_job(event(JOB_KIND, tags)) == job
    assert addressed_to(event(JOB_KIND, tags), STRANGER.public)
    assert not addressed_to(event(JOB_KIND, tags), CUSTOMER.public)


@pytest.mark.parametrize(
    ("inputs", "content"),
    [
        ([["i", "q"]], "q"),
        ([["i", "q", ""]], "q"),
        ([["i", "q", "prompt"]], "q"),
        ([["i", "q", "Text", "wss://hint", "marker"]], "q"),
        ([["i", "", "text"]], ""),
        ([["i", "context", "text"], ["i", "question", "text"]], "context\n\nquestion"),
    ],
)
def test_inputs_become_one_user_message(inputs: Tags, content: str) -> None:
    assert read_job(event(JOB_KIND, inputs)).chat == ask(ChatMessage("user", content))


@pytest.mark.parametrize("type_", ["url", "event", "job", "URL", "image"])
def test_nothing_is_fetched(type_: str) -> None:
    with pytest.raises(ProtocolError, match="not fetched"):
        read_job(event(JOB_KIND, [["i", "q", "text"], ["i", "https://evil.example", type_]]))


@pytest.mark.parametrize("tags", [[], [["i"]], [["param", "model", "m"]], [["I", "q"]]])
def test_a_job_without_input_is_refused(tags: Tags) -> None:
    with pytest.raises(ProtocolError, match="without input"):
        read_job(event(JOB_KIND, tags))


def test_an_output_of_json_asks_for_a_json_object() -> None:
    tags = [["i", "q"], ["output", "application/json"]]
    assert read_job(event(JOB_KIND, tags)).chat.response_format == {"type": "json_object"}
    schema = ["param", "response_format", '{"type":"json_schema"}']
    assert read_job(event(JOB_KIND, [*tags, schema])).chat.response_format == {"type": "json_schema"}
    settlement = [["param", "settles", ID], ["output", "application/json"]]
    assert read_job(event(JOB_KIND, settlement)).chat == ChatRequest(messages=())


def test_the_first_of_a_name_counts() -> None:
    tags = [["i", "q"], ["param", "seed", "1"], ["param", "seed", "x"], ["bid", "5"], ["bid", "-1"]]
    job = read_job(event(JOB_KIND, tags))
    assert (job.chat.seed, job.bid_msat) == (1, 5)


def test_a_plain_providers_result() -> None:
    tags = [
        ["request", "{…}"],
        ["e", "not an id"],
        ["e", ID, "wss://hint"],
        ["e", OTHER_ID],
        ["i", "q", "text"],
        ["p", CUSTOMER.public],
        ["p", CUSTOMER.public],
        ["status", "success"],
        ["status", "error", "of another kind"],
        ["alt", "This is the result of a job"],
    ]
    plain = event(RESULT_KIND, tags, "Paris", PROVIDER)
    assert read_result(plain) == Result(ID, ChatAnswer("Paris"))
    priced = event(RESULT_KIND, [*tags, ["amount", "1000"]], "Paris", PROVIDER)
    assert read_result(priced) == Result(ID, ChatAnswer("Paris"), 1000)
    invoiced = event(RESULT_KIND, [*tags, ["amount", "1000", "lnbc1…"]], "Paris", PROVIDER)
    assert read_result(invoiced) == Result(ID, ChatAnswer("Paris"), 1000, "lnbc1…")


@pytest.mark.parametrize(
    ("tag", "usage"),
    [
        (["usage"], Usage()),
        (["usage", "5"], Usage(5)),
        (["usage", "5", "6"], Usage(5, 6)),
        (["usage", "5", "6", "7", "8"], Usage(5, 6, 7)),
        (["usage", '{"total":5}'], Usage()),
        (["usage", "-5", "6", "7"], Usage()),
        (["usage", "5", "1e3", "7"], Usage()),
        (["usage", "9" * 19, "6", "7"], Usage()),
        (["usage", "٣", "6", "7"], Usage()),
    ],
)
def test_usage_that_makes_no_sense_is_none(tag: list[str], usage: Usage) -> None:
    assert read_result(event(RESULT_KIND, [["e", ID], tag])).answer.usage == usage


@pytest.mark.parametrize("reason", [["finish_reason"], ["finish_reason", "bored"], ["finish_reason", "STOP"]])
def test_a_finish_reason_nobody_knows_is_stop(reason: list[str]) -> None:
    assert read_result(event(RESULT_KIND, [["e", ID], reason])).answer.finish_reason == "stop"


def test_a_result_that_calls_itself_an_error_is_no_answer() -> None:
    with pytest.raises(ProtocolError, match="error"):
        read_result(event(RESULT_KIND, [["e", ID], ["status", "error"]], "out of memory"))


def test_feedback_may_have_its_words_in_the_content() -> None:
    tags = [["e", ID], ["status", "error"]]
    assert read_feedback(event(FEEDBACK_KIND, tags, "no such model")).message == "no such model"
    tags[1].append("busy")
    assert read_feedback(event(FEEDBACK_KIND, tags, "no such model")).message == "busy"
    sealed = [["e", ID], ["status", "error"], ["encrypted"]]
    assert read_feedback(event(FEEDBACK_KIND, sealed, "AgAA…")).message == ""


def test_feedback_is_read_under_the_cipher_too() -> None:
    """As nostr-dvm answers an encrypted job: all but `e` and `p` are tags in the ciphertext."""
    tags = [["encrypted"], ["p", CUSTOMER.public], ["e", ID]]
    inside = [
        ["e", OTHER_ID],
        ["status", "payment-required"],
        ["amount", "1000", "lnbc1"],
        ["content", "1 sat"],
    ]
    text = Envelope(PROVIDER).encrypt(CUSTOMER.public, json.dumps(inside))
    sealed = event(FEEDBACK_KIND, tags, text, PROVIDER)
    told = Feedback(ID, "payment-required", "1 sat", 1_000, "lnbc1")
    assert read_feedback(sealed, cipher=Envelope(CUSTOMER)) == told
    with pytest.raises(ProtocolError, match="no key"):
        read_feedback(sealed)
    with pytest.raises(ProtocolError, match="not for us"):
        read_feedback(sealed, cipher=Envelope(PROVIDER))


@pytest.mark.parametrize(
    "inside", ["", "[]", "{}", "[[1]]", '[["content","1 sat"]]', '[["status","thrilled"]]']
)
def test_feedback_that_makes_no_sense_under_the_cipher_is_refused(inside: str) -> None:
    text = Envelope(PROVIDER).encrypt(CUSTOMER.public, inside)
    sealed = event(FEEDBACK_KIND, [["e", ID], ["encrypted"]], text, PROVIDER)
    with pytest.raises(ProtocolError):
        read_feedback(sealed, cipher=Envelope(CUSTOMER))


# The request in the result.


def plain_request(prompt: str) -> Event:
    return signed(Draft(JOB_KIND, [["i", prompt, "text"], ["param", "max_tokens", "5"]], ""))


def test_a_plain_customer_gets_the_request_back() -> None:
    request = plain_request('say "hi"')
    tags = draft_result(request, Result(request.id, ChatAnswer("hi"))).tags
    assert [tag for tag in tags if tag[0] in {"request", "i"}] == [
        ["request", encode_event(request).decode()],
        ["i", 'say "hi"', "text"],
    ]


def test_an_encrypted_request_is_repeated_as_it_came() -> None:
    sealed = signed(draft_job(Job(ask(), provider=PROVIDER.public), cipher=Envelope(CUSTOMER)))
    sealed = signed(Draft(JOB_KIND, [tag for tag in sealed.tags if tag[0] != "param"], sealed.content))
    tags = draft_result(sealed, Result(sealed.id, ChatAnswer("hi")), cipher=Envelope(PROVIDER)).tags
    assert ["request", encode_event(sealed).decode()] in tags
    assert not [tag for tag in tags if tag[0] == "i"]


@pytest.mark.parametrize("prompt", ["x" * 33_000, '"' * 12_000, "é" * 17_000, "\n" * 14_000])
def test_a_request_too_large_to_repeat_is_left_out(prompt: str) -> None:
    request = plain_request(prompt)
    reply = signed(draft_result(request, Result(request.id, ChatAnswer("hi"))), PROVIDER)
    assert reply.first("request") is None
    assert read_result(reply).answer.text == "hi"


@FEW
@given(st.integers(0, 65_000), st.sampled_from('x"é\n'), st.integers(0, 20_000))
def test_repeating_never_makes_the_event_too_large(size: int, letter: str, answer: int) -> None:
    request = plain_request(letter * size)
    result = Result(request.id, ChatAnswer("y" * answer))
    reply = signed(draft_result(request, result), PROVIDER)
    assert len(encode_event(reply)) <= 65_536


# What nobody may say.

BAD_AMOUNTS = "-1 +1 1.0 1e3 0x10 1_000 1,000 ٣ １ NaN inf sat"
BAD_ROLES = "user user: user:1 user:3 user:-2 user:2, ,user:2 user:1,user:1 user:9999999999"


@pytest.mark.parametrize(
    "amount",
    [
        "",
        *BAD_AMOUNTS.split(),
        " 1",
        "1 ",
        "1\n",
        str(MAX_MSAT + 1),
        "9" * 20,
        "9" * 5000,
    ],
)
def test_an_amount_is_digits_and_at_most_all_bitcoin(amount: str) -> None:
    with pytest.raises(ProtocolError, match="amount in msat"):
        read_job(event(JOB_KIND, [["i", "q"], ["bid", amount]]))
    with pytest.raises(ProtocolError, match="amount in msat"):
        read_result(event(RESULT_KIND, [["e", ID], ["amount", amount, "lnbc1…"]]))
    with pytest.raises(ProtocolError, match="amount in msat"):
        read_feedback(event(FEEDBACK_KIND, [["e", ID], ["status", "success"], ["amount", amount]]))


def test_an_amount_tag_has_an_amount() -> None:
    with pytest.raises(ProtocolError, match="amount in msat"):
        read_result(event(RESULT_KIND, [["e", ID], ["amount"]]))
    with pytest.raises(ProtocolError, match="amount in msat"):
        read_job(event(JOB_KIND, [["i", "q"], ["bid"]]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", "-1"),
        ("max_tokens", "1.5"),
        ("max_tokens", "9" * 19),
        ("max_tokens", "many"),
        ("temperature", "nan"),
        ("temperature", "NaN"),
        ("temperature", "inf"),
        ("temperature", "1e999"),
        ("temperature", "-0.5"),
        ("temperature", "1_0"),
        ("temperature", "٣"),
        ("temperature", ""),
        ("temperature", "1" * 5000),
        ("top_p", "half"),
        ("top_k", "4.0"),
        ("top_k", "9" * 21),
        ("seed", "0x1"),
        ("seed", ""),
        ("response_format", "json"),
        ("response_format", "[]"),
        ("response_format", "null"),
        ("response_format", '{"a":NaN}'),
        ("response_format", '{"a":1e999}'),
        ("response_format", '{"a":"\\ud800"}'),
        ("response_format", '{"a":' + "[" * 50_000 + "]" * 50_000 + "}"),
        ("settles", ""),
        ("settles", "x"),
        ("settles", f"{ID},"),
        ("settles", f"{ID},{ID}"),
        ("settles", ID.upper()),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(ProtocolError):
        read_job(event(JOB_KIND, [["i", "q"], ["param", name, value]]))


@pytest.mark.parametrize(
    "roles",
    [
        "",
        *BAD_ROLES.split(),
        "user:٢",
        "user:2 ",
        "%ff:2",
        "user:0,user:0",
        "user:2,user:0",
    ],
)
def test_roles_account_for_the_whole_prompt(roles: str) -> None:
    with pytest.raises(ProtocolError):
        read_job(event(JOB_KIND, [["i", "hi"], ["param", "roles", roles]]))


def test_roles_without_the_empty_line_between_are_refused() -> None:
    with pytest.raises(ProtocolError, match="roles"):
        read_job(event(JOB_KIND, [["i", "a--b"], ["param", "roles", "user:1,user:1"]]))
    cut = read_job(event(JOB_KIND, [["i", "a\n\nb"], ["param", "roles", "system:1,user:1"]]))
    assert cut.chat == ask(ChatMessage("system", "a"), ChatMessage("user", "b"))


@pytest.mark.parametrize("pubkey", ["", "npub1xyz", PROVIDER.public.upper(), PROVIDER.public[:-1]])
def test_a_provider_is_named_by_its_key(pubkey: str) -> None:
    with pytest.raises(ProtocolError, match="public key"):
        read_job(event(JOB_KIND, [["i", "q"], ["p", pubkey]]))


def test_the_wrong_kind_is_refused() -> None:
    for kind in (0, 1, 5051, -1, 10**30):
        for read in (read_job, read_result, read_feedback):
            with pytest.raises(ProtocolError, match="of kind"):
                read(event(kind, [["i", "q"], ["e", ID], ["status", "success"]]))


@pytest.mark.parametrize(
    "tags", [[], [["e"]], [["e", ""]], [["e", "x" * 64]], [["e", ID.upper()]], [["E", ID]]]
)
def test_what_names_no_job_is_refused(tags: Tags) -> None:
    assert job_of(event(RESULT_KIND, tags)) is None
    with pytest.raises(ProtocolError, match="which job"):
        read_result(event(RESULT_KIND, tags))
    with pytest.raises(ProtocolError, match="which job"):
        read_feedback(event(FEEDBACK_KIND, [*tags, ["status", "success"]]))


@pytest.mark.parametrize(
    "status", [[], [["status"]], [["status", ""]], [["status", "PAID"]], [["status", "paid"]]]
)
def test_a_status_nobody_knows_is_refused(status: Tags) -> None:
    with pytest.raises(ProtocolError, match="status"):
        read_feedback(event(FEEDBACK_KIND, [["e", ID], *status]))


def test_what_is_encrypted_needs_a_key() -> None:
    request = signed(draft_job(Job(ask(), provider=PROVIDER.public), cipher=Envelope(CUSTOMER)))
    with pytest.raises(ProtocolError, match="no key"):
        read_job(request)
    with pytest.raises(ProtocolError, match="not for us"):
        read_job(request, cipher=Envelope(STRANGER))
    with pytest.raises(ProtocolError, match="no key"):
        draft_result(request, Result(request.id, ChatAnswer("hi")))
    reply = draft_result(request, Result(request.id, ChatAnswer("hi")), cipher=Envelope(PROVIDER))
    with pytest.raises(ProtocolError, match="no key"):
        read_result(signed(reply, PROVIDER))


@pytest.mark.parametrize("inside", ["", "{}", "[1]", '["i"]', '[["i",1]]', "[[", "text", "[" * 100_000])
def test_under_the_cipher_are_tags(inside: str) -> None:
    content = Envelope(CUSTOMER).encrypt(PROVIDER.public, inside)
    with pytest.raises(ProtocolError, match="not the JSON"):
        read_job(event(JOB_KIND, [["encrypted"], ["p", PROVIDER.public]], content), cipher=Envelope(PROVIDER))


def test_what_stands_beside_the_cipher_is_not_asked() -> None:
    content = Envelope(CUSTOMER).encrypt(PROVIDER.public, '[["i","inside"]]')
    tags = [["encrypted"], ["p", PROVIDER.public], ["i", "outside"], ["param", "seed", "1"]]
    chat = read_job(event(JOB_KIND, tags, content), cipher=Envelope(PROVIDER)).chat
    assert chat == ask(ChatMessage("user", "inside"))


# What we would not write.


@pytest.mark.parametrize(
    "job",
    [
        Job(ask(temperature=float("nan"))),
        Job(ask(temperature=float("inf"))),
        Job(ask(temperature=-1.0)),
        Job(ask(max_tokens=-1)),
        Job(ask(max_tokens=2**54)),
        Job(ask(seed=10**25)),
        Job(ask(response_format={"a": float("nan")})),
        Job(ask(response_format={"a": (1, 2)})),
        Job(ask(response_format={"a": b"bytes"})),
        Job(ask(ChatMessage("user", "\ud800"))),
        Job(ask(ChatMessage("\ud800", "x"))),
        Job(ask(), model="\udfff"),
        Job(ask(), bid_msat=-1),
        Job(ask(), bid_msat=MAX_MSAT + 1),
        Job(ask(), provider="npub1xyz"),
        Job(ask(), relays=("https://a",)),
        Job(ask(), relays=("wss://a b",)),
        Job(ask(), settles=(ID,)),
        Job(ChatRequest(messages=()), settles=(ID, ID)),
        Job(ChatRequest(messages=()), settles=("x",)),
    ],
)
def test_what_could_not_be_read_again_is_not_written(job: Job) -> None:
    with pytest.raises(ProtocolError):
        draft_job(job)
    with pytest.raises(ProtocolError):
        draft_job(replace(job, provider=job.provider or PROVIDER.public), cipher=Envelope(CUSTOMER))


def test_an_encrypted_job_goes_to_somebody() -> None:
    with pytest.raises(ProtocolError, match="needs a provider"):
        draft_job(Job(ask()), cipher=Envelope(CUSTOMER))


def test_a_prompt_over_the_ciphers_cap_is_refused() -> None:
    job = Job(ask(ChatMessage("user", "x" * 70_000)), provider=PROVIDER.public)
    with pytest.raises(ProtocolError, match="too long to encrypt"):
        draft_job(job, cipher=SealCipher(CUSTOMER))


@pytest.mark.parametrize(
    "changes",
    [
        {"job": OTHER_ID},
        {"amount_msat": -1},
        {"amount_msat": MAX_MSAT + 1},
        {"bolt11": "lnbc1…"},
        {"answer": ChatAnswer("\ud800")},
        {"answer": ChatAnswer("", model="\ud800")},
        {"answer": ChatAnswer("", Usage(-1))},
    ],
)
def test_a_result_that_makes_no_sense_is_not_written(changes: dict[str, Any]) -> None:
    request = signed(draft_job(Job(ask())))
    with pytest.raises(ProtocolError):
        draft_result(request, replace(Result(request.id, ChatAnswer("hi")), **changes))


@pytest.mark.parametrize(
    "changes",
    [{"job": OTHER_ID}, {"status": "paid"}, {"amount_msat": -1}, {"bolt11": "lnbc1…"}, {"message": "\ud800"}],
)
def test_feedback_that_makes_no_sense_is_not_written(changes: dict[str, Any]) -> None:
    request = signed(draft_job(Job(ask())))
    with pytest.raises(ProtocolError):
        draft_feedback(request, replace(Feedback(request.id, "success"), **changes))


# Anything at all.

WORDS = (
    "i param roles model max_tokens temperature top_p top_k top-k seed stop response_format nonce tab "
    "settles output bid p e relays amount status usage finish_reason encrypted text url "
    "user:2 1 -1 1e3 NaN 1.5 ٣ {} [[ success error partial payment-required application/json"
)
VALUES = (
    st.sampled_from(WORDS.split())
    | st.sampled_from(["", "hi", ID, PROVIDER.public, "9" * 5000, "\x00"])
    | st.text(st.characters(), max_size=5)
)
ANY_TAGS = st.lists(st.lists(VALUES, max_size=5), max_size=8)
INSIDE = st.one_of(TEXT, ANY_TAGS.map(json.dumps), JSON.map(json.dumps))
SURROGATE = re.compile("[\ud800-\udfff]")


def survives(foreign: Event, cipher: Cipher) -> None:
    """Every reader ends in a value that makes sense, or in ProtocolError."""
    try:
        job = read_job(foreign, cipher=cipher)
        assert 0 <= job.bid_msat <= MAX_MSAT
        assert job.chat.max_tokens is None or 0 <= job.chat.max_tokens <= 2**53
        assert job.chat.temperature is None or 0 <= job.chat.temperature < float("inf")
        assert all(len(id_) == 64 for id_ in job.settles)
        again = replace(job, provider=PROVIDER.public)
        if SURROGATE.search(json.dumps(msgspec.to_builtins(job), ensure_ascii=False)) is None:
            assert read_job(signed(draft_job(again))) == again
    except ProtocolError:
        pass
    try:
        result = read_result(foreign, cipher=cipher)
        assert result.amount_msat is None or 0 <= result.amount_msat <= MAX_MSAT
        assert result.answer.usage.total >= 0
        assert len(result.job) == 64
    except ProtocolError:
        pass
    try:
        feedback = read_feedback(foreign)
        assert feedback.amount_msat is None or 0 <= feedback.amount_msat <= MAX_MSAT
    except ProtocolError:
        pass


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([JOB_KIND, RESULT_KIND, FEEDBACK_KIND]), ANY_TAGS, INSIDE, st.booleans())
def test_any_event_is_read_or_refused(kind: int, tags: Tags, inside: str, sealed: bool) -> None:
    content = Envelope(CUSTOMER).encrypt(PROVIDER.public, inside) if sealed else inside
    survives(event(kind, [["encrypted"], *tags] if sealed else tags, content), Envelope(PROVIDER))


@settings(deadline=None, max_examples=200)
@given(CALLS | SETTLEMENTS, st.data())
def test_one_value_changed_is_read_or_refused(job: Job, data: st.DataObject) -> None:
    tags = [list(tag) for tag in draft_job(job).tags] + [["e", ID], ["status", "success"], ["amount", "5"]]
    tag = data.draw(st.sampled_from(tags))
    tag[data.draw(st.integers(0, len(tag) - 1))] = data.draw(VALUES)
    survives(
        event(data.draw(st.sampled_from([JOB_KIND, RESULT_KIND, FEEDBACK_KIND])), tags), Envelope(PROVIDER)
    )


def test_very_many_tags_are_read_in_one_pass() -> None:
    many = [["param", f"p{n}", "x"] for n in range(50_000)] + [["p", PROVIDER.public]] * 50_000
    assert read_job(event(JOB_KIND, [*many, ["i", "q"]])).provider == PROVIDER.public
    roles = ",".join(["user:0"] * 20_000)
    chat = read_job(event(JOB_KIND, [["i", "\n\n" * 19_999], ["param", "roles", roles]])).chat
    assert len(chat.messages) == 20_000
