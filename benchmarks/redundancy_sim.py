"""Redundancy under liars, simulated: how many wrong answers get through, and at what cost.

    python benchmarks/redundancy_sim.py [--examples 20000] [--seed 1]

The panel's own code votes; only the providers are drawn. Five providers of equal share answer one of `values`
discrete values; honest ones are right with probability `skill` and otherwise draw a wrong value. Liars are
always wrong: independent ones each draw a wrong value of their own, colluding ones say the same one.
`alone` is what one provider asked at random comes to. The verify stage is right with probability 0.95.

The last line is one JSON object: wrong_taken_1, wrong_taken_2 (share of wrong answers taken with one and two
independent liars and honest providers that are always right; lower is better), and votes (answers asked for).
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass

import dspy

from oa_compile.chat import ChatAnswer
from oa_compile.lanes.rollout import current
from oa_compile.spec.config import RedundancySpec
from oa_compile.validate.panel import Panel

VALUES = 8
VERIFY_SKILL = 0.95


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    liars: int
    together: bool
    skill: float

    @property
    def name(self) -> str:
        how = "colluding" if self.together else "independent"
        return f"{self.liars} {how}" if self.liars else "none"


class _Swarm:
    """Fulfils AsksMany; who answers is drawn from those who did not yet."""

    asks_many = True

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self.draw = random.Random(seed)
        self.alone_wrong = 0

    def __call__(self, *, question: int) -> dspy.Prediction:
        run = current()
        assert run is not None
        provider = self.draw.choice([p for p in "abcde" if p not in run.avoid])
        value = self._value("abcde".index(provider))
        if run.number == 0:
            self.alone_wrong += value != 0
        run.take(ChatAnswer(str(value), by=provider), msat=1)
        return dspy.Prediction(value=value)

    def _value(self, provider: int) -> int:
        """0 is right."""
        if provider < self.case.liars:
            return 1 if self.case.together else self.draw.randrange(1, VALUES)
        return 0 if self.draw.random() < self.case.skill else self.draw.randrange(1, VALUES)


def figures(case: Case, *, examples: int, seed: int) -> dict[str, float]:
    """Shares of all examples; votes are answers asked for, for each."""
    swarm = _Swarm(case, seed)
    panel = Panel(
        swarm,  # type: ignore[arg-type]
        ordinal=1,
        settings=RedundancySpec(of=5, agree=3),
        same=lambda one, other: one["value"] == other["value"],
        fields=("value",),
    )
    wrong = escalated = 0
    for number in range(examples):
        example = dspy.Example(question=number).with_inputs("question")
        try:
            answer = panel.run(swarm, example, example_id=str(number))
        except Exception:  # noqa: BLE001 - no agreement: the verify stage's
            escalated += 1
            continue
        wrong += answer.value != 0
    votes = sum(len(poll.ballots) for poll in panel.polls.values())
    return {
        "alone": swarm.alone_wrong / examples,
        "taken": wrong / examples,
        "escalated": escalated / examples,
        "in the end": (wrong + escalated * (1 - VERIFY_SKILL)) / examples,
        "votes": votes / examples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cases = [Case(0, together=False, skill=skill) for skill in (1.0, 0.8)]
    cases += [Case(n, together=False, skill=skill) for n in (1, 2) for skill in (1.0, 0.8)]
    cases += [Case(n, together=True, skill=1.0) for n in (2, 3)]
    found = {case: figures(case, examples=options.examples, seed=options.seed) for case in cases}
    heads = f"{'wrong alone':>13}{'wrong taken':>13}{'escalated':>11}{'wrong in the end':>18}"
    print(f"{'liars of 5':<16}{'skill':>6}{heads}{'votes':>7}")
    for case, row in found.items():
        shares = (row["alone"], row["taken"], row["escalated"], row["in the end"])
        widths = (13, 13, 11, 18)
        cells = "".join(f"{share:>{width}.2%}" for share, width in zip(shares, widths, strict=True))
        print(f"{case.name:<16}{case.skill:>6.0%}{cells}{row['votes']:>7.2f}")
    honest = {case.liars: row for case, row in found.items() if case.skill == 1 and not case.together}
    print(
        json.dumps(
            {
                "wrong_taken_1": honest[1]["taken"],
                "wrong_taken_2": honest[2]["taken"],
                "votes": round(honest[2]["votes"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
