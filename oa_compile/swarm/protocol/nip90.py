"""Chat calls as NIP-90 jobs: which tags say what, written and read.

Owns the tags of kinds 5050 (job request), 6050 (job result) and 7000 (job feedback). Pure: no I/O, no
clock, no randomness; keys come in as a `Cipher`. Who may ask, who is believed, what is paid and how long
anybody waits are other modules' matters; announcements are `nip89`'s. What is read was written by a
stranger: it ends in a value or in ProtocolError.

What we write. `[…]` marks what is left out when there is nothing to say; amounts are msat, in digits.

    5050  i        all contents joined by an empty line, "text"      (a settlement has none)
          param    roles            role:length,role:length,…        of each content, in code points; the
                                                                      role percent-encoded, no message: ""
          param    model                                             […]
          param    max_tokens, temperature, top_p, top_k, seed       […] numbers
          param    stop             one tag a stop sequence          […]
          param    response_format  JSON, as in `ChatRequest`        […]
          param    nonce            any text                         […] makes the id of an equal job another
          param    tab              1                                […] "put it on my tab"
          param    settles          id,id,…                          […] no LM call: one invoice, please, for
                                                                      these jobs on my tab; `bid` is their sum
          param    request_echo     0                                the result shall not repeat the request
          output   text/plain
          bid, p, relays                                             […] p: the only provider that is asked
    6050  content  the answer
          e, p     the job, the customer
          status   success
          amount   msat [, bolt11]                                   […] without: free
          usage    input, output, cached tokens                      […]
          model, finish_reason, tab (1)                              […]
          request, i                                                 […] only where request_echo is not 0 and
                                                                      the event stays under a relay's 64 KB
    7000  status   payment-required|processing|error|success|partial [, words for people]
          e, p, amount [, bolt11]                                    as above; never encrypted

An encrypted job carries ``["encrypted"]`` and a ``p``; its ``i`` and ``param`` tags (all but request_echo)
are the content, as a JSON list under the cipher. Its result carries ``["encrypted"]`` too and its content
alone is under the cipher; an empty answer is an empty content, because NIP-44 has no empty message.

What we read besides: ``top-k`` for ``top_k`` and the like; several ``i`` tags (their texts, joined, are one
user message where there is no ``roles``); ``i`` of type ``prompt`` or none; output ``application/json`` for
a JSON object; feedback on an encrypted job that is encrypted too, as nostr-dvm's is: its status, its amount
and its words (``content``) are tags under the cipher. Of several tags or parameters of one name the first
counts, except ``i`` and ``stop``. Usage or a finish reason that makes no sense reads as none: neither is
worth an answer that was paid for.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import cast, get_args

import msgspec

from oa_compile.chat import ChatAnswer, ChatRequest, FinishReason, Usage
from oa_compile.swarm.protocol.chat_tags import read_chat, read_params, write_chat
from oa_compile.swarm.protocol.event import Draft, Event, Tags, encode_event
from oa_compile.swarm.protocol.job import Cipher, Feedback, Job, Result, Status
from oa_compile.swarm.protocol.tags import (
    ProtocolError,
    check_text,
    expect_kind,
    is_hex64,
    named,
    read_count,
    read_hex64,
    read_ids,
    read_json,
    read_msat,
    write_json,
)

__all__ = [
    "FEEDBACK_KIND",
    "JOB_KIND",
    "RESULT_KIND",
    "Cipher",
    "Feedback",
    "Job",
    "ProtocolError",
    "Result",
    "Status",
    "addressed_to",
    "draft_feedback",
    "draft_job",
    "draft_result",
    "is_encrypted",
    "job_of",
    "read_feedback",
    "read_job",
    "read_result",
]

JOB_KIND, RESULT_KIND, FEEDBACK_KIND = 5050, 6050, 7000

_MOST_BYTES = 65_000
"""Relays take events of 65,536 bytes; the rest is for id, key and signature."""
_RELAY = re.compile(r"wss?://\S+")


def job_of(event: Event) -> str | None:
    """The job a result or feedback is for: the id in its first well-formed ``e`` tag."""
    return next((tag[1] for tag in named(event.tags, "e") if is_hex64(tag[1])), None)


def addressed_to(event: Event, pubkey: str) -> bool:
    """Whether some ``p`` tag names `pubkey`."""
    return any(tag[1] == pubkey for tag in named(event.tags, "p"))


def is_encrypted(event: Event) -> bool:
    """Whether it says that its content is encrypted."""
    return event.first("encrypted") is not None


def draft_job(job: Job, *, cipher: Cipher | None = None) -> Draft:
    """`job` as an event to sign, with a cipher encrypted to `job.provider`. Raises ProtocolError for what
    could not be read again exactly as it is.
    """
    inside = _job_tags(job)
    outside = [["param", "request_echo", "0"], ["output", "text/plain"]]
    if job.bid_msat:
        outside.append(["bid", str(read_msat(str(job.bid_msat)))])
    if job.provider:
        outside.append(["p", read_hex64(job.provider)])
    if job.relays:
        if not all(map(_RELAY.fullmatch, job.relays)):
            raise ProtocolError("a relay's address begins with ws:// or wss://")
        outside.append(["relays", *job.relays])
    check_text(chain(*inside, *outside))
    if cipher is None:
        return Draft(JOB_KIND, inside + outside, "")
    if not job.provider:
        raise ProtocolError("an encrypted job needs a provider: nobody else could read it")
    return Draft(JOB_KIND, [["encrypted"], *outside], cipher.encrypt(job.provider, write_json(inside)))


def read_job(event: Event, *, cipher: Cipher | None = None) -> Job:
    """What a 5050 asks. Raises ProtocolError, also for an encrypted one without the cipher to read it."""
    expect_kind(event, JOB_KIND)
    tags = event.tags
    if is_encrypted(event):
        tags = read_json(_key(cipher).decrypt(event.pubkey, event.content), Tags)
    params = read_params(tags)
    first = {name: values[0] for name, values in params.items()}
    settles = read_ids(first["settles"]) if "settles" in first else ()
    chat = ChatRequest(messages=()) if settles else read_chat(tags, params)
    wants_json = event.value("output") == "application/json" and chat.response_format is None
    if wants_json and not settles:
        chat = msgspec.structs.replace(chat, response_format={"type": "json_object"})
    bid = event.first("bid")
    relays = event.first("relays") or []
    providers = [read_hex64(tag[1]) for tag in named(event.tags, "p")]
    return Job(
        chat=chat,
        model=first.get("model", ""),
        bid_msat=read_msat("".join(bid[1:2])) if bid else 0,
        provider=providers[0] if providers else "",
        nonce=first.get("nonce", ""),
        relays=tuple(url for url in relays[1:] if _RELAY.fullmatch(url)),
        tab=first.get("tab") == "1",
        settles=settles,
    )


def draft_result(request: Event, result: Result, *, cipher: Cipher | None = None) -> Draft:
    """`result` as an event to sign, encrypted if and only if the request is. Raises ProtocolError, also
    where that needs a cipher and there is none.
    """
    if result.job != request.id:
        raise ProtocolError("a result belongs to the job it names")
    answer, usage, sealed = result.answer, result.answer.usage, is_encrypted(request)
    tags = [["e", request.id], ["p", request.pubkey], ["status", "success"]]
    tags += _amount_tags(result.amount_msat, result.bolt11)
    if usage != Usage():
        counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
        tags.append(["usage", *(str(read_count(str(count))) for count in counts)])
    if answer.model:
        tags.append(["model", answer.model])
    tags.append(["finish_reason", answer.finish_reason])
    if result.tab:
        tags.append(["tab", "1"])
    check_text([answer.text, *chain(*tags)])
    content = answer.text
    if sealed:
        tags.append(["encrypted"])
        content = _key(cipher).encrypt(request.pubkey, answer.text) if answer.text else ""
    if ["param", "request_echo", "0"] not in request.tags:
        echoing = [*tags, ["request", encode_event(request).decode()], *named(request.tags, "i")]
        if len(write_json([echoing, content]).encode()) <= _MOST_BYTES:
            tags = echoing
    return Draft(RESULT_KIND, tags, content)


def read_result(event: Event, *, cipher: Cipher | None = None) -> Result:
    """What a 6050 answers. Raises ProtocolError, also for one that calls itself an error, and for an
    encrypted one without the cipher to read it.
    """
    expect_kind(event, RESULT_KIND)
    if event.value("status") == "error":
        raise ProtocolError("the provider answered with an error instead of a result")
    text = event.content
    if is_encrypted(event) and text:
        text = _key(cipher).decrypt(event.pubkey, text)
    amount_msat, bolt11 = _amount(event)
    reason = event.value("finish_reason")
    answer = ChatAnswer(
        text=text,
        usage=_usage(event.first("usage") or []),
        finish_reason=cast(FinishReason, reason) if reason in get_args(FinishReason) else "stop",
        model=event.value("model") or "",
    )
    return Result(_job(event), answer, amount_msat, bolt11, tab=event.value("tab") == "1")


def draft_feedback(request: Event, feedback: Feedback) -> Draft:
    """`feedback` as an event to sign; never encrypted. Raises ProtocolError."""
    if feedback.job != request.id:
        raise ProtocolError("feedback belongs to the job it names")
    status = [_status(feedback.status), *([feedback.message] if feedback.message else [])]
    tags = [["status", *status], ["e", request.id], ["p", request.pubkey]]
    tags += _amount_tags(feedback.amount_msat, feedback.bolt11)
    check_text(chain(*tags))
    return Draft(FEEDBACK_KIND, tags, "")


def read_feedback(event: Event, *, cipher: Cipher | None = None) -> Feedback:
    """What a 7000 says; its words are the status tag's, else the content. Raises ProtocolError, also for
    a status that NIP-90 does not know, and for an encrypted one without the cipher to read it.
    """
    expect_kind(event, FEEDBACK_KIND)
    job = _job(event)
    if is_encrypted(event) and event.first("status") is None:
        inside = read_json(_key(cipher).decrypt(event.pubkey, event.content), Tags)
        said = next((tag[1] for tag in named(inside, "content")), "")
        event = msgspec.structs.replace(event, tags=inside, content=said)
    tag = event.first("status") or []
    words = tag[2] if len(tag) > 2 else "" if is_encrypted(event) else event.content
    status = _status(tag[1] if len(tag) > 1 else "")
    return Feedback(job, status, words, *_amount(event))


def _job_tags(job: Job) -> Tags:
    """What an encrypted job keeps to itself."""
    tags: Tags = []
    if not job.settles:
        tags += write_chat(job.chat)
    elif job.chat != ChatRequest(messages=()):
        raise ProtocolError("a settlement asks for an invoice and nothing else: its chat is empty")
    params = {
        "model": job.model,
        "nonce": job.nonce,
        "tab": "1" if job.tab else "",
        "settles": ",".join(job.settles),
    }
    if job.settles:
        read_ids(params["settles"])
    return tags + [["param", name, value] for name, value in params.items() if value]


def _job(event: Event) -> str:
    job = job_of(event)
    if job is None:
        raise ProtocolError("it does not say which job it is for: no `e` tag with an id")
    return job


def _status(text: str) -> Status:
    if text not in get_args(Status):
        raise ProtocolError(f"no status of a job: {text[:40]!r}")
    return cast(Status, text)


def _amount_tags(amount_msat: int | None, bolt11: str) -> Tags:
    if amount_msat is None:
        if bolt11:
            raise ProtocolError("an invoice needs the amount it is for")
        return []
    return [["amount", str(read_msat(str(amount_msat))), *([bolt11] if bolt11 else [])]]


def _amount(event: Event) -> tuple[int | None, str]:
    """What is asked for, and the invoice that goes with it."""
    tag = event.first("amount")
    if tag is None:
        return None, ""
    return read_msat("".join(tag[1:2])), "".join(tag[2:3])


def _usage(tag: list[str]) -> Usage:
    try:
        return Usage(*map(read_count, tag[1:4]))
    except ProtocolError:
        return Usage()


def _key(cipher: Cipher | None) -> Cipher:
    if cipher is None:
        raise ProtocolError("it is encrypted, and there is no key to read or answer it with")
    return cipher
