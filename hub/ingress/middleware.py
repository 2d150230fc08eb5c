"""What every request passes: bounds on its head, the webhook table, and one shape for every error."""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiDict, MultiDictProxy

from hub.errors import RetryableError, UnreadableError, UsageError
from hub.headers import HEADERS_BYTES_MAX
from hub.ingress.bodies import BodyRefusedError, read_body
from hub.ingress.deps import DOOR, Door
from hub.ingress.endpoints import without_slash
from hub.ingress.problems import problem
from hub.ingress.tokens import RefusedError
from hub.ingress.webhooks import answer_webhook, sender, whole_seconds

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")

PATH_CHARS_MAX = 2_048
CHUNKED = "chunked"


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever is raised into a response; what the hub knows about itself stays in the log."""
    door, started = request.app[DOOR], request.app[DOOR].deps.clock.monotonic()
    with door.visit():
        response = await _answer(request, handler, door)
    if request.match_info.route.resource is not None:
        labels = (request.method, without_slash(route_name(request)), str(response.status))
        door.metrics.requests.labels(*labels).observe(door.deps.clock.monotonic() - started)
    if response.status >= 400:
        door.metrics.problems.labels(str(response.status)).inc()
    return response


async def _answer(request: web.Request, handler: Handler, door: Door) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type != "text/plain":
            raise
        return problem(error.status, headers=_allow(error))
    except (RefusedError, BodyRefusedError, UnreadableError, UsageError, RetryableError) as error:
        return _expected(error, request, door)
    except (ConnectionError, TimeoutError) as error:
        # The sender has gone, or something that should have had its own answer took too long.
        if isinstance(error, ConnectionError) and request.transport is None:
            raise
        log.error("request_failed", method=request.method, route=route_name(request), error=type(error).__name__)
        return problem(503, headers={"Retry-After": str(whole_seconds(None))})
    except Exception:
        log.exception("request_failed", method=request.method, route=route_name(request))
        return problem(500)


@web.middleware
async def bounds(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a head that is larger than any honest sender's."""
    if len(request.raw_path) > PATH_CHARS_MAX:
        return problem(414)
    if sum(len(name) + len(value) for name, value in request.raw_headers) > HEADERS_BYTES_MAX:
        return problem(431)
    if request.headers.get("Transfer-Encoding", CHUNKED).strip().lower() != CHUNKED:
        # aiohttp would read the chunks and leave what is in them packed; whoever stands in front may have unpacked it.
        response = problem(400, "expected a body in chunks, or of a given length")
        response.force_close()
        return response
    return await handler(request)


@web.middleware
async def webhooks(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the paths that routing.yaml gives to sources; a reload changes them without a restart."""
    door = request.app[DOOR]
    # As the routes do: a slash that is encoded parts nothing.
    endpoint = door.deps.table.find(request.rel_url.path_safe)
    if endpoint is None:
        return await handler(request)
    return await answer_webhook(request, endpoint, door)


@web.middleware
async def bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body for the capabilities' routes, under the same bounds of size, time and memory as everyone's."""
    is_own = request.match_info.http_exception is not None or request.path.rstrip("/") == "/events"
    if is_own or not request.body_exists:
        return await handler(request)
    door = request.app[DOOR]
    settings = door.deps.settings
    with door.room.share() as share:
        body = await read_body(request, share, bytes_max=settings.body_bytes_max, seconds=settings.body_s_max)
        # Where request.read(), .json() and .post() look first; aiohttp has no other way to put a time limit on them.
        request._read_bytes = body
        await _read_form(request)
        return await handler(request)


def route_name(request: web.Request) -> str:
    """The pattern of the route, such as ``/intent/{id}``: a path itself may hold what must not be logged."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


async def _read_form(request: web.Request) -> None:
    """Let request.post() raise nothing: what is no form has no fields, and a handler misses those that it asks for."""
    try:
        # No page and no API of ours wants a form in parts, and reading one here would begin behind the body.
        if not request.content_type.startswith("multipart/"):
            await request.post()
            return
    except (ValueError, LookupError, web.HTTPException):
        pass
    request._post = MultiDictProxy(MultiDict())


def _expected(error: Exception, request: web.Request, door: Door) -> web.Response:
    if isinstance(error, RefusedError):
        route = route_name(request)
        log.warning("request_refused", route=route, remote=sender(request, door), reason=str(error))
        return problem(error.status, headers={"WWW-Authenticate": "Bearer"} if error.status == 401 else None)
    if isinstance(error, BodyRefusedError):
        response = problem(error.status, str(error))
        response.force_close()
        return response
    if isinstance(error, UnreadableError):
        return problem(400, str(error), field=error.field)
    if isinstance(error, UsageError):
        return problem(400, str(error))
    delay_s = error.delay_s if isinstance(error, RetryableError) else None
    log.error("request_not_done", route=route_name(request), error=type(error).__name__, reason=str(error))
    return problem(503, headers={"Retry-After": str(whole_seconds(delay_s))})


def _allow(error: web.HTTPException) -> dict[str, str] | None:
    allowed = error.headers.get("Allow")
    return {"Allow": allowed} if allowed is not None else None
