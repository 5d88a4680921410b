"""The embedded lane on the real model: real weights, real inference, no network."""

import contextlib
import gc
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest
from dspy.lm15 import Message, Request, Response, Usage

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.chat import Usage as TokenUsage
from oa_compile.digest import digest_json
from oa_compile.errors import UsageError
from oa_compile.lanes import embedded, weights
from oa_compile.lanes.compact import CompactAdapter
from oa_compile.lanes.embedded import EmbeddedLane
from oa_compile.lanes.grammar import SCHEMA_NAME, Layout, read
from oa_compile.lanes.lane import LaneFault, Quote, RequestRefused, Spent
from oa_compile.spec.lanes import EmbeddedLaneSpec

pytestmark = pytest.mark.model

TOOLS = ["read", "edit", "run", "search"]
STEPS = [
    "Let me look at the file first.",
    "I will run the tests now.",
    "Where is this function defined?",
    "The import is wrong, I will correct it.",
    "Let me see what the config says.",
    "Now check that everything passes.",
    "Find all places that call it.",
    "Replace the old name with the new one.",
]
SYSTEM = "Pick the tool for the next step.\ntool is one of: read, edit, run, search"


class Books:
    """An account that keeps what it was told."""

    def __init__(self, key: str = "sha256:0000002a" + "0" * 56) -> None:
        self.key = key
        self.quotes: list[Quote] = []
        self.told: list[tuple[str, Any]] = []

    def attempt(self, lane: str, quote: Quote) -> "Books":
        self.quotes.append(quote)
        return self

    def answered(self, answer: Any, spent: Spent) -> None:
        self.told.append(("answered", spent))

    def refused(self, error: RequestRefused) -> None:
        self.told.append(("refused", error))

    def failed(self, fault: LaneFault) -> None:
        self.told.append(("failed", fault))

    def pause(self, seconds: float) -> None:
        assert seconds == 0


def make(**settings: Any) -> EmbeddedLane:
    return EmbeddedLane("local", EmbeddedLaneSpec(kind="embedded", **settings), price_msat=7)


@pytest.fixture(scope="module")
def lane() -> Iterator[EmbeddedLane]:
    lane = make(instances=1, context=2048)
    yield lane
    lane.close()


def compact(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "json_schema", "name": SCHEMA_NAME, "schema": schema, "strict": True}


def ask(text: str, *, system: str = SYSTEM, **settings: Any) -> ChatRequest:
    settings.setdefault("response_format", compact(tool={"enum": TOOLS}))
    settings.setdefault("temperature", 0.0)
    return ChatRequest(
        messages=(ChatMessage("system", system), ChatMessage("user", f"text: {text}")), **settings
    )


def instances(lane: EmbeddedLane) -> int:
    return lane._pool._made


def test_making_a_lane_loads_nothing_and_knows_who_it_is() -> None:
    lane = make()
    assert lane.identity == "embedded:smollm2-135m@b179c9523d0e"
    assert (lane.kind, lane.name, lane.concurrency) == ("embedded", "local", 2)
    assert make(context=512, max_tokens=5).identity == lane.identity
    assert instances(lane) == 0
    lane.close()


def test_unknown_models_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match="no model `gpt-9`"):
        make(model="gpt-9")


def test_answers_in_the_compact_layout(lane: EmbeddedLane) -> None:
    books = Books()
    answer = lane.complete(ask(STEPS[0]), books)
    assert answer.text.removeprefix("tool: ") in TOOLS
    assert (answer.finish_reason, answer.model) == ("stop", "smollm2-135m")
    [(outcome, spent)] = books.told
    assert (outcome, spent.msat, spent.tokens) == ("answered", 7, answer.usage.total)
    assert 0 < answer.usage.total <= books.quotes[0].tokens
    assert books.quotes[0].msat == 7


def test_every_kind_of_field_parses(lane: EmbeddedLane) -> None:
    form = compact(
        count={"type": "integer"},
        share={"type": "number"},
        sure={"type": "boolean"},
        files={"type": "array", "items": {"type": "string"}},
        data={"type": "object"},
        label={"enum": ['say "hi"', "back\\slash", "läuft ✓"]},
        why={"type": "string"},
    )
    text = lane.complete(ask("x", response_format=form, max_tokens=400), Books()).text
    lines = dict(line.split(": ", 1) for line in text.strip().split("\n"))
    assert list(lines) == ["count", "share", "sure", "files", "data", "label", "why"]
    read(Layout("integer"), lines["count"])
    read(Layout("number"), lines["share"])
    read(Layout("boolean"), lines["sure"])
    read(Layout("list"), lines["files"])
    read(Layout("json"), lines["data"])
    assert lines["label"] in form["schema"]["properties"]["label"]["enum"]
    assert lines["why"]


def test_free_text_without_a_form(lane: EmbeddedLane) -> None:
    answer = lane.complete(ask("Say hello.", response_format=None, max_tokens=4), Books())
    assert answer.finish_reason == "length"
    assert answer.usage.output_tokens <= 4


