"""What went wrong at a provider, told in a lane's words.

Owns turning an exception out of litellm into a LaneFault or RequestRefused. It reads the whole chain
of causes, because litellm's own class and status are not to be trusted: a refused connection, a
cut-off body and a page of HTML all arrive as its InternalServerError with status 500.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import httpx

from oa_compile.lanes.lane import LaneFault, RequestRefused

_LONGEST_MESSAGE = 500

_BILLING_WORDS = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "credit balance is too low",
    "insufficient balance",
    "insufficient credits",
)
"""Some providers say 400 or 429 when the money is out."""

_AUTH_WORDS = ("api_key_invalid", "invalid_api_key", "api key not valid")
_POLICY_WORDS = ("content_policy", "content_filter", "moderation", "flagged")


def classify(error: BaseException, *, mask: Callable[[str], str]) -> LaneFault | RequestRefused:
    """The lane's word for `error`. `mask` takes the key out of every text that is kept."""
    links = list(_chain(error))
    message = mask(" ".join(str(error).split()))[:_LONGEST_MESSAGE]
    for link in links:
        if isinstance(link, httpx.HTTPStatusError):
            response = link.response
            return _by_status(response.status_code, message, _body(response), response.headers)
    for link in links:
        fault = _by_transport(link, mask(f"{message} ({type(link).__name__}: {link})"))
        if fault is not None:
            return fault
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status != httpx.codes.INTERNAL_SERVER_ERROR:
        # Nothing was sent, or it was sent past httpx: litellm's status is all there is.
        return _by_status(status, message, "", {})
    return LaneFault("malformed", f"the answer could not be read: {message}", billed=True)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds the provider asks to wait: ``retry-after-ms``, or ``Retry-After`` as seconds or HTTP date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        until = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - now).total_seconds(), 0.0)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _body(response: httpx.Response) -> str:
    try:
        return response.text
    except httpx.StreamError:
        return ""


def _by_transport(error: BaseException, message: str) -> LaneFault | None:
    """A fault of the connection; `billed` from the moment a request may have arrived."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return LaneFault("timeout", message)
        case httpx.TimeoutException() | TimeoutError():
            return LaneFault("timeout", message, billed=True)
        case httpx.ConnectError() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return LaneFault("transport", message)
        case httpx.TransportError():
            return LaneFault("transport", message, billed=True)
    return None


def _by_status(
    status: int, message: str, body: str, headers: Mapping[str, str]
) -> LaneFault | RequestRefused:
    text = f"HTTP {status}: {message}"
    said = f"{message} {body}".lower()

    def says(words: tuple[str, ...]) -> bool:
        return any(word in said for word in words)

    if status == httpx.codes.PAYMENT_REQUIRED or (400 <= status < 500 and says(_BILLING_WORDS)):
        return LaneFault("billing", text, hint="top up the provider's account; the run goes on with --resume")
    if status == httpx.codes.FORBIDDEN and says(_POLICY_WORDS):
        return RequestRefused(text)
    if status in (401, 403) or (status == 400 and says(_AUTH_WORDS)):
        return LaneFault("auth", text, hint="check the key in the variable that `api_key_env` names")
    if status in (408, 504):
        return LaneFault("timeout", text, billed=True)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return LaneFault("rate_limited", text, retry_after=retry_after(headers, now=datetime.now(UTC)))
    if status in (409, 425) or status >= 500:
        return LaneFault("server", text, retry_after=retry_after(headers, now=datetime.now(UTC)))
    if status in (400, 413, 422):
        return RequestRefused(text)
    return LaneFault("unavailable", text, hint="check the lane's `model` and `api_base`")
