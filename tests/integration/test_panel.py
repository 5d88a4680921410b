"""Redundancy: several answers to one example become one, on real lanes, and no liar gets through alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oa_compile.artifact.folder import RunFolder, create, read_inputs
from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import BudgetExhausted, ExitCode
from oa_compile.events import Evaluated, Polled
from oa_compile.journal import read
from oa_compile.lanes.build import build_lanes
from oa_compile.lanes.closed import ClosedLane
from oa_compile.lanes.lane import Lane, LaneFault
from oa_compile.lanes.metered import Sent
from oa_compile.spec.config import Config
from oa_compile.spec.load import load_program
from oa_compile.validate import formats
from oa_compile.validate.question import Question, ask, validation_folder
from oa_compile.validate.runner import validate
from oa_compile.validate.verdict import Validation
from tests.support.pylon_lane import PylonWorld, pylon_world
from tests.support.saying import Saying, said, thing_of, truth
from tests.support.world import (
    COLOURS,
    RuleLane,
    answer,
    make_config,
    make_dataset,
    make_program,
    new_run,
    run,
    unit,
)

TEST = 6
SIZES = (4, 4, TEST)


def config_of(
    *, of: int = 5, agree: int = 3, temperature: float = 0.7, samples: int = 1, **more: Any
) -> Config:
    """Redundancy on the validate stage, and another lane to verify."""
    settings: dict[str, Any] = {
        "optimizer__name": "copro",
        "optimizer__copro": {"breadth": 2, "depth": 1},
        "lanes__premium": {"kind": "embedded", "adapter": "chat", "price": 100},
        "stages__validate": {
            "task": "local",
            "redundancy": {"of": of, "agree": agree, "temperature": temperature},
        },
        "stages__verify": {"task": "premium", "consistency": {"samples": samples}},
    }
    return make_config(**(settings | more))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original")
    assert run(new_run(root, config=config_of(), sizes=SIZES)).status == "complete"
    return root


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(original, tmp_path / "root")) / "runs" / "run")


def asked(folder: RunFolder, config: Config) -> Question:
    inputs = read_inputs(folder)
    return ask(folder.path, program=inputs.program, config=config, dataset=None)


def judged(folder: RunFolder, config: Config, lane: Lane, premium: Lane | None = None) -> Validation:
    court = premium or Saying(lambda request, _n: truth(request), "premium", price=100)
    return validate(asked(folder, config), lanes={"local": lane, "premium": court}, again=True)


def polls_of(folder: RunFolder) -> list[Polled]:
    journal = next(folder.path.glob("validate-*/journal.jsonl"))
    return [line.event for line in read(journal) if isinstance(line.event, Polled)]


# -- one model, several samples ---------------------------------------------------------------------


def test_it_stops_asking_as_soon_as_enough_agree(folder: RunFolder) -> None:
    lane = Saying(lambda request, _n: truth(request))
    premium = Saying(lambda request, _n: truth(request), "premium", price=100)
    validation = judged(folder, config_of(), lane, premium)
    assert {len(poll.ballots) for poll in polls_of(folder)} == {3}
    assert {poll.way for poll in polls_of(folder)} == {"agreed"}
    assert premium.requests == []
    assert {request.temperature for request in lane.requests} == {0.7}
    assert validation.after is not None
    assert validation.after.mean == 1
    assert validation.polls is not None
    assert (validation.polls.msat, validation.polls.alone_msat) == (2 * TEST * 3 * 10, 2 * TEST * 100)
    assert validation.evidence.artifact_cost.msat == TEST * 10  # what one use of it costs


def test_it_stops_as_soon_as_agreement_is_impossible_and_the_verify_stage_decides(folder: RunFolder) -> None:
    lane = Saying(lambda _request, before: COLOURS[before % 3])
    validation = judged(folder, config_of(of=3, agree=2), lane)
    polls = polls_of(folder)
    assert {(poll.way, len(poll.ballots)) for poll in polls} == {("verified", 3)}
    assert {poll.verify_msat for poll in polls} == {100}
    assert validation.after is not None
    assert validation.after.mean == 1
    # Of 5 with 4 to agree, two that differ from two leave no hope.
    split = Saying(lambda _request, before: COLOURS[before % 2])
    folder_two = asked(folder, config_of(of=5, agree=4))
    court = Saying(lambda request, _n: truth(request), "premium")
    validate(folder_two, lanes={"local": split, "premium": court}, again=True)
    journal = validation_folder(folder_two, {"local": split, "premium": court}) / "journal.jsonl"
    counts = {len(e.event.ballots) for e in read(journal) if isinstance(e.event, Polled)}
    assert counts == {4}


def test_at_temperature_0_one_answer_says_it_all(folder: RunFolder) -> None:
    lane = Saying(lambda request, _n: truth(request))
    judged(folder, config_of(temperature=0), lane)
    assert len(lane.requests) == 2 * TEST
    assert all("at temperature 0" in poll.note for poll in polls_of(folder))


def test_a_fault_is_no_vote(folder: RunFolder) -> None:
    seen: dict[str, int] = {}

    def fault(request: ChatRequest) -> LaneFault | None:
        thing = thing_of(request)
        seen[thing] = seen.get(thing, 0) + 1
        return LaneFault("server", "down") if seen[thing] in (1, 2) else None  # both attempts of the first

    lane = Saying(lambda request, _n: truth(request), fault=fault)
    validation = judged(folder, config_of(run__threads=1), lane)
    polls = polls_of(folder)
    assert [ballot.fault for ballot in polls[0].ballots] == ["server", "", "", ""]
    assert {poll.way for poll in polls} == {"agreed"}
    assert validation.n == TEST


def test_a_lane_that_is_down_and_no_verify_stage_is_not_judged(folder: RunFolder) -> None:
    down = LaneFault("unavailable", "nobody there")
    lane = RuleLane(fault=lambda _request: down)
    court = Saying(lambda request, _n: truth(request), "premium", fault=lambda _request: down)
    validation = judged(folder, config_of(), lane, court)
    assert validation.outcome == "not judged"
    assert validation.exit_code == ExitCode.LANE


def test_answers_that_cannot_be_read_may_be_agreed_on_and_score_0(folder: RunFolder) -> None:
    lane = Saying(lambda _request, _n: "mauve")  # no value of the enum
    validation = judged(folder, config_of(), lane)
    assert {poll.way for poll in polls_of(folder)} == {"agreed"}
    assert validation.after is not None
    assert validation.after.mean == 0


# -- the verify stage --------------------------------------------------------------------------------


def test_self_consistency_takes_the_most_frequent_answer_and_is_named_as_that(folder: RunFolder) -> None:
    def mostly(request: ChatRequest, before: int) -> str:
        return truth(request) if before % 3 else "red"

    court = Saying(mostly, "premium", price=0)
    lane = Saying(lambda _request, before: COLOURS[before % 3])
    validation = judged(folder, config_of(of=3, agree=2, samples=7), lane, court)
    assert validation.after is not None
    assert validation.after.mean == 1
    assert validation.polls is not None
    assert validation.polls.court == "self-consistency over 7 samples of saying:premium"
    text = "\n".join(formats.text(validation))
    assert "decided by self-consistency over 7 samples of saying:premium" in text
    assert "premium" not in text.replace("saying:premium", "")


def test_a_verify_lane_without_its_key_is_needed_only_where_answers_differ(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = config_of(lanes__premium={"kind": "litellm", "model": "openai/gpt-4o-mini"})
    built = build_lanes(config, [], optional=["premium"], secrets=lambda _name: None)
    closed = built["premium"]
    assert isinstance(closed, ClosedLane)
    with_key = build_lanes(config, ["premium"], secrets=lambda _name: "sk-x")["premium"]
    assert closed.identity == with_key.identity
    lane = Saying(lambda request, _n: truth(request))
    assert judged(folder, config, lane, closed).outcome != "not judged"
    split = Saying(lambda _request, before: COLOURS[before % 3], price=11)
    split.identity = "split"
    validation = judged(folder, config, split, closed)
    assert validation.outcome == "not judged"
    assert {poll.way for poll in polls_of(folder) if poll.ballots[0].msat == 11} <= {"unresolved"}


# -- resume ------------------------------------------------------------------------------------------


def test_asked_again_nobody_is_asked_and_the_ballots_are_the_same(folder: RunFolder) -> None:
    config = config_of()
    lane = RuleLane()
    first = judged(folder, config, lane)
    again = RuleLane()
    second = judged(folder, config, again)
    assert again.sent == []
    assert first.polls == second.polls
    assert len(polls_of(folder)) == 2 * TEST


def test_stopped_by_a_cap_it_goes_on_where_it_was(folder: RunFolder) -> None:
    lane = Saying(lambda request, _n: truth(request))
    with pytest.raises(BudgetExhausted):
        judged(folder, config_of(budget={"calls": 13}, run__threads=1), lane)
    sent = len(lane.sent)
    validation = judged(folder, config_of(run__threads=1), lane)
    assert len(lane.sent) == len(set(lane.sent)) == 2 * TEST * 3
    assert sent == 13
    assert validation.after is not None


# -- a verifier's word ---------------------------------------------------------------------------------


def test_a_verifier_may_say_what_is_the_same(tmp_path: Path) -> None:
    """Only a model can tell that answers in other words are one: it is asked on the judge's lane."""
    dataset = make_dataset(tmp_path / "dataset", train=4, val=4, test=3)
    program = make_program(tmp_path / "program", extra='\n[agreement]\nkind = "verifier"\n')
    text = (program / "program.toml").read_text()
    free = text.replace(', type = "enum", values = ["red", "green", "blue"]', "")
    (program / "program.toml").write_text(free)
    config = config_of(
        stages__validate={"task": "local", "judge": "premium", "redundancy": {"of": 3, "agree": 2}}
    )
    folder = create(tmp_path / "runs" / "run", program=load_program(program), config=config, dataset=dataset)
    assert run(folder).status == "complete"

    class Verifier(Saying):
        def send(self, request: ChatRequest, key: str) -> Sent:
            sent = super().send(request, key)
            asked_of = request.messages[-1].content
            same = "navy" in asked_of and "dark blue" in asked_of
            text = f"[[ ## same ## ]]\n{'yes' if same else 'no'}\n\n[[ ## completed ## ]]"
            return Sent(ChatAnswer(text, Usage(9, 1)), sent.spent)

    local = Saying(lambda _request, before: ("navy", "dark blue", "green")[before % 3])
    verifier = Verifier(lambda _request, _n: "", "premium")
    validation = validate(asked(folder, config), lanes={"local": local, "premium": verifier})
    polls = polls_of(folder)
    assert {(poll.way, len(poll.ballots)) for poll in polls} == {("agreed", 2)}
    assert {request.temperature for request in verifier.requests} == {0.0}
    assert validation.polls is not None
    assert validation.polls.count("agreed") == 2 * 3


