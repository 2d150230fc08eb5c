"""A bank in a file: every transfer that the sandbox has played, and SePay's transaction list of them over HTTP.

The file is a line of JSON per transfer, the body of its webhook, so that the daemon and the commands beside it see the
same bank. The list answers in both versions as SePay does, mistakes included: an empty text for a wrong token, 429 for
haste. Source: docs/providers/sepay.md, "Reconciliation" and "Sandbox".
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from handlers.sepay.bank_values import bank_time
from hub.event import stable_uuid

REQUESTS_PER_SECOND_MAX: Final = 3
NUMBER_DIGITS_MAX: Final = 19
ROWS_V1_MAX: Final = 5_000
ROWS_V2_DEFAULT, ROWS_V2_MAX = 20, 100


class SandboxBank:
    """The bank's own books: bodies of webhooks, in the order booked."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of_home(cls, home: Path) -> SandboxBank:
        """The bank of a hub's home."""
        return cls(home / "sandbox" / "sepay.jsonl")

    def book(self, *bodies: Mapping[str, Any]) -> None:
        """Book transfers. Each is one line, appended whole, so that two processes may book at once."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(body, ensure_ascii=False) + "\n" for body in bodies)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(text)

    def transfers(self, since: datetime | None = None, until: datetime | None = None) -> list[dict[str, Any]]:
        """The transfers of a time, both ends included, by their number; a test delivery is none."""
        if not self._file.exists():
            return []
        found: dict[int, dict[str, Any]] = {}
        for line in self._file.read_text(encoding="utf-8").splitlines():
            body = json.loads(line)
            booked_at = bank_time(body["transactionDate"])
            if body["id"] and (since is None or since <= booked_at) and (until is None or booked_at <= until):
                found[body["id"]] = body
        return [found[number] for number in sorted(found)]


@dataclass(slots=True)
class TransactionList:
    """SePay's transaction list over HTTP, in both versions, below ``path``."""

    bank: SandboxBank
    token: str
    path: str = ""
    requests_per_second_max: int = REQUESTS_PER_SECOND_MAX
    _asked_at: list[float] = field(default_factory=list)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes of both versions."""
        yield web.get(f"{self.path}/userapi/transactions/list", self.version_1)
        yield web.get(f"{self.path}/v2/transactions", self.version_2)

    async def version_1(self, request: web.Request) -> web.Response:
        """Amounts are text; a wrong token answers 200 with nothing."""
        if self._is_hasty():
            return web.Response(status=429, headers={"x-sepay-userapi-retry-after": "1"})
        if not self._knows(request):
            return web.Response(status=200)
        bodies = self.bank.transfers(_time(request, "transaction_date_min"), _time(request, "transaction_date_max"))
        since_id, limit = _number(request, "since_id", 0), min(_number(request, "limit", ROWS_V1_MAX), ROWS_V1_MAX)
        # The newest come first.
        rows = [_row_v1(body) for body in reversed(bodies) if body["id"] >= since_id][:limit]
        return web.json_response({"status": 200, "error": None, "messages": {"success": True}, "transactions": rows})

    async def version_2(self, request: web.Request) -> web.Response:
        """Ids are UUIDs, amounts numbers; pages of at most 100."""
        if self._is_hasty():
            return web.Response(status=429, headers={"Retry-After": "1"})
        if not self._knows(request):
            return web.json_response({"status": "error", "message": "Unauthorized"}, status=401)
        bodies = self.bank.transfers(_time(request, "transaction_date_from"), _time(request, "transaction_date_to"))
        if request.query.get("transaction_date_sort") != "asc":
            bodies.reverse()
        per_page = max(1, min(_number(request, "per_page", ROWS_V2_DEFAULT), ROWS_V2_MAX))
        page, last = _number(request, "page", 1), max(1, math.ceil(len(bodies) / per_page))
        rows = [_row_v2(body) for body in bodies[(page - 1) * per_page : page * per_page]]
        pagination = {
            "total": len(bodies),
            "per_page": per_page,
            "current_page": page,
            "last_page": last,
            "has_more": page < last,
        }
        return web.json_response({"status": "success", "data": rows, "meta": {"pagination": pagination}})

    def _knows(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").encode()
        return bool(self.token) and hmac.compare_digest(given, f"Bearer {self.token}".encode())

    def _is_hasty(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._asked_at = [at for at in self._asked_at if at > now - 1.0]
        if len(self._asked_at) >= self.requests_per_second_max:
            return True
        self._asked_at.append(now)
        return False


def uuid_of(sepay_tx_id: int) -> UUID:
    """Version 2's name of a transfer."""
    return stable_uuid("sepay sandbox", str(sepay_tx_id))


def _row_v1(body: Mapping[str, Any]) -> dict[str, Any]:
    amount, nothing = f"{Decimal(body['transferAmount']):.2f}", "0.00"
    is_in = body["transferType"] == "in"
    return {
        "id": str(body["id"]),
        "amount_in": amount if is_in else nothing,
        "amount_out": nothing if is_in else amount,
        "accumulated": f"{Decimal(body.get('accumulated') or 0):.2f}",
        "sub_account": body.get("subAccount"),
        "bank_account_id": "1",
        **_common(body),
    }


def _row_v2(body: Mapping[str, Any]) -> dict[str, Any]:
    is_in = body["transferType"] == "in"
    return {
        "id": str(uuid_of(body["id"])),
        "transfer_type": body["transferType"],
        "amount_in": body["transferAmount"] if is_in else 0,
        "amount_out": 0 if is_in else body["transferAmount"],
        "accumulated": body.get("accumulated") or 0,
        "va": body.get("subAccount"),
        "webhook_success": 1,
        **_common(body),
    }


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "bank_brand_name": body.get("gateway"),
        "account_number": body.get("accountNumber"),
        "transaction_date": body["transactionDate"],
        "transaction_content": body.get("content"),
        "reference_number": body.get("referenceCode"),
        "code": body.get("code"),
    }


def _time(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return bank_time(text)
    except ValueError as error:
        raise web.HTTPUnprocessableEntity(text=f"{name}: {error}") from error


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > NUMBER_DIGITS_MAX:
        raise web.HTTPUnprocessableEntity(text=f"{name}: expected a number")
    return int(text)
