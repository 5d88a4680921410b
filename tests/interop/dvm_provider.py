"""A service provider made with nostr-dvm, run by the Python that has it: text generation without a model.

Run in an empty folder (it keeps its database there), with its relay, its price in sats (0 is free) and its
LNbits server. Says `listens` when it takes jobs, and between it nostr-dvm's own words on what it does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from nostr_dvm.framework import DVMFramework
from nostr_dvm.interfaces.dvmtaskinterface import DVMTaskInterface
from nostr_dvm.utils.admin_utils import AdminConfig
from nostr_dvm.utils.definitions import EventDefinitions
from nostr_dvm.utils.dvmconfig import DVMConfig
from nostr_dvm.utils.nip89_utils import NIP89Config
from nostr_sdk import Keys


class Shouting(DVMTaskInterface):
    """Answers a prompt with its last line, louder."""

    KIND = EventDefinitions.KIND_NIP90_GENERATE_TEXT
    TASK = "text-to-text"

    async def schedule(self, dvm_config):
        """Called again and again once it has subscribed, for the first time just before it listens."""
        if not self.options.get("listens"):
            await asyncio.sleep(0)
            self.options["listens"] = True
            sys.stdout.write("listens\n")

    async def is_input_supported(self, tags, client=None, dvm_config=None):
        return all(tag.to_vec()[2] == "text" for tag in tags if tag.to_vec()[0] == "i")

    async def create_request_from_nostr_event(self, event, client=None, dvm_config=None):
        tags = [tag.to_vec() for tag in event.tags()]
        return {"prompt": next(tag[1] for tag in tags if tag[0] == "i")}

    async def process(self, request_form):
        prompt = request_form["prompt"]
        if prompt == "fail":
            raise RuntimeError("told to fail")
        return prompt.splitlines()[-1].upper() + "!"


def main(relay: str, sats: str, lnbits: str) -> None:
    keys = Keys.generate()
    config = DVMConfig()
    config.IDENTIFIER = "shouting"
    config.PRIVATE_KEY = keys.secret_key().to_hex()
    config.PUBLIC_KEY = keys.public_key().to_hex()
    # Its defaults are relays of the real network: nothing of a test goes there.
    config.RELAY_LIST = config.ANNOUNCE_RELAY_LIST = config.SYNC_DB_RELAY_LIST = [relay]
    config.FIX_COST = float(sats)
    config.LNBITS_URL, config.LNBITS_INVOICE_KEY = lnbits, "any"

    announced = NIP89Config()
    announced.DTAG = "shouting"
    announced.CONTENT = json.dumps(
        {
            "name": "Shouting",
            "about": "Says it louder",
            "supportsEncryption": True,
            "nip90Params": {"model": {"required": False, "values": ["loud"]}},
        }
    )
    admin = AdminConfig()
    admin.REBROADCAST_NIP89 = True

    Path("db").mkdir(exist_ok=True)
    framework = DVMFramework()  # its own thread pool needs the main thread to stay
    framework.add(Shouting("Shouting", config, announced, admin_config=admin))
    framework.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
