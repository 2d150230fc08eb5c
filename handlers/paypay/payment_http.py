"""The HTTP API of payments under ``/api/v1/paypay``, for the shop's backend; PayPay is asked after the answer.

Source: docs/providers/paypay.md, "HTTP API" and "Payments".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel

from handlers.paypay.answering import BASE, Endpoint, Responder, as_json, as_model, described, path_id, read_body
from handlers.paypay.payment_views import find_code, find_payment, find_refund
from hub.apidoc import Parameter
from hub.deliver.command import RepeatedCommandError
from hub.errors import RefusedCommand
from hub.ingress.tokens import Role
from schemas.paypay import (
    CancelOrder,
    CaptureBody,
    CaptureOrder,
    CodeBody,
    CodeView,
    PaymentBody,
    PaymentReply,
    PaymentView,
    RefundBody,
    RefundOrder,
    RefundReply,
    RefundView,
    RevertBody,
    RevertOrder,
)

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from hub.api import HubApi

PAYMENTS: Final = "PayPay: payments"
ID: Final = Parameter(name="id", place="path", schema={"type": "string", "format": "uuid"})
CREATE, CREATE_CODE = "paypay.payment.create", "paypay.code.create"
CAPTURE, REVERT = "paypay.payment.capture", "paypay.payment.revert"
CANCEL, REFUND = "paypay.payment.cancel", "paypay.payment.refund"

V = TypeVar("V", bound=BaseModel)


def payment_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The routes of this API."""
    door = PaymentApi(api)
    ids, same = (ID,), ("IDEMPOTENCY_CONFLICT",)
    accepted, found = (202, 200), ("NOT_FOUND",)

    def order(endpoint: Endpoint, reply: type[BaseModel], body: type[BaseModel] | None, *codes: str) -> Responder:
        codes = ("NOT_FOUND", *codes)
        return described(endpoint, tag=PAYMENTS, body=body, reply=reply, codes=codes, parameters=ids, statuses=(202,))

    def view(endpoint: Endpoint, reply: type[BaseModel]) -> Responder:
        return described(endpoint, tag=PAYMENTS, reply=reply, codes=found, parameters=ids)

    create_code = described(
        door.create_code, tag=PAYMENTS, body=CodeBody, reply=PaymentReply, codes=same, statuses=accepted
    )
    create = described(
        door.create_payment,
        tag=PAYMENTS,
        body=PaymentBody,
        reply=PaymentReply,
        codes=(*same, "NOT_LINKED", "AUTHORIZATION_EXPIRED"),
        statuses=accepted,
    )
    yield web.post(f"{BASE}/codes", create_code)
    yield web.get(f"{BASE}/codes/{{id}}", view(door.show_code, CodeView))
    yield web.delete(f"{BASE}/codes/{{id}}", order(door.delete_code, PaymentReply, None, "NOT_CANCELABLE"))
    yield web.post(f"{BASE}/payments", create)
    yield web.get(f"{BASE}/payments/{{id}}", view(door.show_payment, PaymentView))
    yield web.post(
        f"{BASE}/payments/{{id}}/capture",
        order(door.capture, PaymentReply, CaptureBody, *same, "NOT_CAPTURABLE", "AMOUNT_TOO_HIGH"),
    )
    yield web.post(f"{BASE}/payments/{{id}}/revert", order(door.revert, PaymentReply, RevertBody, "NOT_CAPTURABLE"))
    yield web.post(f"{BASE}/payments/{{id}}/cancel", order(door.cancel, PaymentReply, None, "NOT_CANCELABLE"))
    yield web.post(
        f"{BASE}/payments/{{id}}/refund",
        order(door.refund, RefundReply, RefundBody, *same, "NOT_REFUNDABLE", "AMOUNT_TOO_HIGH"),
    )
    yield web.get(f"{BASE}/refunds/{{id}}", view(door.show_refund, RefundView))


class PaymentApi:
    """One method per endpoint; errors are RefusedCommand with the code of the answer."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    async def create_code(self, request: web.Request) -> web.Response:
        """Ask for a QR code of one order. Its address is there when `GET` shows it, usually within a second.

        The same `idempotency_key` with the same content is answered with the code that there is.
        """
        return await self._create(request, CodeBody, CREATE_CODE)

    async def create_payment(self, request: web.Request) -> web.Response:
        """Ask for a payment from a member who has linked an account for direct debit.

        The same `idempotency_key` with the same content is answered with the payment that there is.
        """
        return await self._create(request, PaymentBody, CREATE)

    async def show_code(self, request: web.Request) -> web.Response:
        """Look at one QR code and its payment."""
        return await self._show(request, find_code)

    async def show_payment(self, request: web.Request) -> web.Response:
        """Look at one payment."""
        return await self._show(request, find_payment)

    async def show_refund(self, request: web.Request) -> web.Response:
        """Look at one refund."""
        return await self._show(request, find_refund)

    async def delete_code(self, request: web.Request) -> web.Response:
        """Switch a code off; what was paid by it is cancelled."""
        return await self._order(request, CANCEL, CancelOrder, None)

    async def capture(self, request: web.Request) -> web.Response:
        """Take what was authorized, all of it unless `amount_jpy` says less."""
        return await self._order(request, CAPTURE, CaptureOrder, CaptureBody)

    async def revert(self, request: web.Request) -> web.Response:
        """Give up an authorization."""
        return await self._order(request, REVERT, RevertOrder, RevertBody)

    async def cancel(self, request: web.Request) -> web.Response:
        """Undo a payment: cancelled until a quarter past midnight in Japan, refunded after that."""
        return await self._order(request, CANCEL, CancelOrder, None)

    async def refund(self, request: web.Request) -> web.Response:
        """Give money back, all that is left unless `amount_jpy` says less."""
        return await self._order(request, REFUND, RefundOrder, RefundBody)

    async def _create(self, request: web.Request, model: type[CodeBody | PaymentBody], command: str) -> web.Response:
        self._api.holder(request, Role.CLIENT)
        body = await read_body(request, model)
        key = body.idempotency_key
        try:
            reply = await self._api.command(command, body, key=key, dedupe_id=key)
        except RepeatedCommandError:
            # Asked for before, or by somebody who was quicker: its handler compares, and answers with what there is.
            reply = await self._api.command(command, body, key=key)
        assert isinstance(reply, PaymentReply)
        return as_json(reply, 202 if reply.status == "NEW" else 200)

    async def _order(
        self,
        request: web.Request,
        command: str,
        order: type[CaptureOrder | RevertOrder | CancelOrder | RefundOrder],
        model: type[BaseModel] | None,
    ) -> web.Response:
        self._api.holder(request, Role.CLIENT)
        payment_id = path_id(request, "id")
        fields = {} if model is None else (await read_body(request, model)).model_dump()
        said = as_model(order, {**fields, "payment_id": payment_id})
        reply = await self._api.command(command, said, key=str(payment_id))
        assert isinstance(reply, PaymentReply | RefundReply)
        return as_json(reply, 202)

    async def _show(
        self, request: web.Request, find: Callable[[AsyncSession, UUID], Awaitable[V | None]]
    ) -> web.Response:
        self._api.holder(request, Role.CLIENT)
        async with self._api.reading() as session:
            view = await find(session, path_id(request, "id"))
        if view is None:
            raise RefusedCommand("NOT_FOUND", "nothing has this id")
        return as_json(view)
