"""The browser's return, as the guide has it: somebody says that a transfer was made. Off unless it is switched on.

A body with SePay's number is a webhook by another road. One without is only a hint: nothing is credited until the bank
statement shows a transfer with the same reference, amount and text, and then under that transfer's own number.
Source: docs/providers/sepay.md, "Callback".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog
from aiohttp import web
from pydantic import ValidationError

from handlers.sepay.bank_values import dong
from handlers.sepay.order_codes import normalise
from handlers.sepay.polling import CALL_S_MAX, POLL_S_MAX, SOURCE, missing_of
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import StatementError, StatementRow
from handlers.sepay.statement_api import StatementApi, Window
from handlers.sepay.transfers import REFERENCE_CHARS_MAX
from handlers.sepay.wallets import settings_of
from hub.calls.outcome import Declined, Outcome, Pending, Settled, Unknown
from hub.capability import calls
from hub.deliver.command import RepeatedCommandError
from hub.errors import NotYet, RetryableError, UnreadableError
from hub.event import Verdict
from hub.flow.priority import Priority
from hub.inbox.received import Received
from hub.ingress.authentication import Request
from hub.ingress.remote import client_address
from hub.jsonbody import parse_json
from schemas.sepay_desk import CallbackReceived

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.deliver.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")

CALLBACK_PATH: Final = "/api/seapay/callback/"
BODY_BYTES_MAX: Final = 65_536
CONFIRM_S_MAX: Final = 6 * 3_600.0
"""How long the bank may take to show the transfer; what comes later comes by the poll."""
UNCONFIRMED: Final = "callback_unconfirmed"


def callback_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The callback; it answers 404 unless ``SEPAY_CALLBACK_ENABLED``."""
    yield web.post(CALLBACK_PATH, CallbackDoor(api).receive)


@dataclass(frozen=True, slots=True)
class CallbackDoor:
    """Takes callbacks in, proven like webhooks and answered like webhooks."""

    api: HubApi

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one callback; 200 only after it is stored."""
        settings: SepaySettings = self.api.settings_of("sepay")
        if not settings.callback_enabled:
            raise web.HTTPNotFound
        # The hub has read the body already, and bounds it; a webhook's bound is lower.
        body = await request.read()
        if len(body) > BODY_BYTES_MAX:
            return _reply(413, "Invalid payload")
        verdict = self._verdict(request, body)
        if verdict is None:
            return _reply(401, "Unauthorized")
        try:
            return await self._store(body, verdict)
        except (UnreadableError, ValidationError, ValueError):
            return _reply(400, "Invalid payload")
        except RetryableError as error:
            log.error("callback_not_stored", error=type(error).__name__)
            return _reply(503, "Temporarily unavailable")

    def _verdict(self, request: web.Request, body: bytes) -> Verdict | None:
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        forwarded_for = request.headers.getall("X-Forwarded-For", [])
        remote = client_address(request.remote or "", forwarded_for, self.api.settings.trusted_proxies)
        asked = Request(method=request.method, path=request.raw_path, headers=headers, body=body, remote=remote)
        return self.api.prove(SOURCE, asked).verdict

    async def _store(self, body: bytes, verdict: Verdict) -> web.Response:
        fields = parse_json(body)
        if isinstance(fields, dict) and "id" not in fields:
            hint = CallbackReceived.model_validate(fields)
            dong(hint.transfer_amount)
            with suppress(RepeatedCommandError):
                await self.api.command("sepay.callback.received", hint, key=None, dedupe_id=name_of(hint))
            return _reply(200)
        (accepted,) = await self.api.accept([Received(source=SOURCE, body=body, verdict=verdict)])
        return _reply(400, "Invalid payload") if accepted.kind == "unreadable" else _reply(200)


@calls("sepay", timeout_s=POLL_S_MAX, priority=Priority.READ)
async def confirm_callback(hint: CallbackReceived, ctx: Context) -> None:
    """Look for the transfer on the bank statement, and accept it from there when it is not known.

    Tried again until it shows, or until its time is over: then it ends as callback_unconfirmed, and nothing is lost,
    for the poll reads the same statement.
    """
    settings = settings_of(ctx)
    if not settings.api_token.get_secret_value():
        ctx.review(UNCONFIRMED, "SEPAY_API_TOKEN is not set: no statement confirms a callback")
        return

    async def look(request: Mapping[str, Any], key: str) -> Outcome:
        since = ctx.event.received_at - timedelta(hours=settings.poll_overlap_hours)
        try:
            rows = await StatementApi(settings).rows(Window(since, ctx.now))
        except StatementError as error:
            return Declined(str(error))
        meant = confirmed_by(hint, rows)
        if not meant:
            return Pending("the statement does not show it")
        async with ctx.reading() as session:
            missing = await missing_of(session, meant)
        return Settled({"missing": [dict(row.body) for row in missing]})

    outcome = await ctx.call("confirm", look, {"name": name_of(hint)}, lookup=look, timeout_s=CALL_S_MAX)
    match outcome:
        case Settled(data=data):
            await ctx.begin()
            for body in data["missing"]:
                await ctx.accept(SOURCE, body)
            ctx.conclude("confirmed")
        case Declined(reason=reason):
            ctx.review("statement_refused", reason)
        case Pending(reason=reason) | Unknown(reason=reason):
            raise NotYet(reason, within_s=CONFIRM_S_MAX, on_deadline=UNCONFIRMED)
        case _:
            assert_never(outcome)


def confirmed_by(hint: CallbackReceived, rows: Sequence[StatementRow]) -> list[StatementRow]:
    """The transfers of the statement that say the same: reference, amount, direction and text."""
    reference = (hint.reference_code or "").strip()[:REFERENCE_CHARS_MAX]
    told = (reference, dong(hint.transfer_amount), hint.transfer_type, normalise(hint.content))
    return [
        row
        for row in rows
        if row.transfer is not None
        and told
        == (
            row.transfer.reference,
            row.transfer.amount_minor,
            row.transfer.direction,
            normalise(row.transfer.text.content),
        )
    ]


def name_of(hint: CallbackReceived) -> str:
    """The identity of a callback without a number: the same words are the same callback."""
    words = (
        hint.account_number or "",
        hint.reference_code or "",
        hint.transfer_type,
        str(dong(hint.transfer_amount)),
        normalise(hint.content),
    )
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _reply(status: int, message: str = "") -> web.Response:
    body = {"success": True} if status == 200 else {"success": False, "message": message}
    return web.json_response(body, status=status, headers={"Retry-After": "5"} if status == 503 else None)
