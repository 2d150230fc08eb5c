"""Plays SePay and the bank behind it against a running hub, and reads what became of the money."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
from sqlalchemy import Row, Table, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.books import SALES, SUSPENSE, wallet_account
from hub.ledger.read import list_accounts
from hub.operate.equation import check
from hub.store import tables as t
from tests.support.running import WEBHOOK_KEY, RunningHub

WEBHOOK = "/webhooks/sepay"
API = "/api/seapay"
MAIN_ACCOUNT, VIRTUAL_ACCOUNT = "8880000001", "96247TEST1"
ACCOUNTS = json.dumps([{"bank_code": "BIDV", "account_number": MAIN_ACCOUNT, "va": VIRTUAL_ACCOUNT}])
REVIEW_QUEUE, WALLET_QUEUE, LOYALTY_QUEUE = "sepay.needs_review", "wallet.platform", "loyalty.platform"
SHOP_QUEUE = "shop.platform"

Entity = TypeVar("Entity")


class Bank:
    """One running hub as its bank, its users and its operators see it."""

    def __init__(self, running: RunningHub) -> None:
        self.running = running

    async def deliver(
        self, payload: Mapping[str, Any] | bytes, *, path: str = WEBHOOK, authorization: str = f"Apikey {WEBHOOK_KEY}"
    ) -> tuple[int, Any]:
        """Send one webhook; answers with the status and the JSON of the reply."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
        return await self.running.post(path, body, **headers)

    async def call(
        self, method: str, path: str, body: object = None, *, user: str = "42", token: str = ""
    ) -> tuple[int, Any]:
        """Use the wallet's API as ``user``, or with this token; an empty user brings none."""
        headers = {"Authorization": f"Bearer {token or self.running.token(user)}"} if user else {}
        url = self.running.url + API + path
        async with self.running.http.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def settled(self) -> None:
        await self.running.settled()

    async def entities(self, entity: type[Entity]) -> list[Entity]:
        """All rows of a table of the capability."""
        async with self.running.hub.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            return list((await session.scalars(select(entity))).all())

    async def rows(self, table: Table) -> list[Row[Any]]:
        return await self.running.rows(table)

    async def rows_of_source(self, source: str) -> list[Row[Any]]:
        """The accepted events of one source, in order."""
        query = select(t.inbox).where(t.inbox.c.source == source).order_by(t.inbox.c.seq)
        async with self.running.hub.store.reading() as conn:
            return list(await conn.execute(query))

    async def balances(self) -> dict[str, int]:
        """Every account of the ledger with its balance, in dong."""
        async with self.running.hub.store.reading() as conn:
            return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}

    async def wallet_balance(self, wallet_id: UUID) -> int:
        return (await self.balances()).get(wallet_account(wallet_id).code, 0)

    async def suspense(self) -> int:
        return (await self.balances()).get(SUSPENSE.code, 0)

    async def outcomes(self, route: str) -> list[str]:
        """How the deliveries of a route ended, in order."""
        query = (
            select(t.deliveries.c.outcome)
            .join(t.routes, t.routes.c.id == t.deliveries.c.route_id)
            .where(t.routes.c.name == route)
            .order_by(t.deliveries.c.id)
        )
        async with self.running.hub.store.reading() as conn:
            return list(await conn.scalars(query))

    async def messages(self, queue: str) -> list[Any]:
        """The bodies in a queue."""
        return [json.loads(row.payload) for row in await self.running.queue(queue)]

    async def assert_no_money_appeared_or_vanished(self) -> None:
        """What is at the bank is owed to wallets, was earned, or waits in suspense; everything is accounted for."""
        balances = await self.balances()
        at_bank = sum(amount for code, amount in balances.items() if code.startswith("sepay:bank:"))
        in_wallets = sum(amount for code, amount in balances.items() if code.startswith("sepay:wallet:"))
        assert at_bank == in_wallets + balances.get(SALES.code, 0) + balances.get(SUSPENSE.code, 0)
        async with self.running.hub.store.reading() as conn:
            signed = "SUM(CASE side WHEN 'debit' THEN amount ELSE -amount END)"
            total = await conn.scalar(text(f"SELECT COALESCE({signed}, 0) FROM postings"))
        assert total == 0
        assert (await check(self.running.hub.store)).violations == ()


def transfer(content: str, amount: object = 100_000, *, id: object = 123456789, **fields: object) -> dict[str, Any]:
    """A webhook body as SePay sends it for BIDV."""
    return {
        "id": id,
        "gateway": "BIDV",
        "transactionDate": "2024-11-15 09:35:00",
        "accountNumber": VIRTUAL_ACCOUNT,
        "subAccount": "",
        "code": None,
        "content": content,
        "transferType": "in",
        "transferAmount": amount,
        "referenceCode": f"FT{id}",
        "description": "Transfer",
        "accumulated": 0,
        **fields,
    }


async def one_connection_each(bank: Bank, bodies: list[bytes]) -> list[int]:
    """Send all bodies at the same time, each over a connection of its own; answers with the statuses."""

    async def send(http: aiohttp.ClientSession, body: bytes) -> int:
        headers = {"Content-Type": "application/json", "Authorization": f"Apikey {WEBHOOK_KEY}"}
        async with http.post(bank.running.url + WEBHOOK, data=body, headers=headers) as response:
            return response.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        return await asyncio.gather(*(send(http, body) for body in bodies))
