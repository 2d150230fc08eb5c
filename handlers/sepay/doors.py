"""Every HTTP route of the capability, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from handlers.sepay.callback import callback_routes
from handlers.sepay.caller import Callers
from handlers.sepay.http import routes
from handlers.sepay.http_shop import shop_routes
from handlers.sepay.oauth import oauth_routes
from handlers.sepay.qr_images import qr_routes
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from handlers.sepay.settings import SANDBOX_PATH, SepaySettings

if TYPE_CHECKING:
    from aiohttp import web

    from hub.api import HubApi


def all_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The wallet's API, the shop's, and the images of QR codes."""
    callers = Callers(api)
    yield from routes(api, callers)
    yield from shop_routes(api, callers)
    yield from qr_routes(api)
    yield from oauth_routes(api)
    yield from callback_routes(api)
    settings: SepaySettings = api.settings_of("sepay")
    if settings.sandbox:
        bank = SandboxBank.of_home(api.settings.home)
        yield from TransactionList(bank, settings.api_token.get_secret_value(), SANDBOX_PATH).routes()
