"""The played PayPal put together, in the hub's own process or beside it. Begin here.

Source: docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from handlers.paypal.authority import Authority
from handlers.paypal.sandbox_api import SandboxApi
from handlers.paypal.sandbox_book import BookKeeper
from handlers.paypal.sandbox_invoicing import InvoicingApi
from handlers.paypal.sandbox_pages import ApprovalPage
from handlers.paypal.sandbox_webhooks import Postman
from handlers.paypal.settings import SANDBOX_PATH, PaypalSettings
from hub.clock import Clock

if TYPE_CHECKING:
    from aiohttp import web

WEBHOOK_PATH = "/webhooks/paypal"


def sandbox_api(
    settings: PaypalSettings, clock: Clock, *, path: str = "", hub_url: str = "", base: str = ""
) -> SandboxApi:
    """PayPal's API as played for the hub at ``hub_url``; ``base`` is where buyers reach its pages."""
    return SandboxApi(
        keeper=BookKeeper(settings.sandbox_dir),
        postman=postman_of(settings, hub_url),
        clock=clock,
        client_id=settings.client_id.get_secret_value(),
        secret=settings.secret.get_secret_value(),
        path=path,
        base=base,
    )


def postman_of(settings: PaypalSettings, hub_url: str = "", *, speed: float = 1.0) -> Postman:
    """Who delivers to the hub at ``hub_url``, by default this machine's."""
    url = (hub_url or f"http://127.0.0.1:{settings.hub_port}").rstrip("/")
    return Postman(
        authority=Authority.of(settings.sandbox_dir),
        url=url if url.endswith(WEBHOOK_PATH) else url + WEBHOOK_PATH,
        webhook_id=(settings.webhook_ids or ("",))[0],
        speed=speed,
        keeper=BookKeeper(settings.sandbox_dir),
    )


def sandbox_routes(settings: PaypalSettings, clock: Clock) -> Iterable[web.AbstractRouteDef]:
    """What the hub serves under HUB_SANDBOX: the API and the page of approval."""
    api = sandbox_api(settings, clock, path=SANDBOX_PATH, base=f"http://127.0.0.1:{settings.hub_port}")
    yield from api.routes()
    yield from InvoicingApi(api).routes()
    yield from ApprovalPage(api, SANDBOX_PATH).routes()
