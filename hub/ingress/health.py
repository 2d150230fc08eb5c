"""What probes and monitoring ask: is the process alive, is it ready, how is it doing."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from hub.capability import CheckResult
from hub.ingress.deps import DOOR

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")

READY_S_MAX = 5.0


async def healthz(request: web.Request) -> web.Response:
    """200 while the process can answer at all; nothing is asked, so that a slow database restarts nobody."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 when every check holds, else 503; each check with what it found."""
    try:
        async with asyncio.timeout(READY_S_MAX):
            checks = list(await request.app[DOOR].deps.ready())
    except TimeoutError:
        checks = [CheckResult("ready", False, f"no answer within {READY_S_MAX:g} s")]
    except Exception:
        log.exception("ready_check_failed")
        checks = [CheckResult("ready", False, "the check itself failed; the log says why")]
    ok = all(check.ok for check in checks)
    body = {
        "status": "ok" if ok else "failing",
        "checks": {check.name: {"ok": check.ok, "detail": check.detail} for check in checks},
    }
    return web.json_response(body, status=200 if ok else 503)


async def metrics(request: web.Request) -> web.Response:
    """Everything that is counted, in Prometheus' text form; by all processes where several share the address."""
    body, together = figures(request.app), request.app[DOOR].deps.processes
    if together is not None:
        body = await together.merged(body)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def figures(app: web.Application) -> bytes:
    """What this process has counted."""
    # Two registries: what this HTTP application counts, and what the process counts behind it.
    return generate_latest(app[DOOR].deps.registry) + generate_latest(REGISTRY)
