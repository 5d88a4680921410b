"""``oacompile swarm ask``: one job, and each event of its life."""

from __future__ import annotations

import contextlib
import secrets as tokens
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json
from oa_compile.cli.runs import ASKED, RUNS, SWARM, records_of_runs, secret
from oa_compile.cli.swarm_options import RelayUrls, Wallet
from oa_compile.errors import OacompileError, StopRun, UsageError

if TYPE_CHECKING:
    from oa_compile.chat import ChatAnswer, ChatRequest
    from oa_compile.cli.output import Output
    from oa_compile.cli.swarm_target import Target
    from oa_compile.events import Line
    from oa_compile.lanes.pylon import PylonLane


def ask(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask; - reads standard input.")],
    budget: Budget = None,
    relay: RelayUrls = None,
    wallet: Wallet = None,
    provider: Annotated[
        str, typer.Option("--provider", metavar="<key>", help="Public key (hex) of the only one to ask.")
    ] = "",
    bid: Annotated[
        str, typer.Option("--bid", metavar="<amount>", help="Most to pay for the answer; 20msat if left out.")
    ] = "",
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="<int>", min=1, help="Length of the answer.")
    ] = None,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="<folder>", help="Where its journal is kept.")
    ] = RUNS,
    json: Json = False,
) -> int:
    """Send one job to the swarm, and show each event of its life.

    The answer is the result; what happened to the job is told beside it, with times. Without a config and
    without relays, a swarm of this machine is started for it. What is paid is in a journal, as in a run.
    """
    from oa_compile.cli.swarm_target import find_target

    screen = output.current()
    changes: dict[str, Any] = {"audit": 0.0}  # one job was asked for, not a copy to compare it with
    if provider:
        changes["providers"] = (provider,)
    if bid:
        changes["bid"] = bid
    if max_tokens is not None:
        changes["max_tokens"] = max_tokens
    if relay and wallet is None:
        raise UsageError(
            "what is it paid with?", hint="--wallet <lightning-rpc socket>, or --budget with a [wallet]"
        )
    network = None if wallet is None else partial(_network, wallet)
    target = find_target(budget, relay, wallet=wallet, network=network, changes=changes)
    folder = runs / f"{ASKED}{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{tokens.token_hex(2)}"
    life = _Life(screen, json=json)
    _settle_left(runs, life)
    answer = _asked(target, _text(prompt), folder=folder, life=life)
    if json:
        screen.emit(
            {
                "answer": answer.text,
                "model": answer.model,
                "usage": {"input": answer.usage.input_tokens, "output": answer.usage.output_tokens},
                "receipts": life.receipts,
                "events": life.told,
                "journal": str(folder / "journal.jsonl"),
            }
        )
    else:
        screen.note(f"journal   {folder / 'journal.jsonl'}")
        from oa_compile.hud.text import clean

        screen.show(clean(answer.text, keep_newlines=True))
    return 0


def _settle_left(runs: Path, life: _Life) -> None:
    """Nobody resumes a question: what one has left whose process died is looked after here."""
    from oa_compile.journal import FILE_NAME
    from oa_compile.lanes.questions import settle_questions

    for found in settle_questions(sorted(runs.glob(f"{ASKED}*/{FILE_NAME}")), secrets=secret):
        who = f" to provider {found.provider[:8]}" if found.provider else ""
        ends = {
            "paid": f"{found.msat:,} msat were paid{who}, and nobody was there for the answer",
            "unpaid": f"nothing was paid{who}",
            "pending": f"the wallet does not know yet of {found.msat:,} msat{who}; to be asked next time",
            "gone": f"its swarm ended with it: {found.msat:,} msat of its play money{who} count as spent",
            "unknown": f"what it paid cannot be found out now: {found.trouble}",
        }
        name = found.journal.parent.name
        particulars = {"question": name, "outcome": found.outcome, "msat": found.msat}
        life.note("left", f"{name}: {ends[found.outcome]}", particulars)


def _text(prompt: str) -> str:
    text = prompt
    if prompt == "-":
        import sys

        text = sys.stdin.read()
    if not text.strip():
        raise UsageError("the prompt is empty")
    return text


def _network(wallet: Path) -> str:
    """The Lightning network the wallet is on."""
    import asyncio

    from oa_compile.swarm.lightning.cln import ClnWallet

    async def tell() -> str:
        node = ClnWallet(wallet.expanduser())
        try:
            return await node.network()
        finally:
            await node.close()

    return asyncio.run(tell())


def _asked(target: Target, text: str, *, folder: Path, life: _Life) -> ChatAnswer:
    """The answer. Raises what ends a run, and LaneFault where nobody answered."""
    from oa_compile.chat import ChatMessage, ChatRequest
    from oa_compile.lanes.pylon import PylonLane

    spec = target.spec
    lane = PylonLane(
        target.name,
        spec,
        wallet=target.wallet,
        rate=target.rate,
        secrets=secret,
        home=None if spec.is_local else folder / SWARM / target.name,
        records=dict if spec.is_local else lambda: records_of_runs(folder.absolute().parent),
        observe=life.happened,
    )
    request = ChatRequest(
        (ChatMessage("user", text),), max_tokens=spec.max_tokens, temperature=spec.temperature
    )
    if spec.is_local:
        life.note("starting", "a swarm on this machine, for this question")
    with contextlib.closing(lane):
        return _journaled(lane, request, target=target, folder=folder, life=life)


