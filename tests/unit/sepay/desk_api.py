"""Stands in for the hub's API: commands run on the desk, and the token is the user's id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay import capability
from hub.errors import StoreUnavailableError
from hub.ingress.tokens import RefusedError, User
from hub.settings import Settings
from tests.unit.sepay.bench import release
from tests.unit.sepay.desk import Desk

COMMANDS = {
    "sepay.topup.requested": "request_topup",
    "sepay.wallet.open": "open_wallet",
    "sepay.wallet.suspend": "suspend_wallet",
    "sepay.wallet.activate": "activate_wallet",
}


class DeskApi:
    """What the capability's HTTP and command line use of the hub."""

    def __init__(self, desk: Desk, home: Path | None = None) -> None:
        self.desk = desk
        self.settings = Settings() if home is None else Settings(home=home)
        self.is_down = False

    @property
    def clock(self) -> DeskApi:
        return self

    def now(self) -> datetime:
        return self.desk.now

    def settings_of(self, capability: str) -> object:
        return self.desk.settings

    def user(self, request: web.Request) -> User:
        word, _, token = request.headers.get("Authorization", "").partition(" ")
        if word != "Bearer" or not token:
            raise RefusedError(401, "no token")
        return User(token)

    async def command(self, type_: str, payload: BaseModel, *, key: str | None) -> object:
        if self.is_down:
            raise StoreUnavailableError("down")
        caused = await self.desk.run(capability.handlers[COMMANDS[type_]], payload)
        for emitted, message in caused.emitted:
            if emitted == "sepay.transfer.held_released":
                await release(self.desk, message)
        return caused.result

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with self.desk.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            yield session
