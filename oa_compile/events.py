"""Every event a journal can hold, typed.

One struct an event, tagged by ``type`` in JSON. Events are facts: written once, never changed.
Everything else (cache, ledger, resume, report) is computed from them, nowhere else stored.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from oa_compile.chat import ChatAnswer, ChatRequest

FORMAT_VERSION = 1

Stage = Literal["compile", "validate", "verify"]
PromotionState = Literal["candidate", "staged", "shadow", "promoted", "rolled_back"]
Role = Literal["task", "proposer", "judge"]
RunStatus = Literal["complete", "partial", "failed", "interrupted"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type"):
    """Base of all events."""


class RunStarted(Event, frozen=True, omit_defaults=True, kw_only=True, tag="run_started"):
    """First event of a journal: everything that decides what the run will do.

    `inputs` maps a name (``program``, ``config``, ``train``, ``val``, …) to a digest; `lanes` maps a
    lane's name to the identity that goes into call keys; `settings` is the effective config.
    """

    command: Literal["optimize", "validate", "ask"]
    run: str
    program: str
    optimizer: str = ""
    seed: int = 0
    inputs: dict[str, str]
    lanes: dict[str, str]
    settings: dict[str, Any]
    versions: dict[str, str]


class SegmentStarted(Event, frozen=True, omit_defaults=True, kw_only=True, tag="segment_started"):
    """A process took up the run: the first, or one that resumes it."""

    pid: int
    resumed: int = 0
    torn_bytes: int = 0
    settings: dict[str, Any] = {}
    """The effective config where a resume changed it (budgets, threads); empty otherwise."""


class Reserved(Event, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="reserved"):
    """The worst case of one attempt was set aside, before anything was sent."""

    hold: int
    key: str
    lane: str
    stage: Stage
    role: Role
    msat: int
    tokens: int
    calls: int = 1


class PaymentIntended(Event, frozen=True, omit_defaults=True, kw_only=True, tag="payment_intended"):
    """A wallet is about to be asked to pay for the attempt of that hold: on the disk before it is asked.

    A journal that holds one and no end of its attempt does not know whether the money went: the wallet is
    asked about `payment_hash` before anything else. `settles` are the jobs a tab's payment is for.
    """

    hold: int
    payment_hash: str
    bolt11: str
    msat: int
    max_fee_msat: int
    wallet: str
    provider: str
    job: str
    settles: list[str] = []


class Attempt(Event, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="attempt"):
    """What became of one attempt: it settles the hold of the same number.

    ``ok``      answered; `request` and `answer` are whole.
    ``refused`` the lane will never serve this request (too long, bad parameters): a fact about the
                request, replayed like an answer.
    ``fault``   the infrastructure failed; says nothing about the candidate.
    ``lost``    the process died before it knew; charged at the reserved worst case, or at what the
                wallet says was paid.
    ``unused``  answered and paid for, and another answer was taken: a hedge that came second, a copy
                asked for to compare.

    `calls` is 0 for what is no call and costs all the same: the payment of a tab.
    """

    hold: int
    key: str
    lane: str
    stage: Stage
    role: Role
    outcome: Literal["ok", "refused", "fault", "lost", "unused"]
    msat: int = 0
    tokens: int = 0
    calls: int = 1
    latency_ms: int = 0
    request: ChatRequest | None = None
    answer: ChatAnswer | None = None
    fault: str = ""
    message: str = ""
    receipt: dict[str, Any] = {}


class GaveUp(Event, frozen=True, omit_defaults=True, kw_only=True, tag="gave_up"):
    """All attempts of a call failed; the call's example is a fault, never a wrong answer."""

    key: str
    request: ChatRequest
    fault: str
    message: str


class Borrowed(Event, frozen=True, omit_defaults=True, kw_only=True, tag="borrowed"):
    """A call answered by another run's journal, taken over whole: this run's journal must do without
    the other. `msat` is what it cost there; here it cost nothing.
    """

    key: str
    lane: str
    stage: Stage
    role: Role
    request: ChatRequest
    answer: ChatAnswer | None = None
    message: str = ""
    msat: int = 0


class SandboxRan(Event, frozen=True, omit_defaults=True, kw_only=True, tag="sandbox_ran"):
    """A metric ran code. `key` is the digest of the job; `record` has the shape of oa.sandbox_run.v1."""

    key: str
    score: float
    feedback: str = ""
    record: dict[str, Any] = {}