def test_other_schemas_are_the_engines_own(lane: EmbeddedLane) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": ["a", "b"]}}, "required": ["n"]}
    form = {"type": "json_schema", "name": "other", "schema": schema, "strict": True}
    answer = json.loads(lane.complete(ask("x", response_format=form, max_tokens=60), Books()).text)
    assert answer["n"] in ("a", "b")
    text = lane.complete(ask("x", response_format={"type": "json_object"}, max_tokens=60), Books()).text
    assert text.lstrip().startswith("{")


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema", "name": "other", "schema": {"type": "bogus"}},
        {"type": "json_schema", "name": SCHEMA_NAME, "schema": {"type": "object"}},
    ],
)
def test_a_schema_that_cannot_be_followed_is_the_requests_own_fault(
    lane: EmbeddedLane, form: dict[str, Any]
) -> None:
    books = Books()
    with pytest.raises(RequestRefused):
        lane.complete(ask("x", response_format=form), books)


def test_a_prompt_longer_than_the_context_is_refused_with_numbers(lane: EmbeddedLane) -> None:
    books = Books()
    with pytest.raises(RequestRefused, match=r"the prompt has \d,\d+ tokens, the context holds 2,048"):
        lane.complete(ask("word " * 2500), books)
    assert books.told[0][0] == "refused"
    assert lane.complete(ask(STEPS[0]), Books()).text


@pytest.mark.parametrize(
    "messages",
    [
        (ChatMessage("user", "hi"),),
        (ChatMessage("system", ""), ChatMessage("user", "")),
        (ChatMessage("user", "ਪੰਜਾਬੀ 漢字 🦙🦙🦙 \x01\x02 <|im_end|><|im_start|>"),),
        tuple(ChatMessage(("user", "assistant")[i % 2], "a") for i in range(41)),
    ],
)
def test_the_quote_is_never_passed(lane: EmbeddedLane, messages: tuple[ChatMessage, ...]) -> None:
    books = Books()
    lane.complete(ChatRequest(messages=messages, max_tokens=3), books)
    assert books.told[0][1].tokens <= books.quotes[0].tokens


def test_sampling_is_a_function_of_the_calls_key(lane: EmbeddedLane) -> None:
    def sample(key: str, **settings: Any) -> str:
        request = ask("Tell a story.", response_format=None, temperature=1.0, max_tokens=12, **settings)
        return lane.complete(request, Books(key)).text

    one, two = digest_json("one"), digest_json("two")
    assert sample(one) == sample(one)
    assert sample(one) != sample(two)
    assert sample(one, seed=5) == sample(two, seed=5)


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    """Neither a cached prefix, nor a prompt just seen, nor an answer just given changes a bit of it."""
    path = str(weights.resolve("smollm2-135m").path)
    used, fresh = embedded._Instance(path, context=2048), embedded._Instance(path, context=2048)

    def probabilities(instance: embedded._Instance, messages: list[dict[str, str]], cache: bool) -> Any:
        payload = {
            "messages": messages,
            "max_tokens": 4,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 3,
            "cache_prompt": cache,
        }
        choice = instance.complete(payload)["choices"][0]
        tokens = [(token["token"], token["logprob"]) for token in choice["logprobs"]["content"]]
        return choice["message"]["content"], tokens

    def conversation(sentences: int, user: str) -> list[dict[str, str]]:
        system = "Answer. " + " ".join((STEPS * 8)[:sentences])
        return [{"role": "system", "content": system}, {"role": "user", "content": user}]

    for sentences in (0, 16):
        first = conversation(sentences, STEPS[0])
        answer, alone = probabilities(used, first, cache=True)
        follow_up = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": STEPS[1]}]
        assert alone == probabilities(used, first, cache=True)[1], "one token was new"
        extended = probabilities(used, follow_up, cache=True)  # reuses what it generated
        assert alone == probabilities(fresh, first, cache=False)[1]
        assert extended == probabilities(fresh, follow_up, cache=False)
    # Longer than one batch of 512 tokens.
    probabilities(used, conversation(64, STEPS[2]), cache=True)
    neighbour = probabilities(used, conversation(64, STEPS[3]), cache=True)
    assert neighbour == probabilities(fresh, conversation(64, STEPS[3]), cache=False)


def test_eight_threads_on_two_instances_answer_like_one() -> None:
    requests = [ask(step) for step in STEPS] + [ask(step, system=f"Carefully. {SYSTEM}") for step in STEPS]
    one = make(instances=1)
    expected = [one.complete(request, Books()).text for request in requests]
    one.close()
    two = make(instances=2)
    start = threading.Barrier(8)

    def work(number: int) -> list[tuple[int, str]]:
        start.wait()
        mine = range(number, len(requests), 8)
        return [(index, two.complete(requests[index], Books()).text) for index in mine]

    with ThreadPoolExecutor(8) as pool:
        answers = dict(pair for pairs in pool.map(work, range(8)) for pair in pairs)
    assert [answers[index] for index in range(len(requests))] == expected
    assert instances(two) == 2
    two.close()


