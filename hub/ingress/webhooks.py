"""One webhook request: read, prove, store, answer. The answer is given only after the inbox has committed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import structlog
from aiohttp import web
from aiohttp.helpers import EMPTY_BODY_STATUS_CODES
from multidict import CIMultiDictProxy

from hub.errors import RetryableError, UnreadableError
from hub.event import Verdict
from hub.headers import clean_headers
from hub.inbox.received import Accepted, OverloadedError, Received
from hub.ingress.authentication import Request
from hub.ingress.bodies import BodyRefusedError, read_body
from hub.ingress.cloudevents import JSON, traceparent
from hub.ingress.deps import Door
from hub.ingress.endpoints import Endpoint
from hub.ingress.problems import problem
from hub.ingress.remote import client_address
from hub.ingress.unproven import TooManyUnprovenError
from hub.jsonbody import write_json
from hub.routing.sources import Reply

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")

ACK_S_MAX = 25.0
"""How long the inbox may take. Senders wait for about 30 s; a later answer would reach nobody."""
RETRY_AFTER_S = 5
CONTENT_TYPE_CHARS_MAX = 255
ADDRESS_HEADER = "sender-address"
"""Where an event keeps whom it came from, for sources that ask for it; what a sender calls so itself is overwritten."""
UNDECIDED = "undecided without verify: deferred"
PROVEN = frozenset({Verdict.VALID, Verdict.TRUSTED})


async def answer_webhook(request: web.Request, endpoint: Endpoint, door: Door) -> web.StreamResponse:
    """Answer a request to ``endpoint``'s path; the source's ``reply`` decides what is said."""
    started = door.deps.clock.monotonic()
    result, response = await _answer(request, endpoint, door)
    seconds = door.deps.clock.monotonic() - started
    door.metrics.of_source(endpoint.source).count(result, response.status, seconds)
    return response


async def _answer(request: web.Request, endpoint: Endpoint, door: Door) -> tuple[str, web.Response]:
    if request.method != "POST":
        return "method", problem(405, headers={"Allow": "POST"})
    try:
        with door.room.share() as share:
            seconds = door.deps.settings.body_s_max
            body = await read_body(request, share, bytes_max=endpoint.body_bytes_max, seconds=seconds)
            signed = signed_request(
                request.method, request.raw_path, request.headers, body, peer=request.remote, door=door
            )
            received = prove(signed, request.headers, endpoint, door)
            if received is None:
                return "unauthorized", render(endpoint.reply.unauthorized)
            async with asyncio.timeout(ACK_S_MAX):
                accepted = await door.deps.acceptor.accept(received)
            return accepted.kind, acknowledge(accepted, endpoint, await _more(accepted, endpoint, door))
    except (ConnectionError, web.HTTPException):
        raise
    except Exception as error:
        return refusal(error, endpoint)


def refusal(error: Exception, endpoint: Endpoint) -> tuple[str, web.Response]:
    """What is said when a message is not stored for this reason, and its name in the metrics."""
    reply = endpoint.reply
    match error:
        case BodyRefusedError(result=result):
            return result, _refuse_body(error, endpoint)
        case UnreadableError():
            return "headers", problem(400, str(error))
        case TooManyUnprovenError():
            return "unproven_limit", render(reply.unavailable, retry_after_s=error.delay_s)
        case OverloadedError():
            return "overloaded", render(reply.unavailable, retry_after_s=error.delay_s)
        case RetryableError() | TimeoutError():
            log.error("webhook_not_stored", source=endpoint.source, error=type(error).__name__, reason=str(error))
            return "unavailable", render(reply.unavailable, retry_after_s=getattr(error, "delay_s", None))
    # Nothing is known to be stored: whatever went wrong, the sender must come again.
    log.error("webhook_failed", source=endpoint.source, exc_info=error)
    return "error", render(reply.unavailable)


def signed_request(
    method: str, path: str, headers: CIMultiDictProxy[str], body: bytes, *, peer: str | None, door: Door
) -> Request:
    """The request as a scheme judges it."""
    # A header that is given twice is joined: no scheme then takes one of the two for the whole.
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value
    return Request(method=method, path=path, headers=joined, body=body, remote=address(peer, headers, door))


def prove(signed: Request, headers: CIMultiDictProxy[str], endpoint: Endpoint, door: Door) -> Received | None:
    """The message for the inbox; None when its sender is not proven.

    ``headers`` are those of the request as they came. Raises UnreadableError, TooManyUnprovenError.
    """
    decision = endpoint.decide(signed, door.deps.clock.now())
    if decision.verdict is None:
        log.warning("webhook_refused", source=endpoint.source, remote=signed.remote, reason=decision.reason)
        return None
    if decision.verdict is Verdict.UNDECIDED and endpoint.allowance is None:
        log.error("webhook_refused", source=endpoint.source, remote=signed.remote, reason=UNDECIDED)
        return None
    kept = clean_headers(headers.items(), drop=endpoint.headers_dropped, keep=endpoint.headers_kept)
    if endpoint.keep_address:
        kept[ADDRESS_HEADER] = signed.remote
    if endpoint.allowance is not None and decision.verdict not in PROVEN:
        endpoint.allowance.take(len(signed.body), door.deps.clock.monotonic())
    return Received(
        source=endpoint.source,
        body=signed.body,
        content_type=signed.headers.get("content-type", JSON)[:CONTENT_TYPE_CHARS_MAX],
        headers=kept,
        verdict=decision.verdict,
        traceparent=traceparent(signed.headers.get("traceparent", "")),
    )


async def _more(accepted: Accepted, endpoint: Endpoint, door: Door) -> Mapping[str, object]:
    """What the capability adds to the answer. The event is stored: nothing here may make its sender come again."""
    add = door.deps.replies.get(endpoint.source)
    if add is None or accepted.kind == "unreadable":
        return {}
    try:
        return await add(accepted)
    except Exception:
        log.exception("reply_not_completed", source=endpoint.source)
        return {}


def acknowledge(accepted: Accepted, endpoint: Endpoint, more: Mapping[str, object]) -> web.Response:
    """What is said of a message that is stored, and ``more`` beside it."""
    if accepted.kind != "unreadable":
        reply = endpoint.reply.ok
        return render(Reply(status=reply.status, body={**(reply.body or {}), **more}) if more else reply)
    log.warning("webhook_unreadable", source=endpoint.source, event_id=str(accepted.event_id))
    reply = endpoint.reply.unreadable
    if reply.body is None and reply.status >= 400:
        return problem(reply.status, accepted.problem)
    return render(reply)


def _refuse_body(error: BodyRefusedError, endpoint: Endpoint) -> web.Response:
    response = render(endpoint.reply.too_large) if error.status == 413 else problem(error.status, str(error))
    # What is left of the body is not worth reading.
    response.force_close()
    return response


def render(reply: Reply, *, retry_after_s: float | None = None) -> web.Response:
    """The response for a reply of routing.yaml. An error without a body of its own is sent as a problem."""
    headers = {"Retry-After": str(whole_seconds(retry_after_s))} if reply.status == 503 or retry_after_s else {}
    if reply.body is None and reply.status >= 400:
        return problem(reply.status, headers=headers)
    if reply.body is None or reply.status in EMPTY_BODY_STATUS_CODES:
        return web.Response(status=reply.status, headers=headers)
    if isinstance(reply.body, str):
        return web.Response(status=reply.status, text=reply.body, headers=headers)
    body = write_json(reply.body).encode()
    return web.Response(status=reply.status, body=body, content_type=JSON, headers=headers)


def whole_seconds(delay_s: float | None) -> int:
    """What Retry-After says: at least one second."""
    return max(1, math.ceil(delay_s if delay_s is not None else RETRY_AFTER_S))


def sender(request: web.Request, door: Door) -> str:
    """The address of whoever sent the request."""
    return address(request.remote, request.headers, door)


def address(peer: str | None, headers: CIMultiDictProxy[str], door: Door) -> str:
    """The address of whoever sent what came from ``peer`` under these headers."""
    return client_address(peer or "", headers.getall("X-Forwarded-For", []), door.deps.settings.trusted_proxies)