class Noted(Event, frozen=True, omit_defaults=True, kw_only=True, tag="noted"):
    """Something the user should know: a fitted setting, a skipped step, a budget warning."""

    code: str
    message: str
    data: dict[str, Any] = {}


class ForecastMade(Event, frozen=True, omit_defaults=True, kw_only=True, tag="forecast"):
    """What the run was expected to take, written before its first call. `lines` are per stage and lane."""

    lines: list[dict[str, Any]]


class PhaseStarted(Event, frozen=True, omit_defaults=True, kw_only=True, tag="phase_started"):
    """The optimizer entered a phase (bootstrap, propose, search, …)."""

    phase: str


class Candidate(Event, frozen=True, omit_defaults=True, kw_only=True, tag="candidate"):
    """A program state that was tried. `state` maps a predictor to its instruction and demos."""

    candidate: str
    parent: str = ""
    origin: str = ""
    state: dict[str, Any]


class ExampleScore(msgspec.Struct, frozen=True, omit_defaults=True):
    """One example's score in 0 … 1; `fault` names the infrastructure fault when there is no score."""

    example: str
    score: float | None
    fault: str = ""
    parts: dict[str, float] = {}
    """What each metric gave, by its name, where a validation scored it; those not asked are left out."""


class Ballot(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer among several to the same example. `by` is a provider's public key, or names the sample;
    `answer` is its digest. One with a `fault` is no vote.
    """

    by: str
    answer: str = ""
    preview: str = ""
    agrees: bool = False
    fault: str = ""
    msat: int = 0


class Polled(Event, frozen=True, omit_defaults=True, kw_only=True, tag="polled"):
    """How several answers to one example became one. `ordinal` is the evaluation's.

    `way` is ``agreed``, ``verified`` (the verify stage decided, in `verify_msat`) or ``unresolved`` (it could
    not). `calls` and `msat` are those of one run of the program, all votes took `votes_msat`, and the verify
    lane alone would have taken `alone_msat` (-1: nobody can tell).
    """

    ordinal: int
    example: str
    way: Literal["agreed", "verified", "unresolved"]
    ballots: list[Ballot] = []
    note: str = ""
    calls: int = 0
    msat: int = 0
    votes_msat: int = 0
    verify_msat: int = 0
    alone_msat: int = 0


class Evaluated(Event, frozen=True, omit_defaults=True, kw_only=True, tag="evaluated"):
    """A candidate was scored on `scope` of a split. `score` is the mean over answered examples."""

    ordinal: int
    candidate: str
    split: Literal["train", "val", "test"]
    scope: Literal["full", "minibatch"]
    score: float | None
    rows: list[ExampleScore]
    valid: bool = True
    calls: int = 0
    saved: int = 0
    msat: int = 0


class Decided(Event, frozen=True, omit_defaults=True, kw_only=True, tag="decided"):
    """Why a candidate was kept or dropped."""

    ordinal: int
    candidate: str
    kept: bool
    reason: str


class Moved(Event, frozen=True, omit_defaults=True, kw_only=True, tag="moved"):
    """In a store's journal: an artifact went from one state to another, and on what evidence. `current` is
    the digest of the artifact that was in use before.
    """

    program: str
    artifact: str
    before: PromotionState
    after: PromotionState
    current: str = ""
    gates: list[dict[str, Any]] = []
    evidence: dict[str, Any] = {}
    reason: str = ""


class RunFinished(Event, frozen=True, omit_defaults=True, kw_only=True, tag="run_finished"):
    """Last event of a segment that ended on its own terms. `results` is command-specific."""

    status: RunStatus
    reason: str = ""
    artifact: str = ""
    results: dict[str, Any] = {}


AnyEvent = (
    RunStarted
    | SegmentStarted
    | Reserved
    | PaymentIntended
    | Attempt
    | GaveUp
    | Borrowed
    | SandboxRan
    | Noted
    | ForecastMade
    | PhaseStarted
    | Candidate
    | Polled
    | Evaluated
    | Decided
    | Moved
    | RunFinished
)


class Line(msgspec.Struct, frozen=True):
    """One journal line: format version, sequence number, Unix time in ms, the event."""

    v: int
    seq: int
    at: int
    event: AnyEvent
