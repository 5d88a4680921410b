"""The swarm of this machine: real processes, what they keep, and that none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from oa_compile.errors import LaneError
from oa_compile.swarm.lightning.cln import ClnWallet
from oa_compile.swarm.lightning.cln_till import ClnTill
from oa_compile.swarm.local_swarm import LocalSwarm, Plan, ProviderEnd
from oa_compile.swarm.market.census import take_census
from oa_compile.swarm.relays.relays import Relays
from oa_compile.swarm.supervisor import RESTARTS
from tests.support.local_swarm import Watched, light_plan, pids_of

pytestmark = pytest.mark.crash

WITHIN = 50.0
"""Seconds after which what does not happen has not."""

HOLDER = """
import sys
from pathlib import Path
from oa_compile.swarm.local_swarm import LocalSwarm
from tests.support.local_swarm import light_plan, pids_of
swarm = LocalSwarm(light_plan(Path(sys.argv[1]), folder=Path(sys.argv[1]) / "swarm"))
swarm.start()
print(*pids_of(swarm), flush=True)
sys.stdin.read()
"""


@contextmanager
def running(plan: Plan, *, ends: SimpleQueue[ProviderEnd] | None = None) -> Iterator[LocalSwarm]:
    swarm = LocalSwarm(plan, ended=(SimpleQueue() if ends is None else ends).put)
    try:
        swarm.start()
        yield swarm
    finally:
        swarm.close()


def test_it_starts_once_and_ends_with_nothing_left(tmp_path: Path) -> None:
    with running(light_plan(tmp_path, folder=None, providers=2)) as swarm:
        first = swarm.ready
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: swarm.start(), range(4)))
        assert swarm.ready is first
        assert [provider.name for provider in first.providers] == ["provider-1", "provider-2"]
        assert len({provider.pubkey for provider in first.providers}) == 2
        assert swarm.relays[0].startswith("ws://127.0.0.1:")
        assert swarm.wallet.is_socket()
        folder, watched = Path(first.folder), Watched(pids_of(swarm))
        swarm.close()
        assert watched.ended()
    assert not folder.exists(), "a temporary folder goes"


def test_what_it_keeps_is_there_the_next_time(tmp_path: Path) -> None:
    plan = light_plan(tmp_path, folder=tmp_path / "swarm", balance_msat=1000)

    async def pay(swarm: LocalSwarm) -> None:
        till = ClnTill(Path(swarm.ready.folder) / "ledger" / "provider-1" / "lightning-rpc")
        wallet = ClnWallet(swarm.wallet)
        invoice = await till.invoice(300, label="one", description="", expiry_seconds=60)
        paid = await wallet.pay(invoice.bolt11, payment_hash=invoice.payment_hash, max_fee_msat=0, seconds=10)
        assert paid.status == "complete"
        await till.close()
        await wallet.close()

    async def balance(swarm: LocalSwarm) -> int:
        wallet = ClnWallet(swarm.wallet)
        try:
            return await wallet.balance_msat()
        finally:
            await wallet.close()

    with running(plan) as swarm:
        provider = swarm.providers[0].pubkey
        asyncio.run(pay(swarm))
    with running(plan) as swarm:
        assert swarm.providers[0].pubkey == provider
        assert asyncio.run(balance(swarm)) == 700
    key = tmp_path / "swarm" / "provider-1" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_nothing_is_left_when_we_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        watched = Watched([int(pid) for pid in holder.stdout.readline().split()])
        holder.kill()
    assert watched.ended()
    with running(light_plan(tmp_path, folder=tmp_path / "swarm")):
        pass  # its folder can be used again


def test_providers_end_when_what_runs_them_is_killed(tmp_path: Path) -> None:
    with running(light_plan(tmp_path, folder=tmp_path / "swarm", providers=2)) as swarm:
        supervisor, *providers = pids_of(swarm)
        watched, itself = Watched(providers), Watched([supervisor])
        os.kill(supervisor, signal.SIGKILL)
        assert watched.ended()
        assert itself.ended()
        with pytest.raises(LaneError, match="has ended") as died:
            swarm.start()
        assert "swarm.log" in died.value.hint


def test_a_provider_that_dies_takes_nobody_along(tmp_path: Path) -> None:
    with running(light_plan(tmp_path, folder=tmp_path / "swarm", providers=2)) as swarm:
        _, one, two = pids_of(swarm)
        dead = Watched([one])
        os.kill(one, signal.SIGKILL)
        assert dead.ended()
        swarm.start()
        os.kill(two, 0)


def test_a_provider_that_dies_is_started_again_as_who_it_was(tmp_path: Path) -> None:
    ends: SimpleQueue[ProviderEnd] = SimpleQueue()
    with running(light_plan(tmp_path, folder=tmp_path / "swarm", providers=2), ends=ends) as swarm:
        _, one, _two = pids_of(swarm)
        os.kill(one, signal.SIGKILL)
        end = ends.get(timeout=WITHIN)
        assert end == ProviderEnd("provider-1", -signal.SIGKILL, restarts=1, pid=end.pid)
        assert end.pid not in {0, one}
        assert "provider-1 of this machine ended (signal 9): started again" in end.text
        log = Path(swarm.ready.folder) / "swarm.log"
        assert end.text in log.read_text()

        async def announced() -> set[str]:
            relays = Relays(swarm.relays)
            await relays.open()
            try:
                return {handler.provider for handler in (await take_census(relays)).handlers}
            finally:
                await relays.close()

        assert asyncio.run(announced()) == {provider.pubkey for provider in swarm.providers}
        again = Watched([end.pid])
        swarm.close()
        assert again.ended(), "what was started again ends too"
    assert ends.empty(), "an end that was asked for is none to tell of"


def test_a_swarm_whose_last_provider_dies_for_good_ends_and_says_so(tmp_path: Path) -> None:
    ends: SimpleQueue[ProviderEnd] = SimpleQueue()
    with running(light_plan(tmp_path, folder=tmp_path / "swarm"), ends=ends) as swarm:
        supervisor, provider = pids_of(swarm)
        ended = Watched([supervisor])
        for restarts in range(1, RESTARTS + 1):
            os.kill(provider, signal.SIGKILL)
            end = ends.get(timeout=WITHIN)
            assert end.restarts == restarts
            provider = end.pid
        os.kill(provider, signal.SIGKILL)
        assert ends.get(timeout=WITHIN) == ProviderEnd("provider-1", -signal.SIGKILL, RESTARTS)
        assert ended.ended()
        with pytest.raises(LaneError, match="all service providers have ended"):
            swarm.start()


def test_a_lane_that_cannot_be_served_is_told_with_its_reason(tmp_path: Path) -> None:
    swarm = LocalSwarm(Plan(tmp_path / "swarm", providers=1, lane="nonsense"))
    with pytest.raises(LaneError, match="provider-1 did not start") as refused:
        swarm.start()
    assert "'nonsense' is no lane" in refused.value.message
    assert "swarm.log" in refused.value.hint
    swarm.close()


def test_a_folder_too_deep_for_a_socket_s_name_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 12) / ("deeper" * 12) / "swarm"
    with running(light_plan(tmp_path, folder=folder)) as swarm:
        assert len(str(swarm.wallet)) > 108

        async def network() -> str:
            wallet = ClnWallet(swarm.wallet)
            try:
                return await wallet.network()
            finally:
                await wallet.close()

        assert asyncio.run(network()) == swarm.ready.network == "regtest"
