"""Every HTTP route of the capability, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

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


log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")


def all_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The wallet's API, the shop's, and the images of QR codes."""
    callers = Callers(api)
    yield from routes(api, callers)
    yield from shop_routes(api, callers)
    yield from qr_routes(api, callers)
    yield from oauth_routes(api)
    yield from callback_routes(api)
    settings: SepaySettings = api.settings_of("sepay")
    if not settings.receiving.listed:
        # Every transfer would end as one to an unknown account, in no account of the books.
        log.warning("no_receiving_account", hint="set SEPAY_ACCOUNTS; hub doctor sepay says what else is missing")
    if settings.sandbox:
        bank = SandboxBank.of_home(api.settings.home)
        yield from TransactionList(bank, settings.api_token.get_secret_value(), SANDBOX_PATH).routes()
