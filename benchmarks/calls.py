"""Calls that need not be paid twice: stock DSPy against ours, with the same search and program.

    python benchmarks/calls.py [--examples 40] [--threads 8] [--optimizers miprov2 copro gepa]

Peers, each on a program of one predictor and on one of two:
  stock   DSPy's optimizer with its settings, its cache off: every call is paid
  ours    the same optimizer through the journal: a call that is in it, or under way, is not paid again

The model answers by a rule from the request and the number of the sample, so that both search alike; a pair
that does not end with the same program is an error. The last line is one JSON object: saved_<optimizer> at
two predictors and saved_<optimizer>_1 at one, as shares of stock's calls.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import dspy
from msgspec.structs import replace

from oa_compile.artifact.folder import RunFolder, read_inputs
from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import OacompileError
from oa_compile.evaluate.examples import score_function
from oa_compile.events import Role
from oa_compile.lanes.adapters import LaneAdapter
from oa_compile.lanes.calls import call_key
from oa_compile.lanes.engine import Engine, RunLM
from oa_compile.lanes.metered import Sent
from oa_compile.optimize.apart import run_apart
from oa_compile.optimize.optimizer import Job
from oa_compile.optimize.plan import Plan
from oa_compile.signatures.state import dump_state, state_digest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.world import RuleLane, answer, make_config, new_run, plan_of, run, unit

OPTIMIZERS = ("miprov2", "copro", "gepa")


SEEN = re.compile(r", seen in way \d+")
"""What one prompt of the first step makes it add: without it, no candidate of the first step would change
what the second is asked, and more calls would repeat than with a model.
"""


def told(request: ChatRequest, key: str) -> str:
    """The rule's answer; a description depends on the whole prompt that asked for it."""
    plain = [replace(message, content=SEEN.sub("", message.content)) for message in request.messages]
    text = answer(replace(request, messages=tuple(plain)), key)
    way = int(unit(*(message.content for message in request.messages[:-1])) * 10**6)
    return re.sub(r"(?<=\[\[ ## description ## \]\]\n)about .*", rf"\g<0>, seen in way {way}", text)


class BenchLane(RuleLane):
    """A lane that answers so, and counts what is sent."""

    def send(self, request: ChatRequest, key: str) -> Sent:
        sent = super().send(request, key)
        return sent._replace(answer=replace(sent.answer, text=told(request, key)))


class Came(NamedTuple):
    """What a search came to: calls that were paid, and the digest of the program it returned."""

    calls: int
    program: str


class Unfiled:
    """Stands where the desk of a run does, and keeps nothing: every call is made."""

    def __init__(self) -> None:
        self.made = 0
        self._lock = threading.Lock()

    def complete(
        self, request: ChatRequest, *, lane: RuleLane, rollout: int | None, sample: int, **_named: Any
    ) -> ChatAnswer:
        with self._lock:
            self.made += 1
        key = call_key(lane.identity, request, rollout=rollout, sample=sample)
        return ChatAnswer(told(request, key), Usage(100, 5), model="rule")


class Unwatched:
    """Stands where a run's recorder does: nobody looks at stock's candidates."""

    def set_parent(self, _instructions: object) -> None:
        pass

    def decide_latest(self, **_named: object) -> None:
        pass


def stock(plan: Plan, *, log: Path, desk: Unfiled | None = None) -> Came:
    """DSPy's own search, with no journal below it."""
    config = plan.inputs.config
    desk, lane = desk or Unfiled(), BenchLane()

    def lm(role: Role) -> RunLM:
        engine = Engine(desk, lane, stage="compile", role=role)  # type: ignore[arg-type]
        return RunLM(engine, name=f"local-{role}", spec=config.lanes["local"])

    def stop(error: OacompileError) -> BaseException:
        return error

    def search() -> str:
        job = Job(
            program=plan.program.deepcopy(),
            trainset=plan.trainset,
            valset=plan.valset,
            score=score_function(plan.metric, stop=stop),
            task_lm=task,
            proposer_lm=lm("proposer"),
            tunable=plan.tunable,
            seed=plan.seed,
            threads=config.run.threads,
            recorder=Unwatched(),  # type: ignore[arg-type]
            phase=lambda _phase: None,
        )
        with dspy.context(
            lm=task,
            adapter=LaneAdapter(),
            num_threads=config.run.threads,
            disable_history=True,
            track_usage=False,
        ):
            return state_digest(dump_state(plan.optimizer.compile(job, plan.settings)))

    task = lm("task")
    program = run_apart(search, log=log, on_interrupt=lambda: None)
    return Came(desk.made, program)


def ours(folder: RunFolder) -> Came:
    """The same search as a run."""
    lane = BenchLane()
    outcome = run(folder, lane)
    if outcome.manifest is None or outcome.error is not None:
        raise SystemExit(f"the run came to nothing: {outcome.error}")
    return Came(len(lane.sent), outcome.manifest.program.state)


def compare(root: Path, optimizer: str, *, steps: int, examples: int, threads: int) -> tuple[Came, Came]:
    """Both, on `examples` to train and as many to choose by."""
    settings: dict[str, Any] = {
        "optimizer": {"name": optimizer, "preflight": False, "miprov2": {"auto": "light"}},
        "run": {"threads": threads},
    }
    folder = new_run(root, config=make_config(**settings), sizes=(examples, examples, 4), steps=steps)
    first = stock(plan_of(folder), log=root / "stock.log")
    second = ours(folder)
    assert read_inputs(folder).config.run.threads == threads
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    options = parser.parse_args()
    figures: dict[str, float] = {}
    print(f"{'optimizer':<10} {'predictors':>10} {'stock':>8} {'ours':>8} {'saved':>7}  same program")
    same = True
    for optimizer in options.optimizers:
        for steps in (1, 2):
            with tempfile.TemporaryDirectory() as root:
                theirs, mine = compare(
                    Path(root), optimizer, steps=steps, examples=options.examples, threads=options.threads
                )
            saved = 1 - mine.calls / theirs.calls
            alike = theirs.program == mine.program
            same = same and alike
            figures[f"saved_{optimizer}" + ("_1" if steps == 1 else "")] = round(saved, 3)
            print(
                f"{optimizer:<10} {steps:>10} {theirs.calls:>8,} {mine.calls:>8,} {saved:>6.1%}  "
                f"{'yes' if alike else 'NO'}"
            )
    print(json.dumps(figures))
    if not same:
        raise SystemExit("the searches did not end with the same program: the counts say nothing")


if __name__ == "__main__":
    main()
