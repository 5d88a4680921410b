"""The parameters of the embedded ledger's commands, as lightningd takes them: by name or in order.

Owns which parameters a command has, and what each may be. What is done with them is `ledger_commands`'
matter.
"""

from __future__ import annotations

import re
from typing import Any

from oa_compile.money import MSAT_PER_BTC, MSAT_PER_SAT, check_msat
from oa_compile.swarm.lightning.ledger_book import Code, LedgerRefusal

Params = dict[str, Any]

PARAMETERS: dict[str, tuple[str, ...]] = {
    "getinfo": (),
    "invoice": ("amount_msat", "label", "description", "expiry", "fallbacks", "preimage"),
    "decode": ("string",),
    "xpay": ("invstring", "amount_msat", "maxfee", "layers", "retry_for"),
    "pay": ("bolt11", "amount_msat", "label", "riskfactor", "maxfeepercent", "retry_for", "maxdelay"),
    "listpays": ("bolt11", "payment_hash", "status"),
    "listsendpays": ("bolt11", "payment_hash", "status"),
    "listinvoices": ("label", "invstring", "payment_hash"),
    "waitinvoice": ("label",),
    "waitanyinvoice": ("lastpay_index", "timeout"),
    "listfunds": ("spent",),
}
"""The commands, and their parameters in order."""

NEEDED = {"invoice": 3, "decode": 1, "xpay": 1, "pay": 1, "waitinvoice": 1}
"""How many of them must be given."""

_UNITS = {"": 1, "msat": 1, "sat": MSAT_PER_SAT, "btc": MSAT_PER_BTC}
_AMOUNT = re.compile(r"([0-9]{1,20})(|msat|sat|btc)", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def given_by_name(command: str, params: Params | list[Any]) -> Params:
    """What was given, by name; nothing is None. Raises LedgerRefusal for a command nobody knows, for too many
    parameters, and where one is missing.
    """
    known = PARAMETERS.get(command)
    if known is None:
        raise LedgerRefusal(Code.UNKNOWN_METHOD, f"Unknown command '{command}'")
    given = dict(zip(known, params, strict=False)) if isinstance(params, list) else params
    given = {key: value for key, value in given.items() if value is not None}
    if isinstance(params, list) and len(params) > len(known):
        raise LedgerRefusal(Code.INVALID_PARAMS, f"too many parameters for '{command}'")
    if missing := [key for key in known[: NEEDED.get(command, 0)] if key not in given]:
        raise LedgerRefusal(Code.INVALID_PARAMS, f"missing required parameter: {missing[0]}")
    return given


def msat_of(value: object, name: str) -> int:
    """An amount as lightningd takes them: a whole number, or one with a unit. Raises LedgerRefusal."""
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    amount = int(match[1]) * _UNITS[match[2]] if match else value
    try:
        return check_msat(amount)
    except ValueError as error:
        raise LedgerRefusal(Code.INVALID_PARAMS, f"{name}: should be a millisatoshi amount") from error


def whole_of(value: object, name: str) -> int:
    """A whole number, not negative. Raises LedgerRefusal."""
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 53:
        raise LedgerRefusal(Code.INVALID_PARAMS, f"{name}: should be an integer")
    return number


def hex32_of(value: object, name: str) -> str:
    """64 hex digits, or nothing. Raises LedgerRefusal."""
    if value == "" or (isinstance(value, str) and _HASH.fullmatch(value)):
        return str(value).lower()
    raise LedgerRefusal(Code.INVALID_PARAMS, f"{name}: should be 64 hex digits")
