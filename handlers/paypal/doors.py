"""Every HTTP route of the capability, and what the sandbox needs at start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from handlers.paypal.authority import Authority
from handlers.paypal.http import routes
from handlers.paypal.sandbox import sandbox_routes
from handlers.paypal.settings import PaypalSettings

if TYPE_CHECKING:
    from aiohttp import web

    from hub.api import HubApi


def all_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The shop's API; under HUB_SANDBOX also the PayPal that the hub plays."""
    yield from routes(api)
    settings: PaypalSettings = api.settings_of("paypal")
    if settings.is_played and not settings.base_url:
        yield from sandbox_routes(settings, api.clock)


async def prepare_sandbox(api: HubApi) -> None:
    """Make the sandbox's certificates, so that the first webhook need not wait for them."""
    settings: PaypalSettings = api.settings_of("paypal")
    if settings.is_played:
        Authority.of(settings.sandbox_dir)
