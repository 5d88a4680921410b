"""Journals of runs that never happened: scripted lines for the reducer, the screens and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest, Usage
from oa_compile.events import (
    AnyEvent,
    Attempt,
    Candidate,
    Decided,
    Evaluated,
    ExampleScore,
    ForecastMade,
    GaveUp,
    Line,
    Noted,
    PhaseStarted,
    Reserved,
    Role,
    RunFinished,
    RunStarted,
    SegmentStarted,
)

START = 1_790_000_000_000
"""Unix ms of every scripted run's first line."""

REQUEST = ChatRequest(messages=(ChatMessage("user", "thought: the tests fail"),))
SETTINGS: dict[str, Any] = {
    "budget": {"cost": 5000, "calls": 400, "seconds": 600},
    "money": {"usd_per_btc": "100000"},
    "lanes": {"local": {"kind": "embedded", "budget": {"calls": 300}}, "premium": {"kind": "litellm"}},
    "stages": {"compile": {"task": "local", "proposer": "premium", "budget": {"cost": "4sat"}}},
}
BASELINE, FIRST, SECOND, THIRD = (
    f"sha256:{head}{'0' * (64 - len(head))}" for head in ("aaa1111b", "bbb2222c", "ccc3333d", "ddd4444e")
)


@dataclass
class Script:
    """Builds a journal line by line; the clock moves only by `wait`."""

    at: int = START
    lines: list[Line] = field(default_factory=list)
    holds: int = 0
    ordinal: int = 0

    def add(self, event: AnyEvent) -> Line:
        """Append one event."""
        line = Line(v=1, seq=len(self.lines) + 1, at=self.at, event=event)
        self.lines.append(line)
        return line

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.at += round(seconds * 1000)

    def begin(self, **overrides: Any) -> None:
        """The first lines of a journal."""
        started = {
            "command": "optimize",
            "run": "20261123-1551",
            "program": "tool-selection",
            "optimizer": "miprov2",
            "inputs": {},
            "lanes": {"local": "embedded:smollm2", "premium": "litellm:gpt"},
            "settings": SETTINGS,
            "versions": {},
        }
        self.add(RunStarted(**(started | overrides)))
        self.add(SegmentStarted(pid=1))

    def reserve(self, *, lane: str = "local", role: Role = "task", msat: int = 10) -> int:
        """Open a hold; returns its number."""
        self.holds += 1
        self.add(
            Reserved(
                hold=self.holds,
                key=f"k{self.holds}",
                lane=lane,
                stage="compile",
                role=role,
                msat=msat,
                tokens=100,
            )
        )
        return self.holds

    def settle(
        self, hold: int, outcome: Any = "ok", *, lane: str = "local", role: Role = "task", **more: Any
    ) -> None:
        """Settle a hold."""
        ok = {"request": REQUEST, "answer": ChatAnswer("tool: run", Usage(40, 4))} if outcome == "ok" else {}
        spent = {"msat": 5, "tokens": 44} if outcome == "ok" else {}
        self.add(
            Attempt(
                hold=hold,
                key=f"k{hold}",
                lane=lane,
                stage="compile",
                role=role,
                outcome=outcome,
                **(ok | spent | more),
            )
        )

    def calls(
        self, number: int, *, seconds: float, lane: str = "local", role: Role = "task", msat: int = 5
    ) -> None:
        """`number` answered calls, evenly over `seconds`."""
        for _ in range(number):
            hold = self.reserve(lane=lane, role=role, msat=msat)
            self.wait(seconds / number)
            self.settle(hold, lane=lane, role=role, msat=msat)

    def candidate(self, name: str, *, parent: str = "", origin: str = "", state: Any = None) -> None:
        """A candidate appears."""
        self.add(Candidate(candidate=name, parent=parent, origin=origin, state=state or {}))

    def evaluated(
        self,
        name: str,
        scores: Sequence[float | None],
        *,
        scope: Any = "full",
        split: Any = "val",
        **more: Any,
    ) -> None:
        """A candidate is scored on examples e0, e1, … (None is a fault)."""
        self.ordinal += 1
        answered = [score for score in scores if score is not None]
        self.add(
            Evaluated(
                ordinal=self.ordinal,
                candidate=name,
                split=split,
                scope=scope,
                score=sum(answered) / len(answered) if answered else None,
                rows=[
                    ExampleScore(f"e{number}", score, "" if score is not None else "timeout")
                    for number, score in enumerate(scores)
                ],
                **more,
            )
        )

    def decided(self, name: str, *, kept: bool, reason: str) -> None:
        """Why it was kept or dropped."""
        self.add(Decided(ordinal=self.ordinal, candidate=name, kept=kept, reason=reason))


def scores(right: int, of: int) -> list[float]:
    """`right` ones, then zeros."""
    return [1.0] * right + [0.0] * (of - right)


