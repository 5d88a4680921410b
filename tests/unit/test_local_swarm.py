"""The parts of a swarm of this machine that need no process: folders, keys, census, limits, command lines."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from oa_compile.errors import LaneError, OacompileError, UsageError
from oa_compile.events import Noted
from oa_compile.journal import Journal, read
from oa_compile.lanes.account import Accounts
from oa_compile.lanes.books import RunBooks
from oa_compile.lanes.pylon import PylonLane
from oa_compile.lanes.stop import StopSwitch
from oa_compile.ledger import Ledger
from oa_compile.money import Rate
from oa_compile.spec.config import WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec
from oa_compile.swarm import connect
from oa_compile.swarm.customer.attempt import Intent
from oa_compile.swarm.key_file import kept_keys, read_keys
from oa_compile.swarm.local_swarm import LocalSwarm, Plan, ProviderEnd, up_command
from oa_compile.swarm.market.census import take_census
from oa_compile.swarm.protocol.event import Draft, Event, Keys
from oa_compile.swarm.protocol.nip89 import Handler, draft_handler
from oa_compile.swarm.provider.provider_home import FolderLock
from oa_compile.swarm.relays.network import Filter, Published, Subscription
from oa_compile.swarm.relays.relay_info import Limits, read_limits

NOW = 1_800_000_000


def test_a_folder_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with FolderLock(folder), pytest.raises(UsageError, match="another process is using it"):
        FolderLock(folder, seconds=0.05)
    with FolderLock(folder, seconds=0):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        FolderLock(tmp_path / "file" / "folder")


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "key"
    keys = kept_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept_keys(path).public == read_keys(path).public == keys.public


def test_a_process_that_dies_while_it_makes_a_key_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"

    def die(_fd: int) -> None:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(os, "fsync", die)
        with pytest.raises(SystemExit):
            kept_keys(path)
    assert not path.exists()
    assert kept_keys(path).public == kept_keys(path).public
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("text", ["", "not hex at all", "ab" * 31, "0" * 64, "\xff"])
def test_a_file_that_is_no_key_is_refused_and_never_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="secret key") as refused:
        kept_keys(path)
    assert str(path) in refused.value.message
    assert len(text) < 20 or text not in refused.value.message


def test_the_command_line_says_the_whole_plan(tmp_path: Path) -> None:
    plan = Plan(tmp_path, 2, "embedded:m", 7, "pay-first", 1000, 50)
    command = up_command(plan, tmp_path, throw_away=False)
    assert command[1:6] == ["-m", "oa_compile", "swarm", "up", "--json"]
    options = dict(zip(command[7::2], command[8::2], strict=True))
    assert options == {
        "--dir": str(tmp_path),
        "--providers": "2",
        "--lane": "embedded:m",
        "--price": "7msat",
        "--order": "pay-first",
        "--balance": "1000msat",
        "--tab": "50msat",
    }
    assert up_command(plan, tmp_path, throw_away=True)[-1] == "--throw-away"


def test_a_plan_with_an_amount_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        Plan(None, price_msat=-1)


def test_before_the_start_there_are_no_addresses() -> None:
    swarm = LocalSwarm(Plan(None))
    with pytest.raises(LaneError, match="not running"):
        _ = swarm.relays
    swarm.close()


def test_a_provider_s_end_is_in_the_run_s_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = ProviderEnd("provider-1", -9, restarts=1, pid=4711)

    class Dying:
        def __init__(self, _plan: Plan, *, ended: Callable[[ProviderEnd], None]) -> None:
            self.ended = ended

        def start(self) -> None:
            self.ended(end)
            raise LaneError("that was all")

        def close(self) -> None:
            pass

    monkeypatch.setattr(connect, "LocalSwarm", Dying)
    spec = PylonLaneSpec.model_validate({"kind": "pylon"})
    lane = PylonLane(
        "swarm", spec, wallet=WalletSpec(), rate=Rate(Decimal(100_000)), secrets=lambda _name: None
    )
    with Journal(tmp_path / "journal.jsonl") as journal:
        ledger = Ledger()
        accounts = Accounts(
            journal=journal, ledger=ledger, switch=StopSwitch(ledger), settled=lambda _attempt: None
        )
        books = RunBooks(accounts, (), lane="swarm", stage="compile")
        lane.take_up(books)
        with pytest.raises(LaneError, match="that was all"):
            lane.reconcile(Intent("00", "ln", 1, 1, "ledger", "a" * 64, "job"), written=0)
        lane.close()
    (line,) = read(tmp_path / "journal.jsonl")
    assert line.event == Noted(code="provider", message=end.text, data={"severity": "warning"})
    books.note("provider", "too late")  # the journal is closed: nobody is hurt
    assert isinstance(accounts.switch.error, OacompileError)


class Stored:
    """A network that has stored these events."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = list(events)

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        assert filters == [{"kinds": [31990], "#k": ["5050"]}]
        return self.events

    async def publish(self, event: Event) -> Published:
        raise AssertionError

    async def subscribe(self, filters: Sequence[Filter], on_event: Callable[[Event], None]) -> Subscription:
        raise AssertionError

    async def close(self) -> None:
        pass


def announcement(keys: Keys, *, price: int = 10, at: int = NOW, **tags: str) -> Event:
    draft = draft_handler(Handler(keys.public, price_msat=price, network="regtest"))
    more = [[name, value] for name, value in tags.items()]
    return keys.sign(Draft(draft.kind, [*draft.tags, *more], draft.content), created_at=at)


def test_the_census_takes_the_newest_word_of_everybody() -> None:
    one, two = Keys.generate(), Keys.generate()
    events = [
        announcement(one, price=30, at=NOW + 5),
        announcement(one, price=10),
        announcement(two, price=20),
    ]
    census = asyncio.run(take_census(Stored(events), clock=lambda: NOW))
    assert {h.provider: h.price_msat for h in census.handlers} == {one.public: 30, two.public: 20}
    assert not census.passed_over


def test_the_census_counts_what_it_does_not_believe() -> None:
    keys = Keys.generate()
    good = announcement(keys)
    forged = Event(good.id, good.pubkey, good.created_at, good.kind, good.tags, "{}", good.sig)
    events = [
        forged,
        announcement(keys, expiration=str(NOW - 1)),
        announcement(keys, expiration="soon"),
        keys.sign(Draft(1, [], "hello"), created_at=NOW),
        keys.sign(Draft(31990, [["k", "5050"], ["price", "-3"]], ""), created_at=NOW),
    ]
    census = asyncio.run(take_census(Stored(events), clock=lambda: NOW))
    assert census.handlers == ()
    assert census.passed_over == {"badly signed": 1, "expired": 2, "another kind": 1, "makes no sense": 1}
    still = announcement(keys, expiration=str(NOW + 1))
    assert asyncio.run(take_census(Stored([still]), clock=lambda: NOW)).handlers


@pytest.mark.parametrize(
    ("told", "limits"),
    [
        ({"limitation": {}}, Limits()),
        (
            {"limitation": {"max_message_length": 70000, "auth_required": True, "more": [1]}},
            Limits(max_message_length=70000, auth_required=True),
        ),
        ({"limitation": {"max_message_length": "much"}}, None),
        ({"name": "a relay"}, None),
        ([1], None),
    ],
)
def test_a_relay_s_limits_are_read_or_not_there(told: Any, limits: Limits | None) -> None:
    assert read_limits(json.dumps(told).encode()) == limits


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe"])
def test_what_is_no_document_has_no_limits(body: bytes) -> None:
    assert read_limits(body) is None
