"""``POST /events``: CloudEvents from our own programs and those of partners, proven by an API key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from aiohttp import web

from hub.errors import RetryableError, UnreadableError
from hub.inbox.received import Accepted, Received
from hub.ingress.bodies import read_body
from hub.ingress.cloudevents import UnsupportedFormatError, read_cloudevents
from hub.ingress.deps import DOOR, Door
from hub.ingress.problems import problem
from hub.ingress.tokens import Role
from hub.ingress.webhooks import ACK_S_MAX, whole_seconds

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")


async def post_events(request: web.Request) -> web.StreamResponse:
    """Answer 202 with ``[{id, event_id, kind}]`` in the order of the request; ``problem`` says what is unreadable.

    Either every event of a batch is well-formed or none is taken. They are stored one after the other; when the hub
    must stop in between, the answer is 503 with those ``accepted``, and the same batch may be sent again.
    """
    door = request.app[DOOR]
    door.deps.doorman.require(request, Role.CLIENT)
    settings = door.deps.settings
    with door.room.share() as share:
        body = await read_body(request, share, bytes_max=settings.body_bytes_max, seconds=settings.body_s_max)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            messages = read_cloudevents(headers=headers, body=body, sources=door.deps.table.posted)
            _refuse_large(messages, door)
        except UnsupportedFormatError as error:
            return problem(415, str(error))
        except UnreadableError as error:
            return problem(400, str(error), field=error.field)
        return await _accept(messages, door)


async def _accept(messages: Sequence[Received], door: Door) -> web.Response:
    # One after the other: were they given to the inbox together, a failure of one could let a later one in first.
    answers: list[dict[str, str]] = []
    for message in messages:
        started = door.deps.clock.monotonic()
        try:
            async with asyncio.timeout(ACK_S_MAX):
                accepted = await door.deps.acceptor.accept(message)
        except (RetryableError, TimeoutError) as error:
            door.metrics.posted.labels(message.source, "unavailable").inc()
            log.error("posted_event_not_stored", source=message.source, error=type(error).__name__, reason=str(error))
            delay_s = whole_seconds(getattr(error, "delay_s", None))
            return problem(503, "come again later", headers={"Retry-After": str(delay_s)}, accepted=answers)
        door.metrics.posted.labels(message.source, accepted.kind).inc()
        door.metrics.ack.labels(message.source).observe(door.deps.clock.monotonic() - started)
        answers.append(_answer(message, accepted))
    return web.json_response(answers, status=202)


def _answer(message: Received, accepted: Accepted) -> dict[str, str]:
    answer = {"id": message.message_id, "event_id": str(accepted.event_id), "kind": accepted.kind}
    return {**answer, "problem": accepted.problem} if accepted.problem else answer


def _refuse_large(messages: Sequence[Received], door: Door) -> None:
    posted = door.deps.table.posted
    for message in messages:
        if len(message.body) > posted[message.source]:
            limit = posted[message.source]
            raise UnreadableError(f"expected at most {limit} bytes for {message.source}", field="data")
