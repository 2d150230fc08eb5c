"""The shop's HTTP API under ``/api/seapay``: orders, licences, renewals, payment history.

Source: docs/providers/sepay-orders.md, "HTTP API".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from handlers.sepay.answering import (
    BASE,
    as_json,
    described,
    path_id,
    query_choice,
    query_number,
    read_model,
    read_object,
)
from handlers.sepay.caller import Callers
from handlers.sepay.history import (
    PAGE_SIZE_MAX,
    Page,
    PaymentFilter,
    access_to,
    licenses_of,
    order_history,
    payment_history,
    payment_user,
    subscriptions_of,
)
from handlers.sepay.order_intents import PURPOSES
from handlers.sepay.tables import EXPIRED, FAILED, OPEN_STATUSES, SUCCEEDED
from handlers.sepay.tables_orders import ORDER_STATUSES
from hub.apidoc import Parameter
from hub.errors import RefusedCommand
from schemas.sepay_orders import (
    SYMBOL_ID_MAX,
    AccessReply,
    LicenseReply,
    OrderBody,
    OrderCommand,
    OrderHistory,
    OrderIntent,
    OrderReply,
    OrderRequested,
    PaymentHistory,
    RenewalCommand,
    SubscriptionReply,
    WalletPaymentReply,
)

if TYPE_CHECKING:
    from handlers.sepay.answering import Responder
    from hub.api import HubApi

PAGE_MAX: Final = 1_000_000
SEARCH_CHARS_MAX: Final = 64
PAYMENT_STATUSES: Final = (*OPEN_STATUSES, SUCCEEDED, FAILED, EXPIRED)
ORDERS, LICENSES, RENEWALS, PAYMENTS = "Orders", "Licences", "Renewals", "Payments"

_UUID: Final = {"type": "string", "format": "uuid"}
ORDER_ID: Final = Parameter(name="order_id", place="path", schema=_UUID)
SUBSCRIPTION_ID: Final = Parameter(name="subscription_id", place="path", schema=_UUID)
SYMBOL_ID: Final = Parameter(
    name="symbol_id", place="path", schema={"type": "integer", "minimum": 1, "maximum": SYMBOL_ID_MAX}
)
IDEMPOTENCY_KEY: Final = Parameter(
    name="Idempotency-Key",
    place="header",
    schema={"type": "string", "maxLength": 255},
    description="The client's own name of the order: a repeat is answered with the order that there is.",
)
PAGE: Final = Parameter(name="page", schema={"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 1})


def shop_routes(api: HubApi, callers: Callers | None = None) -> Iterable[web.AbstractRouteDef]:
    """The routes of this API; their handlers speak to the hub through ``api``."""
    shop = ShopApi(api, callers or Callers(api))
    yield from _order_routes(shop)
    yield from _license_routes(shop)
    for change in (shop.pause_renewal, shop.resume_renewal, shop.cancel_renewal):
        responder = described(
            change,
            tag=RENEWALS,
            reply=SubscriptionReply,
            parameters=(SUBSCRIPTION_ID,),
            codes=("subscription_not_found", "wrong_subscription_status"),
        )
        word = change.__name__.removesuffix("_renewal")
        yield web.post(f"{BASE}/symbol/subscriptions/{{subscription_id}}/{word}/", responder)
    payments = described(
        shop.payments,
        tag=PAYMENTS,
        reply=PaymentHistory,
        codes=("invalid_status_filter", "invalid_purpose"),
        parameters=(
            PAGE,
            _limit(10),
            Parameter(name="search", schema={"type": "string", "maxLength": SEARCH_CHARS_MAX}),
            Parameter(name="status", schema={"enum": [*PAYMENT_STATUSES], "default": SUCCEEDED}),
            Parameter(name="purpose", schema={"enum": [*PURPOSES]}),
        ),
    )
    yield web.get(f"{BASE}/payments/user/", payments)


def _order_routes(shop: ShopApi) -> Iterable[web.AbstractRouteDef]:
    create = described(
        shop.create_order,
        tag=ORDERS,
        body=OrderBody,
        reply=OrderReply,
        parameters=(IDEMPOTENCY_KEY,),
        codes=(
            *("empty_order", "invalid_item", "invalid_payment_method", "symbol_not_found", "price_mismatch"),
            *("wallet_suspended", "unknown_bank_code", "request_id_reused"),
        ),
    )
    yield web.post(f"{BASE}/symbol/orders/", create)
    history = described(
        shop.orders,
        tag=ORDERS,
        reply=OrderHistory,
        codes=("invalid_status_filter",),
        parameters=(PAGE, _limit(20), Parameter(name="status", schema={"enum": [*ORDER_STATUSES]})),
    )
    yield web.get(f"{BASE}/symbol/orders/history/", history)
    for word, responder in _order_commands(shop):
        # The plural is an alias: the first version of this API had the singular.
        yield web.post(f"{BASE}/symbol/order/{{order_id}}/{word}/", responder)
        yield web.post(f"{BASE}/symbol/orders/{{order_id}}/{word}/", responder)


def _order_commands(shop: ShopApi) -> Iterable[tuple[str, Responder]]:
    codes = ("order_not_found", "order_not_payable")
    wallet = (*codes, "wrong_payment_method", "wallet_suspended")
    yield (
        "pay-wallet",
        described(
            shop.pay_wallet,
            tag=ORDERS,
            reply=WalletPaymentReply,
            parameters=(ORDER_ID,),
            codes=(*wallet, "insufficient_balance"),
        ),
    )
    yield (
        "pay-sepay",
        described(
            shop.pay_sepay,
            tag=ORDERS,
            reply=OrderIntent,
            parameters=(ORDER_ID,),
            codes=(*codes, "unknown_bank_code"),
        ),
    )
    yield (
        "topup-sepay",
        described(
            shop.topup_sepay,
            tag=ORDERS,
            reply=OrderIntent,
            parameters=(ORDER_ID,),
            codes=(*wallet, "topup_not_needed", "unknown_bank_code"),
        ),
    )
    yield "cancel", described(shop.cancel, tag=ORDERS, reply=OrderReply, parameters=(ORDER_ID,), codes=codes)


def _license_routes(shop: ShopApi) -> Iterable[web.AbstractRouteDef]:
    yield web.get(
        f"{BASE}/symbol/{{symbol_id}}/access/",
        described(shop.access, tag=LICENSES, reply=AccessReply, parameters=(SYMBOL_ID,)),
    )
    licenses = described(
        shop.licenses,
        tag=LICENSES,
        reply=LicenseReply,
        is_list=True,
        parameters=(PAGE, _limit(20)),
        reply_headers={"X-Total-Count": "How many there are.", "X-Page": "This page.", "X-Limit": "Rows per page."},
    )
    yield web.get(f"{BASE}/symbol/licenses/", licenses)
    subscriptions = described(shop.subscriptions, tag=RENEWALS, reply=SubscriptionReply, is_list=True)
    yield web.get(f"{BASE}/symbol/subscriptions/", subscriptions)


class ShopApi:
    """One method per endpoint: it returns the body of a 200, or raises RefusedCommand with the code of the error."""

    def __init__(self, api: HubApi, callers: Callers) -> None:
        self._api = api
        self._callers = callers

    async def create_order(self, request: web.Request) -> BaseModel:
        """Order licences.

        A wallet order is paid at once where the wallet suffices, else it waits and the answer says what is missing; an
        order by transfer answers with the QR code of its payment intent. Sent again with the same `Idempotency-Key`,
        or `request_id` in the body, it makes no second order.
        """
        user = self._callers.user(request)
        fields = {**await read_object(request), "user_id": user.id}
        # Either place will do; the header is what HTTP clients repeat by themselves.
        fields["request_id"] = request.headers.get("Idempotency-Key", "").strip() or fields.get("request_id")
        return await self._command("sepay.order.requested", read_model(OrderRequested, fields), user.id)

    async def orders(self, request: web.Request) -> BaseModel:
        """List the user's orders, newest first."""
        user = self._callers.user(request)
        status = query_choice(request, "status", ORDER_STATUSES, code="invalid_status_filter")
        async with self._api.reading() as session:
            return await order_history(session, user.id, _page(request, 20), status)

    async def pay_wallet(self, request: web.Request) -> BaseModel:
        """Pay a waiting order from the wallet."""
        return await self._order_command("sepay.order.pay_wallet", request)

    async def pay_sepay(self, request: web.Request) -> BaseModel:
        """Make a waiting order payable by transfer, as a whole."""
        return await self._order_command("sepay.order.pay_sepay", request)

    async def topup_sepay(self, request: web.Request) -> BaseModel:
        """Ask for a top-up of what the wallet lacks for a waiting order; its money then pays the order."""
        return await self._order_command("sepay.order.topup_sepay", request)

    async def cancel(self, request: web.Request) -> BaseModel:
        """Give up a waiting order; its open payment intents expire."""
        return await self._order_command("sepay.order.cancel", request)

    async def access(self, request: web.Request) -> BaseModel:
        """Ask whether the user may use a symbol now."""
        user = self._callers.user(request)
        text = request.match_info["symbol_id"]
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= SYMBOL_ID_MAX):
            raise RefusedCommand("invalid_request", "symbol_id must be a whole number above 0")
        soon = timedelta(days=self._api.settings_of("sepay").expires_soon_days)
        async with self._api.reading() as session:
            return await access_to(session, user.id, int(text), now=self._api.clock.now(), soon=soon)

    async def licenses(self, request: web.Request) -> web.Response:
        """List the user's licences, newest first."""
        user = self._callers.user(request)
        page = _page(request, 20)
        async with self._api.reading() as session:
            found, total = await licenses_of(session, user.id, page, self._api.clock.now())
        headers = {"X-Total-Count": str(total), "X-Page": str(page.number), "X-Limit": str(page.size)}
        return as_json(TypeAdapter(list[LicenseReply]).dump_json(found).decode(), headers)

    async def subscriptions(self, request: web.Request) -> web.Response:
        """List what the user has had renewed, newest first."""
        user = self._callers.user(request)
        async with self._api.reading() as session:
            found = await subscriptions_of(session, user.id)
        return as_json(TypeAdapter(list[SubscriptionReply]).dump_json(found).decode())

    async def pause_renewal(self, request: web.Request) -> BaseModel:
        """Renew nothing until the user resumes."""
        return await self._renewal_command("sepay.renewal.pause", request)

    async def resume_renewal(self, request: web.Request) -> BaseModel:
        """Renew a paused or suspended subscription again."""
        return await self._renewal_command("sepay.renewal.resume", request)

    async def cancel_renewal(self, request: web.Request) -> BaseModel:
        """Renew never again; the licence stays until its end."""
        return await self._renewal_command("sepay.renewal.cancel", request)

    async def payments(self, request: web.Request) -> BaseModel:
        """List the user's payment intents, newest first; by default those that succeeded."""
        user = self._callers.user(request)
        search = request.query.get("search")
        if search is not None and (len(search) > SEARCH_CHARS_MAX or "\0" in search):
            raise RefusedCommand("invalid_request", f"search is a text of at most {SEARCH_CHARS_MAX} characters")
        wanted = PaymentFilter(
            status=query_choice(request, "status", PAYMENT_STATUSES, code="invalid_status_filter") or SUCCEEDED,
            purpose=query_choice(request, "purpose", PURPOSES, code="invalid_purpose"),
            search=search,
        )
        shown = payment_user(user.id, dict(user.claims))
        async with self._api.reading() as session:
            return await payment_history(session, shown, user.id, _page(request, 10), wanted)

    async def _order_command(self, type_: str, request: web.Request) -> BaseModel:
        user = self._callers.user(request)
        order_id = path_id(request, "order_id", code="order_not_found", detail="Order not found")
        return await self._command(type_, OrderCommand(user_id=user.id, order_id=order_id), user.id)

    async def _renewal_command(self, type_: str, request: web.Request) -> BaseModel:
        user = self._callers.user(request)
        subscription_id: UUID = path_id(
            request, "subscription_id", code="subscription_not_found", detail="Subscription not found"
        )
        return await self._command(type_, RenewalCommand(user_id=user.id, subscription_id=subscription_id), user.id)

    async def _command(self, type_: str, command: BaseModel, user_id: str) -> BaseModel:
        reply = await self._api.command(type_, command, key=user_id)
        assert isinstance(reply, BaseModel), f"{type_} has no answer"
        return reply


def _page(request: web.Request, size: int) -> Page:
    return Page(
        number=query_number(request, "page", default=1, most=PAGE_MAX),
        size=query_number(request, "limit", default=size, most=PAGE_SIZE_MAX),
    )


def _limit(default: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": default}
    return Parameter(name="limit", schema=schema)
