"""Serving the sandbox: inside the hub under ``HUB_SANDBOX``, or alone for a team that tests its own software."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_admin import sandbox_routes
from handlers.paypay.settings import SANDBOX_PATH, PayPaySettings
from hub.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from hub.api import HubApi

SHUTDOWN_S: Final = 0.5
LINGER_S: Final = 1.0


def sandbox_file(home: Path) -> Path:
    """Where the sandbox of a hub's home keeps its books."""
    return home / "sandbox" / "paypay.jsonl"


def options_of(settings: PayPaySettings, *, prefix: str = "", hub_url: str = "", file: Path | None = None) -> Options:
    """A well-behaved sandbox that knows the hub's own key."""
    return Options(
        api_key=settings.key,
        api_secret=settings.api_secret.get_secret_value(),
        merchant=settings.merchant,
        prefix=prefix,
        hub_url=hub_url,
        file=file,
    )


def embedded_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The sandbox inside the hub; none where the hub is not a sandbox, or PayPay is somewhere else."""
    settings: PayPaySettings = api.settings_of("paypay")
    # Where a key is set it is a real one: nothing here may sign with its secret.
    if not settings.sandbox or settings.mode == "production" or settings.api_key or settings.base_url:
        return []
    hub_url = f"http://127.0.0.1:{settings.hub_port}" if settings.hub_port else ""
    options = options_of(settings, prefix=SANDBOX_PATH, hub_url=hub_url, file=sandbox_file(api.settings.home))
    return sandbox_routes(options)[1]


@asynccontextmanager
async def serving(options: Options, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[Sandbox, str]]:
    """A sandbox of its own, and its address. Raises ConfigError where it cannot listen."""
    sandbox, routes = sandbox_routes(options)
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, lingering_time=LINGER_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--port: cannot listen on {host}:{port}: {error}") from error
        listening = runner.addresses[0]
        yield sandbox, f"http://{listening[0]}:{listening[1]}{options.prefix}"
    finally:
        await sandbox.notices.close()
        await runner.cleanup()
