"""A job as values: what is asked, answered and said of it. Which tags say so is `nip90`'s matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from oa_compile.chat import ChatAnswer, ChatRequest

Status = Literal["payment-required", "processing", "error", "success", "partial"]


class Cipher(Protocol):
    """What one key pair reads and writes. Peers are public keys, 64 hex digits."""

    def encrypt(self, peer: str, text: str) -> str:
        """`text` so that only `peer` and we can read it. Raises ProtocolError."""

    def decrypt(self, peer: str, text: str) -> str:
        """What `peer` encrypted to us. Raises ProtocolError."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a customer asks. `provider` is a public key, ``""`` asks anybody.

    With `settles` (job ids) it is no LM call but the wish for one invoice over these jobs on the
    customer's tab: `chat` is empty, and `bid_msat` is their sum.
    """

    chat: ChatRequest
    model: str = ""
    bid_msat: int = 0
    provider: str = ""
    nonce: str = ""
    relays: tuple[str, ...] = ()
    tab: bool = False
    settles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a provider answers to the job of that id. `amount_msat` None asks for nothing."""

    job: str
    answer: ChatAnswer
    amount_msat: int | None = None
    bolt11: str = ""
    tab: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    """How a job stands; with ``payment-required``, what for."""

    job: str
    status: Status
    message: str = ""
    amount_msat: int | None = None
    bolt11: str = ""
