"""``oacompile swarm``: against a relay, service providers and a ledger on loopback; and as processes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oa_compile.cli import runs
from oa_compile.cli.swarm_options import amount
from oa_compile.cli.swarm_teller import job_line
from oa_compile.errors import UsageError
from oa_compile.events import Attempt, PaymentIntended, Reserved, RunFinished
from oa_compile.journal import Journal, events, read
from oa_compile.swarm.customer import payment
from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.provider.serving import Served
from tests.support.cli import ROOT, SCRIPT, environment
from tests.support.local_swarm import LANE
from tests.support.pylon_lane import PRICE, PylonWorld, pylon_world

Run = Callable[..., tuple[int, str, str]]

CONFIG = """\
[budget]
cost = "{cost}"
[wallet]
kind = "cln"
rpc = "{wallet}"
[lanes.swarm]
kind = "pylon"
relays = ["{relay}"]
network = "{network}"
bid = "{bid}"
hedge_after = 0
privacy = "{privacy}"
[stages.compile]
task = "swarm"
"""


@pytest.fixture(scope="module")
def world() -> Iterator[PylonWorld]:
    with pylon_world() as world:
        yield world


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config_of(world: PylonWorld, **changes: str) -> str:
    """The path of a config for that world."""
    values = {"cost": "100sat", "network": "regtest", "bid": "20msat", "privacy": "paths"} | changes
    known = {"wallet": str(world.wallet), "relay": world.relay.url} | values
    Path("swarm.toml").write_text(CONFIG.format_map(known), encoding="utf-8")
    return "swarm.toml"


def journal_of(told: dict[str, Any]) -> list[Any]:
    return list(events(read(Path(told["journal"]))))


# -- ask -----------------------------------------------------------------------------------------


def test_a_question_is_answered_and_its_life_is_told(run: Run, world: PylonWorld) -> None:
    before = world.spent_msat
    code, out, err = run("swarm", "ask", "how are you?", "--budget", config_of(world))
    assert (code, out) == (0, "answer to how are you?\n")
    words = [line.split()[2] for line in err.splitlines() if " s  " in line]
    assert [word for word in words if word != "published"] == [
        "reserved",
        "sent",
        "result",
        "quote",
        "intent",
        "paid",
        "ended",
        "settled",
    ]
    assert world.spent_msat - before == PRICE
    assert "runs/ask-" in err.splitlines()[-1]


def test_what_a_question_cost_is_in_a_journal(run: Run, world: PylonWorld) -> None:
    code, out, err = run("swarm", "ask", "q", "--budget", config_of(world), "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["answer"] == "answer to q"
    (receipt,) = told["receipts"]
    assert receipt["paid_msat"] == PRICE
    assert receipt["provider"] in {keys.public for keys in world.keys}
    kept = journal_of(told)
    order = [
        type(event) for event in kept if isinstance(event, Reserved | PaymentIntended | Attempt | RunFinished)
    ]
    assert order == [Reserved, PaymentIntended, Attempt, RunFinished]
    assert [event.outcome for event in kept if isinstance(event, Attempt)] == ["ok"]
    assert [event.status for event in kept if isinstance(event, RunFinished)] == ["complete"]
    assert [event["what"] for event in told["events"]][-1] == "settled"
    assert all(event["at_ms"] >= 0 for event in told["events"])


def test_relay_and_wallet_may_be_typed_and_the_wallet_says_its_network(run: Run, world: PylonWorld) -> None:
    one = world.keys[1].public
    place = ("--relay", world.relay.url, "--wallet", str(world.wallet))
    code, out, _err = run("swarm", "ask", "q", *place, "--provider", one, "--bid", "15msat", "--json")
    assert code == 0
    told = json.loads(out)
    assert [receipt["provider"] for receipt in told["receipts"]] == [one]
    assert told["receipts"][0]["wallet"] == "cln"


def test_nobody_who_answers_is_a_lane_s_failure_and_journaled(run: Run, world: PylonWorld) -> None:
    code, out, _err = run("swarm", "ask", "the wire is down", "--budget", config_of(world), "--json")
    assert code == 4
    assert json.loads(out)["error"]["kind"] == "LaneFault"
    (journal,) = Path("runs").glob("ask-*/journal.jsonl")
    kept = list(events(read(journal)))
    assert {event.outcome for event in kept if isinstance(event, Attempt)} == {"fault"}
    assert [event.status for event in kept if isinstance(event, RunFinished)] == ["failed"]


def test_the_config_s_budget_holds_for_a_question_too(run: Run, world: PylonWorld) -> None:
    before = world.spent_msat
    code, _out, err = run("swarm", "ask", "q", "--budget", config_of(world, cost="10msat"))
    assert code == 3
    assert "run.msat" in err
    assert world.spent_msat == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("",), "the prompt is empty"),
        (("q", "--relay", "wss://relay.example"), "what is it paid with?"),
        (("q", "--provider", "abc"), "not a public key"),
        (("q", "--bid", "much"), "not an amount"),
        (("q", "--budget", "x.toml", "--relay", "wss://r", "--wallet", "w"), "leave out --relay"),
        (("q", "--wallet", "nowhere/lightning-rpc"), "no node answers there"),
        (("q", "--budget", "none.toml"), "no such config file"),
    ],
)
def test_what_cannot_be_asked_is_refused(run: Run, args: tuple[str, ...], message: str) -> None:
    code, out, err = run("swarm", "ask", *args)
    assert code in {2, 4}
    assert out == ""
    assert message in err
    assert not Path("runs").exists()


def test_a_config_without_a_swarm_is_refused(run: Run) -> None:
    Path("quick.toml").write_text(LANE, encoding="utf-8")
    code, _out, err = run("swarm", "ask", "q", "--budget", "quick.toml")
    assert code == 2
    assert "no lane of kind `pylon`" in err


DYING = """
import os, signal, sys
from oa_compile.cli import swarm_ask
from oa_compile.cli.main import main
from oa_compile.swarm.lightning.cln import ClnWallet

