"""How the sandbox's PayPay notifies: unsigned, again when nobody thanks it, sometimes twice, late, early or not at all.

Source: docs/providers/paypay.md, "Notifications" and "Sandbox".
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp.client
import structlog

from handlers.paypay.sandbox_books import FAILURE, SUCCESS, Cashback, Payment, Reversal, User

SEND_S_MAX: Final = 2.0
RETRY_WAITS_S: Final = (0.1, 0.1, 0.1)
"""PayPay's three retries."""
COPIES: Final = 3
WAITING_MAX: Final = 20_000
CALLBACK_PATH: Final = "/api/v1/paypay/cashback/callback"
WEBHOOK_PATH: Final = "/api/v1/paypay/webhook"
_OPPOSITE: Final = {SUCCESS: FAILURE, FAILURE: SUCCESS}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Notices:
    """Sends notifications to a hub; ``hub_url`` "" = to nobody."""

    hub_url: str
    late_s: float = 30.0
    sent: int = 0
    thanked: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def tell(self, path: str, body: Mapping[str, Any], *, delay_s: float = 0.0, fault: str = "") -> None:
        """Send a notification after a while, as the fault will have it."""
        if not self.hub_url or fault == "notice-lost" or len(self._tasks) >= WAITING_MAX:
            return
        if fault == "notice-contradictory" and "status" in body:
            body = {**body, "status": _OPPOSITE.get(body["status"], FAILURE)}
        if fault == "notice-late":
            delay_s += self.late_s
        elif fault == "notice-early":
            delay_s = 0.0
        copies = COPIES if fault == "notice-duplicate" else 1
        task = asyncio.get_running_loop().create_task(self._send(path, body, delay_s, copies))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Send nothing more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, path: str, body: Mapping[str, Any], delay_s: float, copies: int) -> None:
        await asyncio.sleep(delay_s)
        data = json.dumps(body).encode()
        timeout = aiohttp.ClientTimeout(total=SEND_S_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for _ in range(copies):
                await self._send_until_thanked(http, self.hub_url + path, data)

    async def _send_until_thanked(self, http: aiohttp.ClientSession, url: str, data: bytes) -> None:
        for wait_s in (*RETRY_WAITS_S, None):
            self.sent += 1
            try:
                async with http.post(url, data=data, headers={"Content-Type": "application/json"}) as response:
                    if response.status == 200:
                        self.thanked += 1
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        log.debug("sandbox_notice_dropped")


def cashback_notice(cashback: Cashback) -> dict[str, Any]:
    """The result of a gift. PayPay has not published this body; it is one that has been seen."""
    return {
        "notification_type": "Cashback",
        "merchantCashbackId": cashback.id,
        "cashbackId": cashback.number,
        "status": cashback.decision,
    }


def reversal_notice(reversal: Reversal) -> dict[str, Any]:
    """The result of a reversal."""
    return {
        "notification_type": "Cashback",
        "merchantCashbackReversalId": reversal.id,
        "merchantCashbackId": reversal.cashback,
        "status": reversal.decision,
    }


def linked_notice(user: User, nonce: str, now: float) -> dict[str, Any]:
    """A user agreed; the type is misspelt as PayPay misspells it."""
    return {
        "notification_type": "customer.authroization.succeeded",
        "notification_id": str(uuid.uuid4()),
        "createdAt": str(int(now)),
        "referenceId": user.reference_id,
        "nonce": nonce,
        "scopes": ",".join(user.scopes),
        "userAuthorizationId": user.id,
        "profileIdentifier": "*******1234",
        "expiry": user.expires_at,
    }


def declined_notice(reference_id: str, nonce: str, now: float) -> dict[str, Any]:
    """A user did not agree."""
    return {
        "notification_type": "customer.authroization.failed",
        "notification_id": str(uuid.uuid4()),
        "createdAt": str(int(now)),
        "referenceId": reference_id,
        "nonce": nonce,
        "result": "declined",
    }


def revoked_notice(user: User, now: float) -> dict[str, Any]:
    """An authorization was ended."""
    return {
        "notification_type": "customer.authroization.revoked",
        "notification_id": str(uuid.uuid4()),
        "createdAt": str(int(now)),
        "userAuthorizationId": user.id,
        "referenceId": user.reference_id,
    }


def payment_notice(payment: Payment, state: str, merchant: str, paid_at: str | None) -> dict[str, Any]:
    """What became of a payment. The amount is text, as in PayPay's own samples."""
    return {
        "notification_type": "Transaction",
        "merchant_id": merchant,
        "store_id": None,
        "pos_id": None,
        "order_id": payment.payment_id,
        "merchant_order_id": payment.id,
        "authorized_at": None,
        "expires_at": None,
        "paid_at": paid_at,
        "order_amount": str(payment.amount_jpy),
        "state": state,
    }


def file_notice(path: str, now: float) -> dict[str, Any]:
    """A transaction file can be fetched."""
    return {
        "notification_type": "file.created",
        "notification_id": str(uuid.uuid4()),
        "fileType": "transaction_recon",
        "path": path,
        "requestedAt": str(int(now)),
    }
