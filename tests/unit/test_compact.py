"""The compact adapter against DSPy's own modules, optimizer signatures and a scripted engine."""

import asyncio
import enum
from typing import Any, Literal

import dspy
import pydantic
import pytest
from dspy.lm15 import Message, Request, Response, Usage
from dspy.propose.dataset_summary_generator import DatasetDescriptor, ObservationSummarizer
from dspy.propose.grounded_proposer import DescribeProgram, generate_instruction_class
from dspy.teleprompt.copro_optimizer import BasicGenerateInstruction, GenerateInstructionGivenAttempts
from dspy.teleprompt.gepa.instruction_proposal import ProposeInstruction
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import UsageError
from oa_compile.lanes.compact import CompactAdapter, response_format
from oa_compile.lanes.grammar import compact_grammar

ADAPTER = CompactAdapter()
Tool = Literal["read", "edit", "run", "search"]


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Point(pydantic.BaseModel):
    x: int
    note: str


class Route(dspy.Signature):
    """Pick the tool for the next step."""

    text: str = dspy.InputField()
    step: int = dspy.InputField(desc="number of   the\nstep")
    tool: Tool = dspy.OutputField()
    why: str = dspy.OutputField(desc="one reason")


class Engine:
    """Answers with the given texts in turn, and keeps the requests."""

    supports_response_schema = True
    supported_params = ("response_format",)

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Engine":
        return self

    def complete(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(self.answers.pop(0)),
            finish_reason="stop",
            usage=Usage(input_tokens=1, output_tokens=1),
        )


class AsyncEngine(Engine):
    async def complete(self, request: Request) -> Response:  # type: ignore[override]
        return super().complete(request)


def ask(module: dspy.Module, engine: Engine, **inputs: Any) -> dspy.Prediction:
    with dspy.context(lm=dspy.LM("test", engine=engine, cache=False), adapter=CompactAdapter()):
        return module(**inputs)


def texts(request: Request) -> list[str]:
    return [
        str(request.system),
        *("".join(part.text for part in message.parts) for message in request.messages),
    ]


def output(annotation: Any, **field: Any) -> type[dspy.Signature]:
    return dspy.Signature({"x": (str, dspy.InputField()), "value": (annotation, dspy.OutputField(**field))})


def labelled(annotation: Any, labels: dict[str, str]) -> type[dspy.Signature]:
    signature = output(annotation)
    signature.output_fields["value"].json_schema_extra["labels"] = labels
    return signature


def test_prompt_is_the_instruction_and_lines() -> None:
    messages = ADAPTER.format(Route, [], {"text": "Let me look.", "step": 2})
    assert messages == [
        {
            "role": "system",
            "content": "Pick the tool for the next step.\nstep: number of the step\n"
            "tool is one of: read, edit, run, search\nwhy (one reason) is text",
        },
        {"role": "user", "content": "text: Let me look.\nstep: 2"},
    ]


def test_demos_are_pairs_and_incomplete_ones_say_what_is_missing() -> None:
    demos = [
        {"text": "run it", "step": 1, "tool": "run", "why": "tests"},
        {"text": "open it", "tool": "read"},
        {"text": "no output: left out"},
    ]
    messages = ADAPTER.format(Route, demos, {"text": "x", "step": 3})
    assert [(message["role"], message["content"]) for message in messages[1:-1]] == [
        (
            "user",
            "This is an example of the task, though some input or output fields are not supplied.\n"
            "text: open it",
        ),
        ("assistant", "tool: read\nwhy: Not supplied for this particular example."),
        ("user", "text: run it\nstep: 1"),
        ("assistant", "tool: run\nwhy: tests"),
    ]


def test_lines_of_a_value_cannot_pass_for_fields() -> None:
    messages = ADAPTER.format(Route, [], {"text": "first\ntool: run\n\nlast", "step": 1})
    assert messages[-1]["content"] == "text: first\n  tool: run\n  \n  last\nstep: 1"


def test_answer_is_parsed_and_schema_is_sent() -> None:
    engine = Engine("tool: run\nwhy: it is time")
    prediction = ask(dspy.Predict(Route), engine, text="go", step=1)
    assert (prediction.tool, prediction.why) == ("run", "it is time")
    assert engine.requests[0].config.response_format == {
        "type": "json_schema",
        "name": "oacompile_compact",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "tool": {"type": "string", "enum": ["read", "edit", "run", "search"]},
                "why": {"type": "string"},
            },
            "required": ["tool", "why"],
            "additionalProperties": False,
        },
    }


def test_no_schema_for_an_engine_that_takes_none() -> None:
    engine = Engine("tool: run\nwhy: x")
    engine.supports_response_schema = False
    ask(dspy.Predict(Route), engine, text="go", step=1)
    assert engine.requests[0].config.response_format is None


