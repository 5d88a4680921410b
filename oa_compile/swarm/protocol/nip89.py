"""A service provider's announcement (NIP-89, kind 31990): what it serves, at what price, on what terms.

Owns the tags of one announcement, written and read; pure, as `nip90` is. Announcements are claims: what a
provider really asks stands in its quotes, and how it keeps its word in its record.

What we write. `[…]` marks what is left out when there is nothing to say.

    31990  content  JSON: name, about, description (the same again, for OpenAgents), encryptionSupported,
                    nip90Params {"model": {"required": false, "values": […]}}
           d        oacompile-5050           one announcement a key
           k        5050
           handler  compute_provider
           price    msat, "per-request", "msat"       […]
           order    result-first|pay-first|tab        […]
           network  bitcoin|testnet|signet|regtest    […] of Lightning
           operator any text                          […] who runs it, in its own words
           tab      msat                              […] what it lets a customer owe

What we read besides: a price in ``sat``; encryption or ``operator`` as other providers write them; a
content that is no JSON (NIP-89 allows none). A price per token or in another currency is no price we know:
the quote will say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from oa_compile.money import MSAT_PER_SAT
from oa_compile.swarm.protocol.event import Draft, Event, Tags
from oa_compile.swarm.protocol.nip90 import JOB_KIND
from oa_compile.swarm.protocol.tags import (
    ProtocolError,
    check_text,
    expect_kind,
    named,
    read_json,
    read_msat,
    write_json,
)

HANDLER_KIND = 31990

Order = Literal["result-first", "pay-first", "tab", ""]
"""When a provider is paid; ``""`` where it does not say."""

_IDENTIFIER = f"oacompile-{JOB_KIND}"
_ENCRYPTS = ("encryptionSupported", "supportsEncryption")
"""Ours, and nostr-dvm's."""
_UNITS = {"": 1, "msat": 1, "msats": 1, "sat": MSAT_PER_SAT, "sats": MSAT_PER_SAT}


@dataclass(frozen=True, slots=True)
class Handler:
    """What a provider says of itself. `price_msat` None: it does not say; `network` is Lightning's
    (``bitcoin``, ``regtest``, …); `tab_limit_msat` is what it lets a customer owe.

    `provider` and `created_at` (Unix seconds) are the signed event's.
    """

    provider: str
    name: str = ""
    about: str = ""
    models: tuple[str, ...] = ()
    price_msat: int | None = None
    order: Order = ""
    network: str = ""
    operator: str = ""
    encrypts: bool = False
    tab_limit_msat: int = 0
    created_at: int = 0


def draft_handler(handler: Handler) -> Draft:
    """The announcement, to be signed by `handler.provider`. Raises ProtocolError."""
    content = write_json(
        {
            "name": handler.name,
            "about": handler.about,
            "description": handler.about,
            "encryptionSupported": handler.encrypts,
            "nip90Params": {"model": {"required": False, "values": handler.models}},
        }
    )
    tags: Tags = [["d", _IDENTIFIER], ["k", str(JOB_KIND)], ["handler", "compute_provider"]]
    if handler.price_msat is not None:
        tags.append(["price", str(read_msat(str(handler.price_msat))), "per-request", "msat"])
    says = {"order": _order(handler.order), "network": handler.network, "operator": handler.operator}
    tags += [[name, value] for name, value in says.items() if value]
    if handler.tab_limit_msat:
        tags.append(["tab", str(read_msat(str(handler.tab_limit_msat)))])
    check_text([content, *(value for tag in tags for value in tag)])
    return Draft(HANDLER_KIND, tags, content)


def read_handler(event: Event) -> Handler:
    """What a 31990 announces. Raises ProtocolError, also for one that does not serve kind 5050."""
    expect_kind(event, HANDLER_KIND)
    if not any(tag[1] == str(JOB_KIND) for tag in named(event.tags, "k")):
        raise ProtocolError(f"it does not announce jobs of kind {JOB_KIND}")
    about = _content(event.content)
    tab = event.first("tab")
    return Handler(
        provider=event.pubkey,
        name=_text(about.get("name")),
        about=_text(about.get("about")) or _text(about.get("description")),
        models=_models(about.get("nip90Params")),
        price_msat=_price(event),
        order=_order(event.value("order") or ""),
        network=event.value("network") or "",
        operator=_operator(event),
        encrypts=any(about.get(name) is True for name in _ENCRYPTS) or event.first("encrypted") is not None,
        tab_limit_msat=read_msat("".join(tab[1:2])) if tab else 0,
        created_at=event.created_at,
    )


def _content(text: str) -> dict[str, Any]:
    try:
        value = read_json(text)
    except ProtocolError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _models(params: Any) -> tuple[str, ...]:
    model = params.get("model") if isinstance(params, dict) else None
    values = model.get("values") if isinstance(model, dict) else None
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def _price(event: Event) -> int | None:
    tag = event.first("price")
    if tag is None:
        return None
    model, unit = [*tag[2:4], "", ""][:2]
    if model not in {"", "per-request"} or unit.lower() not in _UNITS:
        return None
    return read_msat(str(read_msat("".join(tag[1:2])) * _UNITS[unit.lower()]))


def _order(text: str) -> Order:
    if text not in get_args(Order):
        raise ProtocolError(f"no order of payment: {text[:40]!r}")
    return cast(Order, text)


def _operator(event: Event) -> str:
    """Its operator tag, or the key that a ``p`` tag marks as the operator's."""
    marked = (tag[1] for tag in named(event.tags, "p") if tag[3:4] == ["operator"])
    return event.value("operator") or next(marked, "")
