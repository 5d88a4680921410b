"""Two lightningd with a channel between them, on a bitcoind of their own.

    .interop/lightningd/bin/python tests/interop/lightning_nodes.py <empty folder with a short path>

Says ``{"payer": <socket>, "payee": <socket>}`` on stdout when the payer has 1,000,000 sat in the channel, and
lets go of everything when its stdin ends. What the nodes log goes to stderr.

Written against the source of pyln-testing 26.6.9, and not run yet: where it was written was no lightningd.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from pyln.testing.db import SqliteDbProvider
from pyln.testing.utils import BitcoinD, LightningNode, NodeFactory

MATURE = 101
"""Blocks until the first one's reward may be spent."""


def main(folder: str) -> None:
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # lightningd logs to the stdout it inherits
    bitcoind = BitcoinD(bitcoin_dir=folder)
    with ThreadPoolExecutor() as executor:
        bitcoind.start()
        try:
            bitcoind.generate_block(MATURE)
            factory = NodeFactory(
                None, "wallets", bitcoind, executor, folder, SqliteDbProvider(folder), LightningNode, {}
            )
            try:
                payer, payee = factory.line_graph(2, wait_for_announce=True)
                told = {"payer": payer.rpc.socket_path, "payee": payee.rpc.socket_path}
                print(json.dumps(told), file=stdout, flush=True)
                sys.stdin.read()
            finally:
                factory.killall([True, True])
        finally:
            bitcoind.stop()


if __name__ == "__main__":
    main(sys.argv[1])