# -- providers, some of whom lie -----------------------------------------------------------------------


def honest(request: ChatRequest, _key: str) -> ChatAnswer:
    if "new_instruction" in request.messages[0].content:
        return ChatAnswer(answer(request, _key), Usage(9, 2))
    return ChatAnswer(said(truth(request)), Usage(100, 5), model="honest")


def liar(number: int, *, together: bool = False) -> Callable[[ChatRequest, str], ChatAnswer]:
    """A wrong colour, each liar's own, or the one they have agreed on."""

    def lie(request: ChatRequest, _key: str) -> ChatAnswer:
        wrong = [colour for colour in COLOURS if colour != truth(request)]
        chosen = wrong[0] if together else wrong[int(unit(thing_of(request), number) * 2)]
        return ChatAnswer(said(chosen), Usage(100, 5), model="honest")

    return lie


def swarm_of(liars: int, *, together: bool = False) -> Any:
    return pylon_world(
        count=5,
        answer_of=lambda n: liar(n, together=together) if n < liars else honest,
        price_of=lambda n: 5 if n < liars else 10,  # a liar has no costs, and is asked first
    )


def on_swarm(folder: RunFolder, world: PylonWorld, premium: Lane | None = None) -> Validation:
    lane = world.lane("local", max_tokens=64)
    try:
        return judged(folder, config_of(run__threads=3), lane, premium)
    finally:
        lane.close()


