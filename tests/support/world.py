"""A small compile that runs in a second: a program, a dataset, and a lane that answers by rule.

The lane is deterministic in the request, so runs can be compared byte for byte; how well it answers
depends on the prompt, so that candidates differ.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oa_compile.artifact.folder import RunFolder, create, read_inputs
from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.dataset import DatasetCard, ExampleRecord, SplitMethod, write_dataset
from oa_compile.lanes.lane import Account, LaneFault, Quote, Spent
from oa_compile.lanes.metered import Retry, Sent, complete
from oa_compile.optimize.driver import Outcome, run_compile
from oa_compile.optimize.plan import Plan, make_plan
from oa_compile.spec.config import Config
from oa_compile.spec.load import load_program

PROGRAM = """\
schema_version = 1
name = "{name}"

[signature]
instructions = "Name the colour of the thing."
inputs = [{{ name = "thing" }}]
outputs = [{{ name = "colour", type = "enum", values = ["red", "green", "blue"] }}]

[module]
kind = "{kind}"

[[metrics]]
kind = "exact_match"
field = "colour"
feedback = "It is {{gold}}, you said {{pred}}."
"""

TWO_STEPS = """\
import dspy


class Colours(dspy.Module):
    def __init__(self):
        super().__init__()
        self.describe = dspy.Predict("thing -> description")
        self.name = dspy.Predict(
            dspy.Signature("description -> colour", "Name the colour of the thing.").with_updated_fields(
                "colour", type_=str
            )
        )

    def forward(self, thing):
        return self.name(description=self.describe(thing=thing).description)
"""

COLOURS = ("red", "green", "blue")


def unit(*parts: object) -> float:
    """A number in 0 … 1 drawn from the digest of `parts`."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def records(count: int, *, offset: int = 0) -> list[ExampleRecord]:
    """`count` examples with an arbitrary but fixed colour."""
    things = [f"thing number {offset + index}" for index in range(count)]
    return [
        ExampleRecord.of({"thing": thing}, outputs={"colour": COLOURS[int(unit(thing) * 3)]})
        for thing in things
    ]


def make_dataset(folder: Path, *, train: int, val: int, test: int) -> Path:
    """A dataset folder of that size."""
    card = DatasetCard(
        program="colours",
        split=SplitMethod(
            method="given",
            seed=0,
            group="none",
            shares={"train": 0.4, "val": 0.3, "test": 0.3},
        ),
    )
    parts = {
        "train": records(train),
        "val": records(val, offset=train),
        "test": records(test, offset=train + val),
    }
    write_dataset(folder, card=card, records=parts)
    return folder


def make_program(folder: Path, *, kind: str = "predict", steps: int = 1, extra: str = "") -> Path:
    """A program folder; two steps are a Python module with two predictors."""
    folder.mkdir(parents=True, exist_ok=True)
    text = PROGRAM.format(name="colours", kind=kind)
    if steps == 2:
        head, _, tail = text.partition("[signature]")
        tail = tail[tail.index("[[metrics]]") :]
        text = f'{head}[module]\nkind = "python"\ntarget = "program.py:Colours"\n\n{tail}'
        (folder / "program.py").write_text(TWO_STEPS)
    (folder / "program.toml").write_text(text + extra)
    return folder


def make_config(**changes: Any) -> Config:
    """A config with one embedded lane (never built here: tests hand in their own lane)."""
    base: dict[str, Any] = {
        "run": {"threads": 4},
        "lanes": {"local": {"kind": "embedded", "adapter": "chat", "price": 10}},
        "stages": {"compile": {"task": "local"}},
        "optimizer": {
            "name": "miprov2",
            "miprov2": {"num_candidates": 4, "num_trials": 6, "minibatch_size": 6, "full_eval_steps": 3},
            "copro": {"breadth": 3, "depth": 2},
            "gepa": {"max_metric_calls": 70},
        },
    }
    for dotted, value in changes.items():
        node = base
        *path, last = dotted.split("__")
        for key in path:
            node = node.setdefault(key, {})
        node[last] = value
    return Config.model_validate(base)


