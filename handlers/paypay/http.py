"""The HTTP API of the exchange under ``/api/v1/paypay``, for the shop's backend and for operators; never for browsers.

The hub answers every path with and without its slash at the end. Source: docs/providers/paypay.md, "HTTP API".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from handlers.paypay.answering import (
    BASE,
    SHAPE,
    as_json,
    as_model,
    described,
    path_id,
    read_body,
)
from handlers.paypay.client import client_of
from handlers.paypay.exchanging import reply_of
from handlers.paypay.linking import PROVIDER, link_address
from handlers.paypay.reversal import reversal_reply
from handlers.paypay.sealing import sealed
from handlers.paypay.sessions import SESSION_LIFE
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables import APP, PayPayCashback, PayPayReversal
from handlers.paypay.tokens import read_token
from handlers.paypay.views import find_by_key, find_exchange, find_reversal_by_key
from hub.apidoc import Parameter
from hub.deliver.command import RepeatedCommandError
from hub.errors import RefusedCommand
from hub.ingress.tokens import Client, Role
from schemas.paypay_exchange import (
    CashbackView,
    ExchangeBody,
    ExchangeReply,
    RetryBody,
    RetryOrder,
    ReversalBody,
    ReversalOrder,
    ReversalReply,
    SessionBody,
    SessionDecided,
    SessionLinked,
    SessionReply,
    SessionStarted,
    SessionStatus,
    TokenBody,
)

if TYPE_CHECKING:
    from hub.api import HubApi

ALIAS: Final = "/mypage/point_input"
"""What the shop's own page posts an exchange to."""
LINKING: Final = "PayPay: linking an account"
EXCHANGES: Final = "PayPay: exchanging points"
REQUEST_ID: Final = Parameter(name="request_id", place="path", schema={"type": "string", "format": "uuid"})
EXCHANGE_CODES: Final = (
    *("IDEMPOTENCY_CONFLICT", "NOT_LINKED", "AUTHORIZATION_EXPIRED", "NO_BOOKING_IN_ONE_YEAR", "NO_POINTS"),
    *("NOT_ENOUGH_POINTS", "POINTS_NOT_POSITIVE", "POINTS_NOT_INTEGER", "POINTS_NOT_MULTIPLE_OF_100"),
    *("TOO_MANY_POINTS", "UNKNOWN_DEVICE_TYPE"),
)