def _journaled(
    lane: PylonLane, request: ChatRequest, *, target: Target, folder: Path, life: _Life
) -> ChatAnswer:
    """Ask as a run does: reserved, intended on the disk, settled, all in a journal of its own."""
    from oa_compile import __version__
    from oa_compile.events import RunFinished, RunStarted
    from oa_compile.journal import FILE_NAME, Journal
    from oa_compile.lanes.books import RunBooks
    from oa_compile.lanes.calls import Calls
    from oa_compile.lanes.recorded import Recording
    from oa_compile.ledger import RUN, Ledger

    started = RunStarted(
        command="ask",
        run=folder.name,
        program="",
        inputs={},
        lanes={lane.name: lane.identity},
        settings={
            "lane": target.spec.model_dump(mode="json"),
            "wallet": target.wallet.model_dump(mode="json"),
        },
        versions={"oacompile": __version__},
    )
    caps = {
        RUN: target.budget.caps(target.rate),
        f"lane {lane.name}": target.spec.budget.caps(target.rate),
    }
    folder.mkdir(parents=True)
    begun = time.monotonic()
    with Journal(folder / FILE_NAME) as journal:
        journal.listen(life.journaled)
        journal.append(started, sync=True)
        ledger = Ledger(caps, elapsed=lambda: time.monotonic() - begun)
        calls = Calls(journal=journal, ledger=ledger, recording=Recording())
        lane.take_up(RunBooks(calls.accounts, (), lane=lane.name, stage="compile"))
        with _finishing(journal, RunFinished):
            try:
                return calls.complete(
                    request, lane=lane, stage="compile", role="task", rollout=None, sample=0
                )
            except KeyboardInterrupt:
                calls.interrupt()
                raise
            except StopRun as stop:
                raise stop.error from stop
            finally:
                # What is under way may still be paid for: closing waits for it, and it must find the journal.
                lane.close()


@contextlib.contextmanager
def _finishing(journal: Any, finished: Any) -> Iterator[None]:
    """Write how it ended."""
    try:
        yield
    except OacompileError as error:
        journal.append(finished(status="failed", reason=error.message), sync=True)
        raise
    except KeyboardInterrupt:
        journal.append(finished(status="interrupted", reason="interrupted"), sync=True)
        raise
    journal.append(finished(status="complete"), sync=True)


@dataclass
class _Life:
    """What happens to the jobs of one question, told as it happens. Called from several threads."""

    screen: Output
    json: bool
    told: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def happened(self, what: str, particulars: Mapping[str, Any]) -> None:
        """The customer's side of a job (`swarm.exchange.Observe`)."""
        self.note(what, _sentence(what, particulars), particulars)

    def journaled(self, line: Line) -> None:
        """The run's side: money set aside, intended, settled."""
        from oa_compile.events import Attempt, PaymentIntended, Reserved

        event = line.event
        if isinstance(event, Reserved):
            self.note("reserved", f"{event.msat:,} msat, before anything is sent", {"msat": event.msat})
        elif isinstance(event, PaymentIntended):
            text = f"the invoice holds; to pay {event.msat:,} msat and at most {event.max_fee_msat:,} of fees"
            self.note("intent", text, {"msat": event.msat, "payment_hash": event.payment_hash})
        elif isinstance(event, Attempt):
            self.receipts.append(dict(event.receipt))
            text = f"{event.outcome}: {event.msat:,} msat, {event.tokens:,} tokens, {event.latency_ms:,} ms"
            self.note("settled", text, {"outcome": event.outcome, "msat": event.msat, "ms": event.latency_ms})

    def note(self, what: str, text: str, particulars: Mapping[str, Any] | None = None) -> None:
        """One line of it."""
        from oa_compile.hud.text import clean

        with self._lock:
            seconds = time.monotonic() - self._began
            self.told.append({"at_ms": round(seconds * 1000), "what": what, **(particulars or {})})
            if not self.json:
                self.screen.note(f"{seconds:8.3f} s  {what:<11}{clean(text)}")


def _sentence(what: str, of: Mapping[str, Any]) -> str:
    who = str(of.get("provider", ""))[:8]
    match what:
        case "sent":
            return f"job {of['job'][:8]} to provider {who} ({of['why']}), bid {of['msat']:,} msat"
        case "published":
            took = ", ".join(of["accepted"]) or "no relay so far"
            refused = "".join(f"; {url} refused it: {reason}" for url, reason in of["refused"].items())
            return f"taken by {took}{refused}"
        case "feedback":
            price = "" if of["msat"] is None else f", {of['msat']:,} msat"
            return f"{who} says {of['status']}{price} {of['message']}".rstrip()
        case "result":
            price = "free" if of["msat"] is None else f"{of['msat']:,} msat"
            return f"{who} answered, {of['tokens']:,} tokens, {price}" + (", on the tab" if of["tab"] else "")
        case "quote":
            return f"{who} sends an invoice for {of['msat']:,} msat: {of['bolt11'][:24]}…"
        case "paid":
            return f"{of['msat']:,} msat, proven by the preimage {of['preimage'][:16]}…"
        case _:
            return str(of.get("fault") or of.get("pending") or "answered")