class RuleLane:
    """Answers by rule: the more demos and the luckier the instruction, the more often rightly.

    `fault` may raise a LaneFault for a request; `calls` counts what was really sent.
    """

    kind = "rule"
    concurrency = 16

    def __init__(
        self,
        name: str = "local",
        *,
        price: int = 10,
        fault: Callable[[ChatRequest], LaneFault | None] = lambda _request: None,
        before: Callable[[ChatRequest], None] = lambda _request: None,
    ) -> None:
        self.name = name
        self.identity = "rule:1"
        self.price = price
        self.fault = fault
        self.before = before
        self.sent: list[str] = []
        self._lock = threading.Lock()

    def quote(self, request: ChatRequest) -> Quote:
        return Quote(self.price, 10_000)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        return complete(self, request, account, Retry(attempts=2, base=0.0))

    def send(self, request: ChatRequest, key: str) -> Sent:
        self.before(request)
        fault = self.fault(request)
        if fault is not None:
            raise fault
        with self._lock:
            self.sent.append(key)
        text = answer(request, key)
        return Sent(ChatAnswer(text, Usage(100, 5), model="rule"), Spent(self.price, 105, {"id": key[7:15]}))

    def close(self) -> None:
        pass


def answer(request: ChatRequest, key: str) -> str:
    """What the rule says, in ChatAdapter's format."""
    system, last = request.messages[0].content, request.messages[-1].content
    wanted = system[system.find("Your output fields are:") : system.find("All interactions")]
    if "`colour`" in wanted:
        thing = last.split("]]\n", 1)[-1].split("\n", 1)[0].removeprefix("about ").strip()
        luck = 0.35 + 0.05 * (len(request.messages) - 2) + 0.3 * unit("instruction", system)
        right = COLOURS[int(unit(thing) * 3)]
        colour = right if unit(thing, system) < luck else COLOURS[int(unit(thing, "wrong") * 3)]
        thought = "[[ ## reasoning ## ]]\nIt looks it.\n\n" if "`reasoning`" in wanted else ""
        return f"{thought}[[ ## colour ## ]]\n{colour}\n\n[[ ## completed ## ]]"
    names = re.findall(r"^\d+\. `(\w+)`", wanted, flags=re.MULTILINE)
    parts = []
    for name in names:
        if name == "description":
            value = "about " + last.split("]]\n", 1)[-1].split("\n", 1)[0]
        else:
            value = f"Look closely, then name the colour, way {random.Random(key).randrange(10**6)}."
        parts.append(f"[[ ## {name} ## ]]\n{value}")
    if not parts:
        return (
            f"```\nLook closely at it, then name its colour, way {random.Random(key).randrange(10**6)}.\n```"
        )
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def new_run(
    root: Path,
    *,
    run: str = "run",
    config: Config | None = None,
    sizes: tuple[int, int, int] = (20, 12, 12),
    kind: str = "predict",
    steps: int = 1,
    extra: str = "",
) -> RunFolder:
    """A run folder, snapshot and all."""
    train, val, test = sizes
    dataset = make_dataset(root / "dataset", train=train, val=val, test=test)
    program = load_program(make_program(root / "program", kind=kind, steps=steps, extra=extra))
    return create(root / "runs" / run, program=program, config=config or make_config(), dataset=dataset)


def plan_of(folder: RunFolder) -> Plan:
    """The plan of a run folder."""
    return make_plan(read_inputs(folder))


def run(folder: RunFolder, lane: RuleLane | None = None, **options: Any) -> Outcome:
    """Run or resume a folder's compile on the rule lane."""
    return run_compile(folder, plan_of(folder), lanes={"local": lane or RuleLane()}, **options)