def exchange_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The routes of this API; their handlers speak to the hub through ``api``."""
    door = ExchangeApi(api)
    yield web.post(
        f"{BASE}/sessions",
        described(
            door.start_session,
            tag=LINKING,
            body=SessionBody,
            reply=SessionReply,
            codes=("PAYPAY_UNAVAILABLE",),
            statuses=(201,),
        ),
    )
    yield web.post(
        f"{BASE}/sessions/update_session",
        described(door.update_session, tag=LINKING, body=TokenBody, reply=SessionStatus, codes=("TOKEN_REFUSED",)),
    )
    yield web.post(
        f"{BASE}/cashback",
        described(
            door.exchange,
            tag=EXCHANGES,
            body=ExchangeBody,
            reply=ExchangeReply,
            codes=EXCHANGE_CODES,
            statuses=(202, 200),
        ),
    )
    yield web.post(ALIAS, SHAPE.answered(door.exchange))
    yield web.get(
        f"{BASE}/cashback/{{request_id}}",
        described(door.show, tag=EXCHANGES, reply=CashbackView, codes=("NOT_FOUND",), parameters=(REQUEST_ID,)),
    )
    yield web.post(
        f"{BASE}/cashback/{{request_id}}/reverse",
        described(
            door.reverse,
            tag=EXCHANGES,
            body=ReversalBody,
            reply=ReversalReply,
            codes=("NOT_FOUND", "NOT_REVERSIBLE", "AMOUNT_TOO_HIGH", "IDEMPOTENCY_CONFLICT"),
            parameters=(REQUEST_ID,),
            statuses=(202, 200),
        ),
    )
    yield web.post(
        f"{BASE}/cashback/{{request_id}}/retry",
        described(
            door.retry,
            tag=EXCHANGES,
            body=RetryBody,
            reply=ExchangeReply,
            codes=("NOT_FOUND", "NOT_RETRYABLE", *EXCHANGE_CODES),
            parameters=(REQUEST_ID,),
            statuses=(202,),
        ),
    )


class ExchangeApi:
    """One method per endpoint; errors are RefusedCommand with the code of the answer."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    async def start_session(self, request: web.Request) -> web.Response:
        """Begin to link a member's PayPay account; answers with the address to send the member to.

        `device_type` is the kind of client that the backend knows it talks to; it decides the rate of every exchange.
        """
        holder = self._api.holder(request, Role.CLIENT)
        body = await read_body(request, SessionBody)
        refuse_foreign_device(holder, body, self._settings)
        started = SessionStarted(
            **body.model_dump(),
            session_id=self._api.clock.new_id(),
            # It proves that a token belongs to this session: nobody may guess it, so chance is not the clock's.
            nonce=secrets.token_urlsafe(24),
            expires_at=self._api.clock.now() + SESSION_LIFE,
        )
        await self._api.command("paypay.session.start", started, key=started.member_id)
        address, problem = await link_address(self._api.turn(PROVIDER), client_of(self._settings), started)
        linked = SessionLinked(session_id=started.session_id, link_url=address, problem=problem)
        await self._api.command("paypay.session.link", linked, key=started.member_id)
        if address is None:
            raise RefusedCommand("PAYPAY_UNAVAILABLE", "PayPay gave no address to link the account at")
        reply = SessionReply(session_id=started.session_id, link_url=address, expires_at=started.expires_at)
        return as_json(reply, 201)

    async def update_session(self, request: web.Request) -> web.Response:
        """Give the token that PayPay sent the member back with. The same token again is answered as before."""
        self._api.holder(request, Role.CLIENT)
        body = await read_body(request, TokenBody)
        token = read_token(body.response_token, self._settings)
        told = token.user_authorization_id
        said = SessionDecided(
            member_id=body.member_id,
            sealed_authorization=sealed(told, self._settings) if told else None,
            **token.model_dump(exclude={"user_authorization_id"}),
        )
        reply = await self._api.command("paypay.session.decide", said, key=said.member_id)
        assert isinstance(reply, SessionStatus)
        return as_json(reply)

    async def exchange(self, request: web.Request) -> web.Response:
        """Exchange points: they are held at once, and PayPay is asked right after.

        The same `idempotency_key` with the same content is answered 200 with the exchange that there is.
        """
        self._api.holder(request, Role.CLIENT)
        body = await read_body(request, ExchangeBody)
        before = await self._exchange_of(body)
        if before is not None:
            return self._same_exchange(before, body)
        try:
            reply = await self._api.command(
                "paypay.exchange.request",
                body,
                key=body.member_id,
                dedupe_id=f"{body.member_id} {body.idempotency_key}",
            )
        except RepeatedCommandError:
            # The same request at the same moment was quicker, and has committed.
            before = await self._exchange_of(body)
            assert before is not None, "an accepted exchange has its row"
            return self._same_exchange(before, body)
        assert isinstance(reply, ExchangeReply)
        return as_json(reply, 202)

    async def show(self, request: web.Request) -> web.Response:
        """Look at one exchange."""
        self._api.holder(request, Role.CLIENT)
        async with self._api.reading() as session:
            view = await find_exchange(session, path_id(request, "request_id"))
        if view is None:
            raise RefusedCommand("NOT_FOUND", "no exchange has this id")
        return as_json(view)

    async def reverse(self, request: web.Request) -> web.Response:
        """Take cashback back, all that is left of it unless `amount_jpy` says less. For operators.

        The same `idempotency_key` with the same content is answered 200 with the reversal that there is.
        """
        self._api.holder(request, Role.OPERATOR)
        request_id = path_id(request, "request_id")
        order = await read_body(request, ReversalOrder, request_id=str(request_id))
        before = await self._reversal_of(order)
        if before is not None:
            return self._same_reversal(before, order)
        try:
            reply = await self._api.command(
                "paypay.reversal.order",
                order,
                key=str(request_id),
                dedupe_id=f"{request_id} {order.idempotency_key}",
            )
        except RepeatedCommandError:
            before = await self._reversal_of(order)
            assert before is not None, "an accepted reversal has its row"
            return self._same_reversal(before, order)
        assert isinstance(reply, ReversalReply)
        return as_json(reply, 202)

    async def retry(self, request: web.Request) -> web.Response:
        """Try a failed exchange again, with a new id at PayPay. For operators."""
        self._api.holder(request, Role.OPERATOR)
        request_id = path_id(request, "request_id")
        body = await read_body(request, RetryBody)
        order = as_model(RetryOrder, {**body.model_dump(), "request_id": request_id})
        reply = await self._api.command("paypay.exchange.retry", order, key=str(request_id))
        assert isinstance(reply, ExchangeReply)
        return as_json(reply, 202)

    @property
    def _settings(self) -> PayPaySettings:
        settings = self._api.settings_of("paypay")
        assert isinstance(settings, PayPaySettings)
        return settings

    async def _exchange_of(self, body: ExchangeBody) -> PayPayCashback | None:
        async with self._api.reading() as session:
            return await find_by_key(session, body.member_id, body.idempotency_key)

    async def _reversal_of(self, order: ReversalOrder) -> PayPayReversal | None:
        async with self._api.reading() as session:
            return await find_reversal_by_key(session, order.request_id, order.idempotency_key)

    def _same_exchange(self, row: PayPayCashback, body: ExchangeBody) -> web.Response:
        is_same = row.session_id == body.session_id and type(body.points) is int and row.points == body.points
        if not is_same:
            raise RefusedCommand("IDEMPOTENCY_CONFLICT", "this idempotency_key was used with other content")
        return as_json(reply_of(row))

    def _same_reversal(self, row: PayPayReversal, order: ReversalOrder) -> web.Response:
        # An order without an amount meant what was left then, and means the same now.
        is_same = order.amount_jpy in (None, row.requested_amount_jpy) and row.reason == order.reason
        if not is_same:
            raise RefusedCommand("IDEMPOTENCY_CONFLICT", "this idempotency_key was used with other content")
        return as_json(reversal_reply(row))


def refuse_foreign_device(holder: Client, body: SessionBody, settings: PayPaySettings) -> None:
    """Raises RefusedCommand where a key says APP that is not listed: it pays twice as much, so no key may by itself."""
    if body.device_type == APP and holder.name not in settings.app_clients:
        words = f"the API key {holder.name!r} does not speak for the app: list it in PAYPAY_APP_CLIENTS"
        raise RefusedCommand("INVALID_REQUEST", f"device_type: {words}")