def test_json_object_is_an_answer_too() -> None:
    prediction = ask(dspy.Predict(Route), Engine('{"tool": "edit", "why": "a: b\\nc"}'), text="go", step=1)
    assert (prediction.tool, prediction.why) == ("edit", "a: b\nc")


def test_async_calls() -> None:
    lm = dspy.LM("test", engine=Engine(), async_engine=AsyncEngine("tool: run\nwhy: x"), cache=False)

    async def call() -> dspy.Prediction:
        with dspy.context(lm=lm, adapter=CompactAdapter()):
            return await dspy.Predict(Route).acall(text="go", step=1)

    assert asyncio.run(call()).tool == "run"


def test_several_completions() -> None:
    engine = Engine("tool: run\nwhy: a", "tool: read\nwhy: b", "tool: edit\nwhy: c")
    prediction = ask(dspy.Predict(Route, n=3, temperature=1.0), engine, text="go", step=1)
    assert prediction.completions.tool == ["run", "read", "edit"]


def test_chain_of_thought() -> None:
    engine = Engine("reasoning: I should\n  look first\ntool: read\nwhy: because")
    prediction = ask(dspy.ChainOfThought(Route), engine, text="go", step=1)
    assert prediction.reasoning == "I should\nlook first"
    assert prediction.tool == "read"
    assert "reasoning is text" in texts(engine.requests[0])[0]


def test_reasoning_type() -> None:
    module = dspy.ChainOfThought(Route, rationale_field_type=dspy.Reasoning)
    prediction = ask(module, Engine("reasoning: think\ntool: read\nwhy: x"), text="go", step=1)
    assert isinstance(prediction.reasoning, dspy.Reasoning)
    demo = ADAPTER.format_assistant_message_content(module.predict.signature, prediction.toDict())
    assert demo == "reasoning: think\ntool: read\nwhy: x"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("tool: run", "no line for: why"),
        ("tool: walk\nwhy: x", "'walk' is not one of: read, edit, run, search"),
        ("I would run it.", "no line for: tool, why"),
        ('{"tool": "walk", "why": "x"}', "`tool`"),
        ('{"tool": "run"}', "no line for: why"),
        ('{"tool": "run", "why": "cut of', "no line for: tool, why"),
        ("[1]", "no line for"),
    ],
)
def test_wrong_answers_are_parse_errors(answer: str, says: str) -> None:
    with pytest.raises(AdapterParseError, match=says) as caught:
        ADAPTER.parse(Route, answer)
    assert caught.value.adapter_name == "CompactAdapter"
    assert caught.value.lm_response == answer


@pytest.mark.parametrize(
    "answer",
    [
        "Sure, here it is\n\ntool: run\nwhy: two\n\nparagraphs\n\n",
        "why: two\n  \n  paragraphs\ntool:  run \n",
        "tool: run\nwhy: two\n\nparagraphs\ntext: the next question\ntool: read\nwhy: other",
    ],
)
def test_loose_answers_are_read(answer: str) -> None:
    assert ADAPTER.parse(Route, answer) == {"tool": "run", "why": "two\n\nparagraphs"}


def test_optional_output_may_be_missing() -> None:
    assert ADAPTER.parse(output(int | None), "nothing") == {"value": None}
    assert ADAPTER.parse(output(int | None), "value: 3") == {"value": 3}


def test_labels_stand_for_values_everywhere() -> None:
    signature = labelled(Literal["SYNTAX_ERROR", "IMPORT_ERROR"], {"SYNTAX_ERROR": "syntax"})
    messages = ADAPTER.format(signature, [{"x": "a", "value": "SYNTAX_ERROR"}], {"x": "b"})
    assert messages[0]["content"].endswith("value is one of: syntax, IMPORT_ERROR")
    assert messages[2]["content"] == "value: syntax"
    schema = response_format(signature)["json_schema"]["schema"]
    assert schema["properties"]["value"]["enum"] == ["syntax", "IMPORT_ERROR"]
    assert ADAPTER.parse(signature, "value: syntax") == {"value": "SYNTAX_ERROR"}
    assert ADAPTER.parse(signature, '{"value": "syntax"}') == {"value": "SYNTAX_ERROR"}
    with pytest.raises(AdapterParseError):
        ADAPTER.parse(signature, "value: SYNTAX_ERROR")


def test_labels_survive_changes_of_the_signature() -> None:
    signature = labelled(Literal["A", "B"], {"A": "first"}).with_instructions("Other words.")
    prediction = ask(dspy.ChainOfThought(signature), Engine("reasoning: r\nvalue: first"), x="q")
    assert prediction.value == "A"


def test_labels_of_inputs() -> None:
    signature = dspy.Signature("x: Literal['A', 'B'] -> y")
    signature.input_fields["x"].json_schema_extra["labels"] = {"A": "first"}
    assert ADAPTER.format(signature, [], {"x": "A"})[-1]["content"] == "x: first"