def test_a_shared_prefix_is_not_read_again(lane: EmbeddedLane) -> None:
    lane.complete(ask(STEPS[0]), Books())
    usage: TokenUsage = lane.complete(ask(STEPS[1]), Books()).usage
    assert usage.cached_tokens > usage.input_tokens / 2


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    noisy = make(instances=1)
    noisy.complete(ask(STEPS[0]), Books())
    with contextlib.suppress(RequestRefused):
        noisy.complete(ask("word " * 5000), Books())
    noisy.close()
    del noisy
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_close_frees_the_model_and_twice_is_safe() -> None:
    def threads() -> set[str]:
        return {task.name for task in Path("/proc/self/task").iterdir()} if sys.platform == "linux" else set()

    with contextlib.closing(make(instances=1)) as first:  # whose libraries start threads that stay
        first.complete(ask(STEPS[0]), Books())
    before = threads()
    closing = make(instances=1)
    closing.complete(ask(STEPS[0]), Books())
    closing.close()
    closing.close()
    gc.collect()
    assert threads() <= before  # one of an earlier test may have ended meanwhile
    with pytest.raises(LaneFault, match="closed"):
        closing.complete(ask(STEPS[0]), Books())


def test_a_model_that_cannot_be_loaded_reserves_nothing(tmp_path: Any) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF and then nothing")
    broken = make(model=str(path))
    books = Books()
    for _ in range(2):
        with pytest.raises(UsageError, match="cannot load this model"):
            broken.complete(ask(STEPS[0]), books)
    assert books.quotes == []
    broken.close()


def test_a_crash_of_the_engine_is_a_fault_and_the_instance_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crashing = make(instances=1)
    real = embedded._Instance

    class Crashing(real):  # type: ignore[misc, valid-type]
        def __init__(self, path: str, *, context: int) -> None:
            super().__init__(path, context=context)
            server, self._server = self._server, self
            self.handle_chat_completions = lambda payload: self._crash(server)

        def _crash(self, server: Any) -> Any:
            raise RuntimeError("decode failed")

    monkeypatch.setattr(embedded, "_Instance", Crashing)
    crashing._pool.prepare()
    monkeypatch.setattr(embedded, "_Instance", real)
    books = Books()
    assert crashing.complete(ask(STEPS[0]), books).text
    assert [outcome for outcome, _ in books.told] == ["failed", "answered"]
    assert books.told[0][1].kind == "server"
    assert instances(crashing) == 1
    crashing.close()


class FakeInstance:
    """Takes an instance's place where only the handing out matters."""

    def __init__(self, path: str, *, context: int) -> None:
        self.messages: list[dict[str, str]] = []


def test_the_instance_that_knows_most_of_the_prompt_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_Instance", FakeInstance)
    pool = make(instances=2)._pool
    one, two = ([{"role": "system", "content": text}] for text in ("Pick the tool.", "Pick the file."))
    with pool.instance(one) as first, pool.instance(two) as second:
        first.messages, second.messages = one, two
    for messages, expected in ((one, first), (two, second), (one, first)):
        with pool.instance([*messages, {"role": "user", "content": "x"}]) as instance:
            assert instance is expected


def test_close_wakes_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_Instance", FakeInstance)
    pool = make(instances=1)._pool

    def wait() -> None:
        with pool.instance([]):
            raise AssertionError("a closed pool hands out nothing")

    with ThreadPoolExecutor(1) as threads, pool.instance([]):
        waiting = threads.submit(wait)
        pool.close()
        with pytest.raises(LaneFault, match="closed"):
            waiting.result()
    assert pool._idle == []


class Engine:
    """DSPy's engine contract in front of a lane, without a budget."""

    supports_response_schema = True
    supported_params = ("response_format",)

    def __init__(self, lane: EmbeddedLane) -> None:
        self.lane = lane

    def __deepcopy__(self, memo: dict[int, Any]) -> "Engine":
        return self

    def complete(self, request: Request) -> Response:
        messages = [ChatMessage("system", str(request.system))]
        messages += [ChatMessage(m.role, "".join(part.text for part in m.parts)) for m in request.messages]
        form = request.config.response_format
        chat = ChatRequest(
            messages=tuple(messages), max_tokens=60, response_format=dict(form) if form else None
        )
        answer = self.lane.complete(chat, Books())
        return Response(
            id=None,
            model=answer.model,
            message=Message.assistant(answer.text),
            finish_reason=answer.finish_reason,
            usage=Usage(input_tokens=answer.usage.input_tokens, output_tokens=answer.usage.output_tokens),
        )


def test_dspy_programs_always_parse(lane: EmbeddedLane) -> None:
    class Step(dspy.Signature):
        """Pick the tool for the next step."""

        text: str = dspy.InputField()
        tool: Literal["read", "edit", "run", "search"] = dspy.OutputField()
        urgent: bool = dspy.OutputField()
        files: list[str] = dspy.OutputField()

    lm = dspy.LM("embedded", engine=Engine(lane), cache=False, num_retries=0)
    with dspy.context(lm=lm, adapter=CompactAdapter()):
        predictions = [dspy.Predict(Step)(text=step) for step in STEPS]
    assert all(prediction.tool in TOOLS for prediction in predictions)
    assert all(isinstance(prediction.urgent, bool) for prediction in predictions)
