"""The HTTP application and the socket it listens on. Begin here: every request enters through ``build_app``."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

import structlog
from aiohttp import web

from hub.addresses import CONSOLE
from hub.apidoc.routes import documentation_routes, message_routes
from hub.errors import ConfigError
from hub.headers import HEADER_BYTES_MAX, HEADERS_MAX
from hub.inbox.received import SoonAcceptor
from hub.ingress.at_once import AtOnce
from hub.ingress.connections import BoundedRunner, say_less
from hub.ingress.deps import DOOR, Door, IngressDeps
from hub.ingress.described import OWN_ROUTES, PROBES
from hub.ingress.endpoints import without_slash
from hub.ingress.first_visit import FirstVisit
from hub.ingress.middleware import bodies, bounds, errors, webhooks
from hub.signal import is_set_within

__all__ = ["IngressDeps", "Serving", "bind", "build_app", "build_probes", "is_number", "serve"]

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")

AT_ONCE = web.AppKey("at_once", AtOnce)
LINGER_S = 5.0
"""How long the rest of a refused body is read away, so that its sender sees the answer."""
BACKLOG = 512
CUT_S = 0.5
"""How long requests that are still running at the deadline have to notice that they were cancelled."""


def build_app(deps: IngressDeps) -> web.Application:
    """The application: the sources' webhooks, ``POST /events``, probes, metrics and the capabilities' routes."""
    app = web.Application(middlewares=[errors, bounds, webhooks, bodies], client_max_size=deps.settings.body_bytes_max)
    app[DOOR] = Door(deps)
    own: list[web.AbstractRouteDef] = []
    described = [*OWN_ROUTES, *deps.routes]
    own += documentation_routes(described)
    if deps.published is not None:
        own += message_routes(deps.published)
    app.add_routes(both_slashes([*own, *described]))
    if deps.console is not None:
        app.router.register_resource(FirstVisit(CONSOLE, deps.console))
    app.on_response_prepare.append(_say_less)
    if isinstance(deps.acceptor, SoonAcceptor):
        app[AT_ONCE] = AtOnce(app[DOOR], deps.acceptor)
    return app


def build_probes(deps: IngressDeps) -> web.Application:
    """What a process answers that takes nothing in: probes and metrics, so that it can be watched all the same."""
    app = web.Application(middlewares=[errors, bounds])
    app[DOOR] = Door(deps)
    app.add_routes(both_slashes(PROBES))
    app.on_response_prepare.append(_say_less)
    return app


def is_number(host: str) -> bool:
    """Whether a host is given as an address, and not by a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port`` (0 = any free one), for several processes to accept from.

    Raises ConfigError when that is not possible.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(_listen_problem(error, host, port)) from error
    return listening


async def serve(app: web.Application, host: str, port: int, *, listening: socket.socket | None = None) -> Serving:
    """Listen on ``host`` and ``port`` (0 = any free one), or accept from a socket that is ``listening`` already.

    Raises ConfigError when that is not possible.
    """
    settings = app[DOOR].deps.settings
    runner = BoundedRunner(
        app,
        app[DOOR].connections,
        app.get(AT_ONCE),
        access_log=None,
        logger=_QuietLogger(),
        keepalive_timeout=settings.idle_s_max,
        lingering_time=LINGER_S,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        max_headers=HEADERS_MAX,
        auto_decompress=False,
        shutdown_timeout=CUT_S,
    )
    await runner.setup()
    site = _site(runner, host, port, listening)
    try:
        await site.start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise ConfigError(_listen_problem(error, host, port)) from error
    return Serving(runner, site, app[DOOR])


def _site(runner: web.AppRunner, host: str, port: int, listening: socket.socket | None) -> web.BaseSite:
    if listening is not None:
        return web.SockSite(runner, listening, backlog=BACKLOG)
    return web.TCPSite(runner, host, port, backlog=BACKLOG)


class Serving:
    """A running server."""

    def __init__(self, runner: web.AppRunner, site: web.BaseSite, door: Door) -> None:
        self._runner = runner
        self._site = site
        self._door = door
        self.host, self.port = runner.addresses[0][:2]

    @property
    def url(self) -> str:
        """Where it can be reached from this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def stop(self, deadline_s: float) -> None:
        """Stop listening, answer what is in hand, then close; what is not done by the deadline is cancelled."""
        # The rest of the hub must still work while this waits: what was sent is stored and acknowledged.
        if self._runner.server is None:
            return
        await self._site.stop()
        self._runner.server.pre_shutdown()
        if not await is_set_within(self._door.idle, deadline_s):
            log.warning("requests_cut", requests=self._door.in_hand)
        await self._runner.cleanup()


def both_slashes(routes: Iterable[web.AbstractRouteDef]) -> list[web.AbstractRouteDef]:
    """Every route with and without a slash at its end: a redirect would lose the body of a POST."""
    given = list(routes)
    taken = {(route.method, route.path) for route in given if isinstance(route, web.RouteDef)}
    doubled: list[web.AbstractRouteDef] = []
    for route in given:
        doubled.append(route)
        if isinstance(route, web.RouteDef) and route.path != "/" and not route.path.endswith("*}"):
            plain = without_slash(route.path)
            other = plain if plain != route.path else f"{plain}/"
            unnamed = {name: value for name, value in route.kwargs.items() if name != "name"}
            if (route.method, other) not in taken:
                doubled.append(web.RouteDef(route.method, other, route.handler, unnamed))
    return doubled


async def _say_less(_request: web.Request, response: web.StreamResponse) -> None:
    say_less(response)


def _listen_problem(error: OSError | OverflowError, host: str, port: int) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"HUB_PORT: port {port} on {host} is in use by another program; stop that one, or set HUB_PORT"
    if code == errno.EACCES:
        return f"HUB_PORT: this user may not listen on port {port}; set HUB_PORT to 1024 or above"
    if code == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"HUB_HOST: {host} is no address of this machine; 127.0.0.1 and 0.0.0.0 always are"
    return f"HUB_HOST, HUB_PORT: cannot listen on {host}:{port}: {error}"


class _QuietLogger:
    """Takes what aiohttp logs about broken requests: kind only, as its texts quote headers that may be secrets."""

    def debug(self, *_args: object, **_fields: object) -> None: ...

    def exception(self, message: str, *_args: object, exc_info: object = None, **_fields: object) -> None:
        log.warning("http_request_broken", reason=message, error=type(exc_info).__name__)

    warning = error = info = exception
