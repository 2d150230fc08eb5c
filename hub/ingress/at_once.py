"""The short way of a webhook: what came whole is proven, read and handed to the inbox on the spot.

There is no task, no route to look up and no chain of middlewares: on the usual way (``middleware.py``) these take most
of a webhook's time. The steps, their bounds and what is said are the same. What is out of the way goes the usual way:
another method, a path that is written another way, a body that is still to come, compressed, in chunks or too large,
no room, a capability that adds to the answer, traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.helpers import EMPTY_BODY_STATUS_CODES, rfc822_formatted_time
from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from hub import tracing
from hub.headers import HEADERS_BYTES_MAX
from hub.inbox.received import Accepted, SoonAcceptor
from hub.ingress.connections import Connection, say_less
from hub.ingress.deps import Door
from hub.ingress.endpoints import Endpoint
from hub.ingress.problems import problem
from hub.ingress.webhooks import acknowledge, prove, refusal, render, signed_request, whole_seconds

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")

USUAL_WAY = frozenset({"expect", "content-encoding", "transfer-encoding", "upgrade"})
"""Headers that ask for more than this way does."""
PROBLEM_MIN = 400


class AtOnce:
    """Answers webhooks of one application, for an inbox that calls back."""

    def __init__(self, door: Door, acceptor: SoonAcceptor) -> None:
        self._door = door
        self._acceptor = acceptor
        self._thanks: dict[str, tuple[Endpoint, bytes, bytes]] = {}

    def takes(self, message: object, payload: StreamReader) -> Endpoint | None:
        """Where this request goes the short way; None, and nothing has been done, where it cannot."""
        if (
            not isinstance(message, RawRequestMessage)
            or message.method != "POST"
            or not payload.is_eof()
            or payload.exception() is not None
            or message.version != HttpVersion11
            or message.should_close
            or tracing.provider() is not None
        ):
            return None
        door, size = self._door, payload.total_bytes
        endpoint = door.deps.table.find(message.path)
        if endpoint is None or endpoint.source in door.deps.replies or size > endpoint.body_bytes_max:
            return None
        return endpoint if _is_plain(message) and door.room.take_whole(size) else None

    def begin(
        self, connection: Connection, endpoint: Endpoint, message: RawRequestMessage, payload: StreamReader
    ) -> None:
        """Hand the message of a request that ``takes`` has taken to the inbox; the connection is told what is said."""
        self._door.enter()
        body = payload.read_nowait()
        visit = _Visit(self, connection, endpoint, len(body), self._door.deps.clock.monotonic())
        peer = connection.peer()
        try:
            signed = signed_request(message.method, message.path, message.headers, body, peer=peer, door=self._door)
            received = prove(signed, message.headers, endpoint, self._door)
            if received is not None:
                self._acceptor.accept_soon(received, visit.told)
                return
        except Exception as error:
            visit.told(error)
        else:
            visit.told(None)

    def thanks(self, endpoint: Endpoint, accepted: Accepted) -> tuple[int, bytes]:
        """Status and text of the answer to a message that is stored: made once, but for the date in it."""
        known = self._thanks.get(endpoint.source)
        if known is None or known[0] is not endpoint:
            known = self._thanks[endpoint.source] = (endpoint, *_parts(acknowledge(accepted, endpoint, {})))
        return endpoint.reply.ok.status, _dated(*known[1:])

    def leave(self, visit: _Visit, result: str, status: int) -> None:
        """A request has been answered."""
        door = self._door
        door.metrics.of_source(visit.endpoint.source).count(
            result, status, door.deps.clock.monotonic() - visit.started_s
        )
        if status >= PROBLEM_MIN:
            door.metrics.problems.labels(str(status)).inc()
        door.room.give_back(visit.size)
        door.leave()


# Not frozen, which would take several times as long to make: there is one for each request.
@dataclass(slots=True)
class _Visit:
    """One request that is being answered."""

    way: AtOnce
    connection: Connection
    endpoint: Endpoint
    size: int
    started_s: float

    def told(self, outcome: Accepted | Exception | None) -> None:
        """The inbox has answered, or was not asked: for this reason, or since nobody has proven who sends (None)."""
        try:
            result, status, text, is_last = self._said(outcome)
        except Exception:
            # Whoever waits is told, and the room given back, whatever an answer cannot be made of.
            log.exception("answer_not_made", source=self.endpoint.source)
            result, status, text, is_last = "error", HTTPStatus.SERVICE_UNAVAILABLE.value, _dated(*_UNSAID), True
        self.way.leave(self, result, status)
        self.connection.answer(text, is_last=is_last)

    def _said(self, outcome: Accepted | Exception | None) -> tuple[str, int, bytes, bool]:
        """Its name in the metrics, its status and text, and whether it is the connection's last one."""
        if isinstance(outcome, Accepted) and outcome.kind != "unreadable":
            return outcome.kind, *self.way.thanks(self.endpoint, outcome), False
        if outcome is None:
            result, response = "unauthorized", render(self.endpoint.reply.unauthorized)
        elif isinstance(outcome, Exception):
            result, response = refusal(outcome, self.endpoint)
        else:
            result, response = outcome.kind, acknowledge(outcome, self.endpoint, {})
        return result, response.status, _dated(*_parts(response)), response.keep_alive is False


def _is_plain(message: RawRequestMessage) -> bool:
    """Nothing is asked for beyond an answer, and the head is no larger than it may be."""
    headers = message.headers
    for name in USUAL_WAY:
        if name in headers:
            return False
    return sum([len(name) + len(value) for name, value in message.raw_headers]) <= HEADERS_BYTES_MAX


def _parts(response: web.Response) -> tuple[bytes, bytes]:
    """What stands before and behind the date in the text of a response."""
    say_less(response)
    has_body = response.status not in EMPTY_BODY_STATUS_CODES
    body = response.body if has_body and isinstance(response.body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {response.reason or HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name.lower() != "content-length"]
    if has_body:
        lines.append(f"Content-Length: {len(body)}")
    if response.keep_alive is False:
        lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of an answer holds a line break")
    return "\r\n".join([*lines, "Date: "]).encode("utf-8"), b"\r\n\r\n" + body


def _dated(head: bytes, tail: bytes) -> bytes:
    return b"".join((head, rfc822_formatted_time().encode("ascii"), tail))


def _last_word() -> tuple[bytes, bytes]:
    response = problem(HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(whole_seconds(None))})
    response.force_close()
    return _parts(response)


_UNSAID = _last_word()
"""What is said where the answer itself cannot be made; made before there is anything to go wrong."""
