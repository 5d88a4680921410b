"""The ledger's log: the records it is made of, and the file that keeps them.

Owns writing, locking and reading back. What a record does to balances is `ledger_node`'s matter.

A record is in the operating system's hands when `append` returns: a killed process loses nothing that was
said, and a half-written last line never happened. It is not made to outlast the machine's power: that would
cost a wait for the disk on every payment.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from oa_compile.errors import DigestMismatch, StorageError, UsageError

FORMAT_VERSION = 1

Status = Literal["complete", "pending", "failed"]
"""Of a payment, in lightningd's words."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="did"):
    """One line of the log."""


class Began(Record, frozen=True, tag="began"):
    """The first line."""

    version: int
    network: str


class Opened(Record, frozen=True, tag="opened"):
    """A node came to be, with money from nowhere."""

    node: str
    secret: str
    balance_msat: int


class Issued(Record, frozen=True, tag="issued"):
    """A node made an invoice. `amount_msat` is None where the payer chooses."""

    node: str
    label: str
    bolt11: str
    preimage: str
    payment_hash: str
    payment_secret: str
    amount_msat: int | None
    description: str
    created_at: int
    expires_at: int


class Sent(Record, frozen=True, omit_defaults=True, tag="sent"):
    """A node was asked to pay. ``pending`` holds the money until `Ended`; ``failed`` never moved it."""

    node: str
    payment_hash: str
    bolt11: str
    amount_msat: int
    fee_msat: int
    at: int
    status: Status
    reason: str = ""


class Ended(Record, frozen=True, tag="ended"):
    """What became of a pending payment."""

    node: str
    payment_hash: str
    complete: bool
    at: int


AnyRecord = Began | Opened | Issued | Sent | Ended
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


class LedgerLog:
    """One file of records, for this process alone."""

    def __init__(self, path: Path) -> None:
        """Open or create it, cutting off a torn last line. Raises UsageError when it cannot be opened or
        another process has it.
        """
        self.path = path
        self._fd = _open_locked(path)
        whole = path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self._fd, whole)
        self.size = whole
        """Bytes of whole records."""

    def replay(self, apply: Callable[[AnyRecord], None]) -> None:
        """Hand every record to `apply`, in order. Raises DigestMismatch for what is none, and for one that
        `apply` has a LookupError or a ValueError for.
        """
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    apply(_decoder.decode(line))
                except (LookupError, ValueError) as error:
                    raise DigestMismatch(
                        f"{self.path}:{number}: not a line of this ledger's log: {error}",
                        hint="the log was changed or damaged; move it away to begin a new ledger",
                    ) from error

    def append(self, record: AnyRecord) -> None:
        """Write one record. Raises StorageError, with nothing half-written."""
        line = _encoder.encode(record) + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot write the ledger: {error.strerror}") from error
        if written != len(line):
            os.ftruncate(self._fd, self.size)
            raise StorageError(f"{self.path}: cannot write the ledger: the disk is full")
        self.size += written

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open_locked(path: Path) -> int:
    """The log, created if need be, for this process alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: cannot open the ledger: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise UsageError(
            f"{path}: another process keeps this ledger", hint="use its sockets, or stop it first"
        ) from error
    return fd
