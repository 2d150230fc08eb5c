"""The wallet's HTTP API under ``/api/seapay``.

The hub answers every path with and without its slash at the end. Users see only their own rows: someone else's id
answers 404. Source: docs/providers/sepay.md, "HTTP API".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from handlers.sepay.answering import BASE, described, path_id, read_model, read_object
from handlers.sepay.caller import Callers
from handlers.sepay.views import find_intent, find_wallet, topup_status
from hub.apidoc import Parameter
from hub.errors import RefusedCommand
from schemas.sepay import (
    IntentReply,
    TopupReply,
    TopupRequested,
    TopupStatus,
    WalletReply,
    WalletRequested,
)
from schemas.sepay_orders import CreatedIntent, IntentBody, IntentRequested, TopupBody

if TYPE_CHECKING:
    from hub.api import HubApi

INTENT_ID: Final = Parameter(name="intent_id", place="path", schema={"type": "string", "format": "uuid"})
WALLET: Final = "Wallet"
INTENTS: Final = "Payment intents"


def routes(api: HubApi, callers: Callers | None = None) -> Iterable[web.AbstractRouteDef]:
    """The routes of this API; their handlers speak to the hub through ``api``."""
    wallets = WalletApi(api, callers or Callers(api))
    yield web.post(
        f"{BASE}/create-intent/",
        described(
            wallets.create_intent,
            tag=INTENTS,
            body=IntentBody,
            reply=CreatedIntent,
            codes=(
                *("invalid_purpose", "invalid_amount", "unsupported_currency", "unknown_bank_code"),
                "wallet_suspended",
            ),
        ),
    )
    yield web.get(
        f"{BASE}/intent/{{intent_id}}/",
        described(wallets.intent, tag=INTENTS, reply=IntentReply, codes=("intent_not_found",), parameters=(INTENT_ID,)),
    )
    yield web.get(f"{BASE}/wallet/", described(wallets.wallet, tag=WALLET, reply=WalletReply))
    yield web.post(
        f"{BASE}/wallet/topup/",
        described(
            wallets.request_topup,
            tag=WALLET,
            body=TopupBody,
            reply=TopupReply,
            codes=("invalid_amount", "unsupported_currency", "unknown_bank_code", "wallet_suspended"),
        ),
    )
    yield web.get(
        f"{BASE}/wallet/topup/{{intent_id}}/status/",
        described(
            wallets.topup_status, tag=WALLET, reply=TopupStatus, codes=("intent_not_found",), parameters=(INTENT_ID,)
        ),
    )


class WalletApi:
    """One method per endpoint: it returns the body of a 200, or raises RefusedCommand with the code of the error."""

    def __init__(self, api: HubApi, callers: Callers) -> None:
        self._api = api
        self._callers = callers

    async def create_intent(self, request: web.Request) -> BaseModel:
        """Open a payment intent, for the wallet or for an order of the user's own.

        An order is named by `metadata.order_id`; it must be waiting, and cost exactly `amount`.
        """
        user = self._callers.user(request)
        fields = {**await read_object(request), "user_id": user.id, "request_id": None}
        command = read_model(IntentRequested, fields)
        reply = await self._api.command("sepay.intent.requested", command, key=user.id)
        assert isinstance(reply, CreatedIntent)
        return reply

    async def request_topup(self, request: web.Request) -> TopupReply:
        """Ask to put money into the wallet: an order code, and where to transfer the money."""
        user = self._callers.user(request)
        fields = {**await read_object(request), "user_id": user.id, "request_id": None}
        command = read_model(TopupRequested, fields)
        reply = await self._api.command("sepay.topup.requested", command, key=user.id)
        assert isinstance(reply, TopupReply)
        return reply

    async def wallet(self, request: web.Request) -> WalletReply:
        """Look at the wallet; the first look opens it."""
        user = self._callers.user(request)
        wallet = await self._wallet(user.id)
        if wallet is None:
            await self._api.command("sepay.wallet.open", WalletRequested(user_id=user.id), key=user.id)
            wallet = await self._wallet(user.id)
            assert wallet is not None
        return wallet

    async def topup_status(self, request: web.Request) -> BaseModel:
        """Ask how far a top-up is."""
        user = self._callers.user(request)
        async with self._api.reading() as session:
            return _found(await topup_status(session, user.id, _intent_id(request), self._api.clock.now()))

    async def intent(self, request: web.Request) -> BaseModel:
        """Look at one payment intent."""
        user = self._callers.user(request)
        async with self._api.reading() as session:
            return _found(await find_intent(session, user.id, _intent_id(request), self._api.clock.now()))

    async def _wallet(self, user_id: str) -> WalletReply | None:
        async with self._api.reading() as session:
            return await find_wallet(session, user_id)


def _intent_id(request: web.Request) -> UUID:
    return path_id(request, "intent_id", code="intent_not_found", detail="Payment intent not found")


def _found(reply: BaseModel | None) -> BaseModel:
    if reply is None:
        raise RefusedCommand("intent_not_found", "Payment intent not found")
    return reply