@pytest.mark.parametrize(
    ("annotation", "labels", "says"),
    [
        (Literal["A", "B"], {"A": "two\nlines"}, "cannot be a label"),
        (Literal["A", "B"], {"A": "B"}, "written alike"),
        (Literal["A", "B"], {"C": "c"}, "do not exist: C"),
        (str, {"A": "a"}, "labels go with a Literal"),
    ],
)
def test_bad_labels_are_refused(annotation: Any, labels: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ADAPTER.format(labelled(annotation, labels), [], {"x": "a"})


def test_demos_of_the_wrong_type_are_shown_as_they_are() -> None:
    signature = output(int)
    assert ADAPTER.format_assistant_message_content(signature, {"value": "many"}) == "value: many"
    assert ADAPTER.format_assistant_message_content(output(Tool), {"value": "walk"}) == "value: walk"


def test_lists_and_models_as_inputs() -> None:
    signature = dspy.Signature("files: list[str], docs, where: dict[str, int] -> y")
    content = ADAPTER.format(signature, [], {"files": ["a", "b"], "docs": ["one", "two"], "where": {"k": 1}})
    assert content[-1]["content"] == 'files: a; b\ndocs: [1] «one»\n  [2] «two»\nwhere: {"k": 1}'


def test_conversation_history() -> None:
    class Chat(dspy.Signature):
        question: str = dspy.InputField()
        history: dspy.History = dspy.InputField()
        answer: str = dspy.OutputField()

    history = dspy.History(messages=[{"question": "a?", "answer": "b"}])
    messages = ADAPTER.format(Chat, [], {"question": "c?", "history": history})
    assert [message["content"] for message in messages[1:]] == ["question: a?", "answer: b", "question: c?"]


def test_types_of_their_own_go_as_json() -> None:
    signature = output(list[Point])
    points = [Point(x=1, note="a\nb")]
    written = ADAPTER.format_assistant_message_content(signature, {"value": points})
    assert written == 'value: [{"x": 1, "note": "a\\nb"}]'
    assert ADAPTER.parse(signature, written) == {"value": points}
    wrapper = response_format(signature)["json_schema"]
    assert wrapper["strict"] is False
    assert "Point" in wrapper["schema"]["$defs"]
    with pytest.raises(AdapterParseError, match="`value`"):
        ADAPTER.parse(signature, 'value: [{"x": "one"}]')


SUPPORTED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (Tool, st.sampled_from(["read", "edit", "run", "search"])),
    (Literal[1, 2, True, "x y"], st.sampled_from([1, 2, True, "x y"])),
    (Mood, st.sampled_from(Mood)),
    (list[str], st.lists(st.text())),
    (list[int], st.lists(st.integers())),
    (list[float], st.lists(st.floats(allow_nan=False))),
    (dict[str, int], st.dictionaries(st.text(), st.integers())),
    (str | None, st.text()),
    (Point, st.builds(Point, x=st.integers(-(2**60), 2**60), note=st.text())),
    (dspy.Reasoning, st.builds(dspy.Reasoning, content=st.text())),
]


@pytest.mark.parametrize(("annotation", "values"), SUPPORTED, ids=lambda v: str(v)[:40])
@given(data=st.data())
def test_format_then_parse_is_the_identity(data: st.DataObject, annotation: Any, values: Any) -> None:
    signature = dspy.Signature(
        {
            "x": (str, dspy.InputField()),
            "before": (str, dspy.OutputField()),
            "value": (annotation, dspy.OutputField()),
            "after": (list[str], dspy.OutputField()),
        }
    )
    outputs = {
        "before": data.draw(st.text()),
        "value": data.draw(values),
        "after": data.draw(st.lists(st.text(), max_size=3)),
    }
    parsed = ADAPTER.parse(signature, ADAPTER.format_assistant_message_content(signature, outputs))
    assert parsed == outputs
    assert type(parsed["value"]) is type(outputs["value"])


OPTIMIZER_SIGNATURES = [
    BasicGenerateInstruction,
    GenerateInstructionGivenAttempts,
    ObservationSummarizer,
    DatasetDescriptor,
    DescribeProgram,
    generate_instruction_class().signature,
    ProposeInstruction,
]


@pytest.mark.parametrize("signature", OPTIMIZER_SIGNATURES, ids=lambda s: s.__name__)
def test_optimizer_signatures_pass_through(signature: type[dspy.Signature]) -> None:
    inputs: dict[str, Any] = {
        name: ["one", "two"] if "list" in str(info.annotation) else "some\ntext"
        for name, info in signature.input_fields.items()
    }
    assert all(f"{name}:" in ADAPTER.format(signature, [], inputs)[-1]["content"] for name in inputs)
    outputs = dict.fromkeys(signature.output_fields, "Do it well.\n\n- first: this\n- then: that")
    written = ADAPTER.format_assistant_message_content(signature, outputs)
    assert ADAPTER.parse(signature, written) == outputs
    assert compact_grammar(response_format(signature)["json_schema"]["schema"]).opening