def state(instruction: str, demos: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The state of a one-predictor program."""
    return {"predict": {"instruction": instruction, "demos": list(demos)}}


DEMOS = [
    {"thought": "The tests fail in parse_date", "tool": "run"},
    {"thought": "Look at how it is called elsewhere", "tool": "search"},
]


def optimize_run(*, finished: bool = True) -> list[Line]:
    """A MIPROv2 run: a baseline, three candidates, a fault, a call given up, one resume, a warning."""
    script = Script()
    script.begin()
    line = {"stage": "compile", "tokens": 4_800, "seconds": 60.0, "cap": ""}
    local = {"role": "task", "lane": "local"}
    script.add(
        ForecastMade(
            lines=[
                line | local | {"phase": "bootstrap", "calls": 20, "at_most": 30, "msat": 100},
                line
                | {"phase": "propose", "role": "proposer", "lane": "premium"}
                | {"calls": 12, "at_most": 12, "msat": 2_400, "tokens": 6_000},
                line | local | {"phase": "search", "calls": 180, "at_most": 240, "msat": 900},
            ]
        )
    )
    script.add(Noted(code="fitted", message="minibatch_size 35 -> 10: the valset has 20 examples"))
    script.add(PhaseStarted(phase="bootstrap"))
    script.candidate(BASELINE, origin="baseline", state=state("Choose the tool."))
    script.calls(20, seconds=10)
    script.evaluated(BASELINE, scores(7, 20), calls=20, msat=100)
    script.decided(BASELINE, kept=True, reason="the baseline")
    script.add(PhaseStarted(phase="propose"))
    script.calls(4, seconds=4, lane="premium", role="proposer", msat=200)
    script.add(PhaseStarted(phase="search"))
    script.candidate(
        FIRST, parent=BASELINE, origin="labeled demos", state=state("Choose the tool.", DEMOS[:1])
    )
    script.calls(10, seconds=5)
    script.evaluated(FIRST, scores(4, 10), scope="minibatch", calls=10, msat=50)
    hold = script.reserve()
    script.wait(1)
    script.settle(hold, "fault", fault="timeout", message="no answer within 60 s")
    script.add(GaveUp(key=f"k{hold}", request=REQUEST, fault="timeout", message="no answer within 60 s"))
    script.calls(18, seconds=9)
    script.evaluated(FIRST, [*scores(9, 19), None], calls=19, saved=1, msat=90)
    script.decided(FIRST, kept=True, reason="best so far on val: 47.4% over 35.0%")
    abandoned = script.reserve(msat=10)
    script.wait(3_600)
    script.add(SegmentStarted(pid=2, resumed=1, torn_bytes=17))
    script.settle(abandoned, "lost", msat=10, tokens=100, message="the process died")
    script.candidate(
        SECOND, parent=FIRST, origin="instruction", state=state("Say which tool comes next.", DEMOS)
    )
    script.calls(10, seconds=5)
    script.evaluated(SECOND, scores(3, 10), scope="minibatch", calls=10, msat=50)
    script.decided(SECOND, kept=False, reason="30.0% on the minibatch is under the best one's 40.0%")
    script.candidate(
        THIRD,
        parent=FIRST,
        origin="instruction",
        state=state("Choose the tool that the thought asks for.", [DEMOS[1]]),
    )
    script.calls(14, seconds=7)
    script.add(Noted(code="budget", message="50 % of stage compile.msat used (2,000 msat of 4,000 msat)"))
    script.evaluated(THIRD, scores(12, 20), calls=14, saved=6, msat=70)
    script.decided(THIRD, kept=True, reason="best so far on val: 60.0% over 47.4%")
    if finished:
        script.add(RunFinished(status="complete", artifact="runs/r1/artifact"))
    return script.lines


PROVIDERS = tuple(head * 8 for head in ("a1b2c3d4", "0badf00d", "5eedcafe"))
"""Public keys of three service providers."""


def swarm_run() -> list[Line]:
    """A run on service providers: one that answers on its tab and is settled with, one that answers first
    and is paid then, and one that takes money for nothing.
    """
    keeps_tab, answers_first, thief = PROVIDERS
    script = Script()
    premium = {"kind": "litellm", "model": "gpt-4o-mini", "price": {"input": "0.15", "output": "0.60"}}
    script.begin(
        optimizer="copro",
        lanes={"swarm": "pylon:any", "premium": "litellm:gpt-4o-mini"},
        settings=SETTINGS
        | {
            "lanes": {"swarm": {"kind": "pylon"}, "premium": premium},
            "stages": {"compile": {"task": "swarm"}, "verify": {"task": "premium"}},
        },
    )

    def job(provider: str, outcome: str = "ok", *, msat: int = 0, calls: int = 1, **receipt: Any) -> None:
        hold = script.reserve(lane="swarm", msat=msat)
        script.wait(2)
        answered = calls and outcome in {"ok", "unused"}
        more: dict[str, Any] = {"answer": ChatAnswer("tool: run", Usage(4_000, 200)) if answered else None}
        receipt = {"provider": provider, "job": f"job{hold}", "why": "first", **receipt}
        script.settle(hold, outcome, lane="swarm", msat=msat, calls=calls, receipt=receipt, **more)

    script.candidate(BASELINE, origin="baseline", state=state("Choose the tool."))
    for _ in range(5):
        job(keeps_tab, msat=10, order="tab", price_msat=10)
    settled = [f"job{hold}" for hold in range(1, 5)]
    job(
        keeps_tab, msat=1, calls=0, why="settlement", price_msat=40, paid_msat=41, fee_msat=1, settles=settled
    )
    first = {"order": "result-first", "price_msat": 12, "paid_msat": 13, "fee_msat": 1}
    job(answers_first, msat=13, **first)
    job(answers_first, "unused", msat=13, why="hedge", **first)
    job(answers_first, "unused", msat=13, why="audit", compared=True, **first)
    job(thief, "fault", msat=14, order="pay-first", price_msat=14, paid_msat=14, lost=True)
    job(thief, "fault", why="retry", price_msat=900)
    script.evaluated(BASELINE, scores(7, 20), calls=6, msat=64)
    script.decided(BASELINE, kept=True, reason="the baseline")
    script.add(RunFinished(status="complete", artifact="runs/r1/artifact"))
    return script.lines


def prefixes(lines: list[Line]) -> Iterator[list[Line]]:
    """Every prefix, the empty one and the whole included."""
    return (lines[:end] for end in range(len(lines) + 1))