@pytest.fixture(params=[1, 2])
def lying(request: pytest.FixtureRequest) -> Iterator[tuple[int, PylonWorld]]:
    with swarm_of(request.param) as world:
        yield request.param, world


def test_one_or_two_liars_of_five_get_no_wrong_answer_through(
    folder: RunFolder, lying: tuple[int, PylonWorld]
) -> None:
    liars, world = lying
    court = Saying(lambda request, _n: truth(request), "premium", price=100)
    validation = on_swarm(folder, world, court)
    journal = next(folder.path.glob("validate-*/journal.jsonl"))
    rows = [row for line in read(journal) if isinstance(line.event, Evaluated) for row in line.event.rows]
    assert len(rows) == 2 * TEST
    assert {row.score for row in rows} == {1.0}
    assert court.requests == []  # three honest ones are enough
    for poll in polls_of(folder):
        voters = [ballot.by for ballot in poll.ballots]
        assert len(set(voters)) == len(voters), "a provider has one vote"
        assert set(voters) <= {keys.public for keys in world.keys}
    assert validation.polls is not None
    assert validation.polls.providers
    exposed = {one.by for one in validation.polls.dissent if one.dissents}
    assert exposed <= {keys.public for keys in world.keys[:liars]}
    assert exposed
    told = "\n".join(formats.text(validation))
    assert "3 of 5 service providers" in told
    assert "disagreed with what was accepted" in told


def test_a_colluding_majority_is_out_of_reach_of_voting(folder: RunFolder) -> None:
    """The limit that docs/validate.md tells of: whoever owns three of five decides."""
    with swarm_of(3, together=True) as world:
        validation = on_swarm(folder, world)
    assert validation.after is not None
    assert validation.after.mean < 1


def test_too_few_providers_is_said_and_verified(folder: RunFolder) -> None:
    with pylon_world(count=2, answer_of=lambda _n: honest) as world:
        validation = on_swarm(folder, world)
    assert {poll.way for poll in polls_of(folder)} == {"verified"}
    assert {poll.note for poll in polls_of(folder)} == {"only 2 providers could be asked"}
    assert validation.after is not None
    assert validation.after.mean == 1