def die(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "intended":
    ClnWallet.pay = die
else:
    happened = swarm_ask._Life.happened
    swarm_ask._Life.happened = lambda life, what, of: die() if what == "paid" else happened(life, what, of)
main(["swarm", "ask", "what is it?", "--budget", "swarm.toml"])
"""
"""A question killed with an intent on the disk: ``intended``, before the wallet is asked; ``paid``, when it
has said so and the journal does not know."""


def killed(world: PylonWorld, moment: str) -> Path:
    """A question that was killed at that moment of its payment; its journal."""
    config_of(world)
    ended = subprocess.run(
        [sys.executable, "-c", DYING, moment], env=environment(Path.cwd()), stdin=subprocess.DEVNULL
    )
    assert ended.returncode == -signal.SIGKILL
    (journal,) = Path("runs").glob("ask-*/journal.jsonl")
    lines = list(events(read(journal)))
    assert isinstance(lines[-1], PaymentIntended)
    return journal


def left(run: Run) -> list[dict[str, Any]]:
    """What the next question tells of the ones before it."""
    code, out, _err = run("swarm", "ask", "and now?", "--budget", "swarm.toml", "--json")
    told = json.loads(out)
    assert (code, told["answer"]) == (0, "answer to and now?")
    return [event for event in told["events"] if event["what"] == "left"]


def test_the_next_question_finds_what_a_killed_one_paid(run: Run, world: PylonWorld) -> None:
    before = world.spent_msat
    journal = killed(world, "paid")
    spent = world.spent_msat - before
    assert spent == PRICE
    (found,) = left(run)
    assert (found["question"], found["outcome"], found["msat"]) == (journal.parent.name, "paid", spent)
    *_, attempt, finished = events(read(journal))
    assert isinstance(attempt, Attempt)
    assert (attempt.outcome, attempt.msat, attempt.receipt["lost"]) == ("lost", spent, True)
    assert isinstance(finished, RunFinished)
    assert finished.status == "failed"
    assert left(run) == [], "it is told once"
    assert world.spent_msat == before + 3 * spent, "and paid once"


def test_a_payment_that_was_never_made_is_told_when_it_cannot_come_any_more(
    run: Run, world: PylonWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.spent_msat
    journal = killed(world, "intended")
    known = journal.read_bytes()
    assert [found["outcome"] for found in left(run)] == ["pending"], "the request may be on its way"
    assert journal.read_bytes() == known
    monkeypatch.setattr(payment, "LATE_SECONDS", -1e6)  # its time is over
    assert [(found["outcome"], found["msat"]) for found in left(run)] == [("unpaid", 0)]
    assert left(run) == []
    assert world.spent_msat - before == 3 * PRICE, "three questions that were answered"


def test_a_question_that_is_being_asked_is_left_alone(run: Run, world: PylonWorld) -> None:
    path = killed(world, "paid")
    with Journal(path):
        assert left(run) == []
    assert [found["outcome"] for found in left(run)] == ["paid"]


def test_a_wallet_that_is_away_does_not_keep_from_asking(run: Run, world: PylonWorld) -> None:
    path = killed(world, "paid")
    known = path.read_text()
    path.write_text(known.replace(str(world.wallet), "/nowhere/lightning-rpc"))
    for _ in range(2):  # it is looked for again, until it is there
        (found,) = left(run)
        assert found["outcome"] == "unknown"
    path.write_text(known)
    assert [found["outcome"] for found in left(run)] == ["paid"]


def test_what_was_paid_on_a_swarm_that_is_gone_counts_as_spent(run: Run, world: PylonWorld) -> None:
    path = killed(world, "paid")
    path.write_text(path.read_text().replace(f'"relays":["{world.relay.url}"]', '"relays":[]'))
    reserved = next(event for event in events(read(path)) if isinstance(event, Reserved))
    _code, _out, err = run("swarm", "ask", "and now?", "--budget", "swarm.toml")
    assert f"{path.parent.name}: its swarm ended with it: {reserved.msat} msat of its play money" in err
    assert left(run) == []


def test_a_question_is_not_the_latest_run(run: Run, world: PylonWorld) -> None:
    assert run("swarm", "ask", "q", "--budget", config_of(world))[0] == 0
    with pytest.raises(UsageError, match="there is no run yet"):
        runs.find_run("latest")


# -- providers -----------------------------------------------------------------------------------


def test_providers_are_listed_with_terms_and_record(run: Run, world: PylonWorld) -> None:
    config = config_of(world)
    asked = json.loads(run("swarm", "ask", "q", "--budget", config, "--json")[1])
    who = asked["receipts"][0]["provider"]
    code, out, err = run("swarm", "providers", "--budget", config, "--json")
    assert (code, err) == (0, "")
    told = {provider["provider"]: provider for provider in json.loads(out)["providers"]}
    assert set(told) == {keys.public for keys in world.keys}
    assert told[who]["price_msat"] == PRICE
    assert told[who]["network"] == "regtest"
    assert told[who]["record"]["answered"] == 1
    assert told[who]["record"]["paid_msat"] == PRICE
    assert {provider["why_not"] for provider in told.values()} == {""}
    assert [one["record"] for key, one in told.items() if key != who] == [None]

    code, out, _err = run("swarm", "providers", "--budget", config)
    assert code == 0
    assert who[:16] in out
    assert "1 answered" in out
    assert f"2 providers on {world.relay.url}" in out


def test_a_provider_the_lane_would_not_ask_says_why(run: Run, world: PylonWorld) -> None:
    code, out, _err = run("swarm", "providers", "--budget", config_of(world, bid="5msat"))
    assert code == 0
    assert out.count("gets no job: asks 10 msat, more than the bid of 5") == 2
    code, out, _err = run("swarm", "providers", "--relay", world.relay.url)
    assert code == 0
    assert "gets no job" not in out, "without a lane there is no bid"


def test_a_relay_where_nobody_is_is_told(run: Run) -> None:
    with pylon_world(count=0) as empty:
        code, out, err = run("swarm", "providers", "--relay", empty.relay.url)
    assert code == 0
    assert "nobody announces" in out
    assert "--relay" in err


@pytest.mark.parametrize("args", [(), ("--budget", "local.toml")])
def test_without_relays_there_is_nobody_to_list(run: Run, args: tuple[str, ...]) -> None:
    Path("local.toml").write_text(
        '[lanes.s]\nkind = "pylon"\n[stages.compile]\ntask = "s"\n', encoding="utf-8"
    )
    code, _out, err = run("swarm", "providers", *args)
    assert code == 2
    assert "--relay wss://" in err


def test_a_relay_that_is_away_is_a_lane_s_failure(run: Run) -> None:
    code, _out, err = run("swarm", "providers", "--relay", "ws://127.0.0.1:9")
    assert code == 4
    assert "no relay can be reached" in err


# -- doctor --------------------------------------------------------------------------------------


def rows(run: Run, budget: str) -> tuple[int, dict[str, dict[str, str]]]:
    code, out, err = run("doctor", "--budget", budget, "--json")
    assert err == ""
    return code, {check["name"]: check for check in json.loads(out)["checks"]}


def test_doctor_finds_relay_wallet_and_providers(run: Run, world: PylonWorld) -> None:
    code, found = rows(run, config_of(world, cost="10msat"))
    assert code == 0
    names = (
        f"relay {world.relay.url}",
        "wallet of swarm",
        "providers of swarm",
        "privacy of swarm",
        "lane swarm",
    )
    assert {found[name]["status"] for name in names} == {"ok"}
    assert found["wallet of swarm"]["found"].startswith("cln on regtest, holds ")
    assert found["providers of swarm"]["found"] == "2 providers announced, 2 eligible"
    assert found["privacy of swarm"]["found"].startswith("paths, ")


def test_doctor_says_what_to_do_about_a_swarm_that_will_not_work(run: Run, world: PylonWorld) -> None:
    code, found = rows(run, config_of(world, network="bitcoin", privacy="open"))
    assert code == 2
    assert found["wallet of swarm"]["status"] == found["providers of swarm"]["status"] == "fail"
    assert found["wallet of swarm"]["fix"] == 'set network = "regtest" in the lane'
    assert "2 × is paid on regtest" in found["providers of swarm"]["found"]
    assert found["privacy of swarm"]["status"] == "warn"


def test_doctor_warns_of_a_wallet_below_the_budget(run: Run, world: PylonWorld) -> None:
    code, found = rows(run, config_of(world, cost="1btc"))
    assert code == 0
    assert found["wallet of swarm"]["status"] == "warn"
    assert "fund it" in found["wallet of swarm"]["fix"]


def test_doctor_tells_what_is_away(run: Run, world: PylonWorld) -> None:
    code, found = rows(run, config_of(world, relay="ws://127.0.0.1:9", wallet="gone/lightning-rpc"))
    assert code == 2
    assert "no relay can be reached" in found["relay ws://127.0.0.1:9"]["found"]
    assert "no node answers there" in found["wallet of swarm"]["found"]


def test_doctor_looks_at_a_swarm_of_this_machine_without_starting_it(run: Run) -> None:
    text = '[lanes.s]\nkind = "pylon"\nbid = "5msat"\n[stages.compile]\ntask = "s"\n[budget]\ncost = "1btc"\n'
    Path("local.toml").write_text(text, encoding="utf-8")
    code, found = rows(run, "local.toml")
    assert code == 2
    assert found["lane s"]["fix"] == 'set bid = "10msat" or more'
    assert "raise local.balance" in found["wallet of s"]["fix"]
    assert found["privacy of s"]["found"].startswith("open, ")


def test_a_lane_for_the_verify_stage_alone_is_no_reason_not_to_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    premium = '[lanes.p]\nkind = "litellm"\nmodel = "openai/gpt-4o-mini"\n[lanes.l]\nkind = "embedded"\n'
    stages = '[stages.compile]\ntask = "l"\n[stages.verify]\ntask = "p"\n'
    Path("two.toml").write_text(premium + stages, encoding="utf-8")
    _code, found = rows(run, "two.toml")
    assert found["lane p"]["status"] == "warn"
    assert "only the verify stage" in found["lane p"]["found"]


# -- a compile on the shipped config -------------------------------------------------------------


def test_the_shipped_config_is_forecast_in_msat_with_nothing_started(run: Run) -> None:
    args = ("--budget", str(ROOT / "configs" / "swarm.toml"), "--dry-run", "--json")
    code, out, err = run("optimize", str(ROOT / "programs" / "tool-selection"), *args)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["msat"] == 25 * told["calls"] > 0, "the bid and the largest fee for each"
    assert {line["lane"] for line in told["lines"]} == {"swarm"}
    assert told["cap"] == ""


def test_a_forecast_needs_no_keys(run: Run) -> None:
    text = (ROOT / "configs" / "swarm.toml").read_text(encoding="utf-8")
    named = text.replace('kind = "pylon"\n', 'kind = "pylon"\nkey_env = "NOT_SET_ANYWHERE"\n', 1)
    Path("keyed.toml").write_text(named, encoding="utf-8")
    args = ("--budget", "keyed.toml", "--dry-run", "--json")
    assert run("optimize", str(ROOT / "programs" / "tool-selection"), *args)[0] == 0


# -- up and provide, as processes ----------------------------------------------------------------


@contextlib.contextmanager
def process(*args: str, cwd: Path, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [str(SCRIPT), *args],
        cwd=cwd,
        env=environment(cwd),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def first_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line, started.stderr and started.stderr.read()
    return line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_up_says_where_it_is_and_ends_when_told(tmp_path: Path, number: signal.Signals, code: int) -> None:
    Path("quick.toml").write_text(LANE, encoding="utf-8")
    args = ("--lane", "quick.toml:quick", "--providers", "1", "--price", "7msat", "--dir", "kept", "--json")
    with process("swarm", "up", *args, cwd=tmp_path) as up:
        told = json.loads(first_line(up))
        assert told["providers"][0]["price_msat"] == 7
        assert Path(told["wallet"]).is_socket()
        up.send_signal(number)
        assert up.wait(60) == code
    assert not Path(told["wallet"]).exists()
    assert (tmp_path / "kept" / "provider-1" / "key").is_file()


def test_up_shows_lines_that_make_a_config(tmp_path: Path, run: Run) -> None:
    Path("quick.toml").write_text(LANE, encoding="utf-8")
    args = ("--lane", "quick.toml:quick", "--providers", "2", "--dir", "kept")
    with process("swarm", "up", *args, cwd=tmp_path) as up:
        assert up.stdout is not None
        lines = []
        while not (lines and lines[-1].startswith("bid = ")):
            lines.append(first_line(up))
        text = "".join(lines)
        pasted = text[text.index("[wallet]") :] + '[stages.compile]\ntask = "swarm"\n'
        Path("pasted.toml").write_text(pasted, encoding="utf-8")
        code, found = rows(run, "pasted.toml")
        keys = [line.split()[-1] for line in lines if line.startswith("provider-")]
        assert [len(key) for key in keys] == [64, 64]
        assert code == 0
        assert found["providers of swarm"]["found"] == "2 providers announced, 2 eligible"
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 130
        assert up.stderr is not None
        assert "ended: 0 jobs answered" in up.stderr.read()


def test_up_tells_a_person_what_happens_and_leaves_the_terminal_clean(tmp_path: Path) -> None:
    Path("quick.toml").write_text(LANE, encoding="utf-8")
    parent, child = pty.openpty()
    command = [str(SCRIPT), "swarm", "up", "--lane", "quick.toml:quick", "--providers", "1"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(tmp_path, TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=child,
    ) as up:
        os.close(child)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side of a terminal is closed
            while data := os.read(parent, 4096):
                if b"Ctrl-C ends it" in data and b"Ctrl-C" not in seen:
                    up.send_signal(signal.SIGINT)
                seen += data
        os.close(parent)
    assert up.returncode == 130
    assert seen.endswith(b"ended: 0 jobs answered, 0 declined, 0 payments, 0 msat\r\n")
    assert seen.index(b"\x1b[?25h") > seen.index(b"Ctrl-C")


@pytest.mark.parametrize(
    ("served", "line"),
    [
        (
            Served("j", "c" * 64, "answered", "free", tokens=1200, seconds=0.25),
            "0 msat   1,200     250  free",
        ),
        (Served("j", "c" * 64, "answered", "tab", 10, tokens=7), "10 msat       7       0  on the tab"),
        (Served("j", "c" * 64, "answered", "pay-first", 10, True, tokens=7), "10 msat       7       0  yes"),
        (
            Served("j", "c" * 64, "answered", "result-first", 10, tokens=7),
            "10 msat       7       0  invoice sent",
        ),
        (Served("j", "c" * 64, "settled", "tab", 50, True), "50 msat     tab       0  yes"),
        (Served("j", "c" * 64, "declined", message="overloaded"), "declined: overloaded"),
    ],
)
def test_each_job_is_a_line(served: Served, line: str) -> None:
    first, *_ = job_line(served).split()
    assert first == "c" * 8
    assert job_line(served).endswith(line)


def test_provide_announces_itself_and_ends_with_its_parent(
    tmp_path: Path, run: Run, world: PylonWorld
) -> None:
    Path("quick.toml").write_text(LANE, encoding="utf-8")
    keys = Keys.generate()
    Path("key").write_text(keys.secret_hex, encoding="ascii")
    args = ("--lane", "quick.toml:quick", "--relay", world.relay.url, "--key-file", "key", "--name", "me")
    more = ("--price", "3msat", "--wallet", str(world.server.rpc_path("provider-0")), "--tab", "1sat")
    with process(
        "swarm", "provide", *args, *more, "--json", "--with-parent", cwd=tmp_path, stdin=subprocess.PIPE
    ) as provide:
        told = json.loads(first_line(provide))
        assert told["provider"] == keys.public
        assert told["network"] == "regtest"
        listed = json.loads(run("swarm", "providers", "--relay", world.relay.url, "--json")[1])["providers"]
        (me,) = [one for one in listed if one["provider"] == keys.public]
        assert (me["name"], me["price_msat"], me["order"], me["tab_limit_msat"]) == ("me", 3, "tab", 1000)
        assert me["models"] == ["openai/nobody"]
        assert provide.stdin is not None
        provide.stdin.close()
        assert provide.wait(60) == 0


@pytest.mark.model
def test_provide_serves_the_embedded_model_and_sees_that_it_is_paid(tmp_path: Path, run: Run) -> None:
    with pylon_world(count=1) as world:
        args = ("--relay", world.relay.url, "--price", "12msat", "--dir", "me", "--json")
        paid_into = ("--wallet", str(world.server.rpc_path("provider-0")))
        with process("swarm", "provide", *args, *paid_into, cwd=tmp_path) as provide:
            me = json.loads(first_line(provide))["provider"]
            place = ("--relay", world.relay.url, "--wallet", str(world.wallet))
            code, out, _err = run(
                "swarm", "ask", "Hello!", *place, "--provider", me, "--max-tokens", "4", "--json"
            )
            assert code == 0
            assert json.loads(out)["model"] == "smollm2-135m"
            served, paid = json.loads(first_line(provide)), json.loads(first_line(provide))
            assert (served["outcome"], served["order"], served["msat"]) == ("answered", "result-first", 12)
            assert served["tokens"] > 4
            assert (paid["outcome"], paid["job"]) == ("paid", served["job"])
            provide.send_signal(signal.SIGINT)
            assert provide.wait(60) == 130


@pytest.mark.model
def test_with_neither_config_nor_relay_a_swarm_is_started_for_the_question(run: Run) -> None:
    code, out, err = run("swarm", "ask", "Hello!", "--max-tokens", "4")
    assert code == 0
    assert out.strip()
    assert "a swarm on this machine" in err
    assert "paid" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "on which relay?"),
        (("--relay", "http://x"), "not a relay"),
        (("--relay", "wss://r", "--price", "10msat"), "needs a wallet"),
        (("--relay", "wss://r", "--price", "1usd"), "in dollars"),
        (("--relay", "wss://r", "--lane", "embeded"), "'embeded' is no lane"),
        (("--relay", "wss://r", "--lane", "litellm"), "'litellm' is no lane"),
        (("--relay", "wss://r", "--lane", "quick.toml:slow"), "no lane `slow`"),
        (("--relay", "wss://r", "--key-env", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE is not set"),
        (("--relay", "wss://r", "--key-env", "A", "--key-file", "b"), "name two keys"),
    ],
)
def test_a_provider_that_cannot_be_says_why(run: Run, args: tuple[str, ...], message: str) -> None:
    Path("quick.toml").write_text(LANE, encoding="utf-8")
    given = args if "--lane" in args else (*args, "--lane", "quick.toml:quick")
    code, out, err = run("swarm", "provide", *given)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--host", "example.org"), "no IP address"),
        (("--price", "-1"), "not an amount"),
        (("--providers", "0"), "greater than or equal to 1"),
    ],
)
def test_a_swarm_that_cannot_be_says_why(run: Run, args: tuple[str, ...], message: str) -> None:
    code, out, err = run("swarm", "up", *args)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(("text", "msat"), [("10", 10), ("10msat", 10), ("2 sat", 2000), ("0", 0)])
def test_amounts_as_they_are_typed(text: str, msat: int) -> None:
    assert amount("--price", text) == msat
