"""Every HTTP route of the capability, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from handlers.paypay.files_http import file_routes
from handlers.paypay.finance_http import finance_routes
from handlers.paypay.http import exchange_routes
from handlers.paypay.payment_http import payment_routes
from handlers.paypay.sandbox_serving import embedded_routes

if TYPE_CHECKING:
    from aiohttp import web

    from hub.api import HubApi


def all_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The exchange, payments, transaction files, the finance report, and PayPay itself where the hub plays it."""
    yield from exchange_routes(api)
    yield from payment_routes(api)
    yield from file_routes(api)
    yield from finance_routes(api)
    yield from embedded_routes(api)
