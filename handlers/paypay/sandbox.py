"""A PayPay of our own: verifies every call as PayPay does, keeps its books, notifies, and misbehaves on demand.

Begin with ``Sandbox``. It is served by the hub itself under ``HUB_SANDBOX`` (``embedded_routes``) and alone by ``hub
sandbox paypay``. What people and tests do to it (log in, pay a code, order a fault) is in ``sandbox_admin.py``.

Source: docs/providers/paypay.md, "Sandbox".
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from aiohttp import web

from handlers.paypay.auth import CLOCK_S_MAX, SignedRequest, proven_key
from handlers.paypay.sandbox_books import Books, Cashback, Payment, Reversal, User
from handlers.paypay.sandbox_cashback import CashbackDesk, Timing
from handlers.paypay.sandbox_faults import AFTER, BEFORE, Faults, Luck
from handlers.paypay.sandbox_notices import (
    CALLBACK_PATH,
    WEBHOOK_PATH,
    Notices,
    cashback_notice,
    payment_notice,
    reversal_notice,
    revoked_notice,
)
from handlers.paypay.sandbox_payments import PaymentDesk
from handlers.paypay.sandbox_replies import Refusal, Reply, reply_of
from hub.errors import UnreadableError
from hub.jsonbody import parse_json

BODY_BYTES_MAX: Final = 64 * 1024
HTML: Final = "<html><body>Bad Gateway</body></html>"
SLOWLY: Final = 10.0
HANG_STEP_S: Final = 0.1
STATUS_OF_FAULT: Final[Mapping[str, int]] = {
    "html-502": 502,
    "html-503": 503,
    "html-504": 504,
    "html-502-after-commit": 502,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the sandbox is started with. ``rate_per_s_max`` 0 and ``wallet_jpy`` None = no limit; times in seconds."""

    api_key: str
    api_secret: str
    merchant: str
    prefix: str = ""
    hub_url: str = ""
    file: Path | None = None
    latency_s: float = 0.0
    hang_s: float = 60.0
    late_s: float = 30.0
    shows_s: float = 0.0
    decides_s: float = 1.0
    wallet_jpy: int | None = None
    refunds_max: int = 1
    rate_per_s_max: int = 0
    strict_nonce: bool = False
    chances: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call that proved its sender. ``ids`` are what its path names."""

    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    now: float
    luck: Luck
    base: str

    @property
    def fails(self) -> bool:
        return self.luck.decision == "failure"

    @property
    def slowly(self) -> float:
        return SLOWLY if self.luck.decision == "slow-decision" else 1.0


Serve: TypeAlias = Callable[[Call], Reply]
_ID: Final = r"([^/]+)"


class Sandbox:
    """The whole stand-in. ``clock`` gives epoch seconds; tests choose it."""

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        timing = Timing(shows_s=options.shows_s, decides_s=options.decides_s)
        self.options = options
        self.clock = clock
        self.books = Books(options.file)
        self.faults = Faults(dict(options.chances), options.seed)
        self.notices = Notices(options.hub_url, options.late_s)
        self.cashbacks = CashbackDesk(
            self.books, merchant=options.merchant, wallet_jpy=options.wallet_jpy, timing=timing, new_id=_new_id
        )
        self.payments = PaymentDesk(
            self.books, self.cashbacks, timing=timing, new_id=_new_id, refunds_max=options.refunds_max
        )
        self.calls = 0
        self.calls_in_flight_most = 0
        self.refused = 0
        self._in_flight = 0
        self._timing = timing
        self._nonces: dict[tuple[str, str, str], float] = {}
        self._called_at: list[float] = []
        self._table = self._served()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """PayPay's own paths, below the prefix."""
        yield web.route("*", self.options.prefix + "/{tail:v[12]/.*}", self.answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One call of PayPay's API, as its luck will have it."""
        self._in_flight += 1
        self.calls += 1
        self.calls_in_flight_most = max(self.calls_in_flight_most, self._in_flight)
        try:
            return await self._answer(request)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        path = request.rel_url.raw_path.removeprefix(self.options.prefix)
        if not self._is_proven(request, path, raw):
            self.refused += 1
            return _response(reply_of("unauthorized"), request)
        if self._is_hasty():
            return _response(reply_of("busy"), request)
        if self.options.latency_s:
            await asyncio.sleep(self.options.latency_s)
        luck = self.faults.of(path, is_read=request.method == "GET")
        if luck.answer in BEFORE:
            return await self._misbehave(luck.answer, request, None)
        reply = self._reply(request, path, raw, luck)
        if luck.answer in AFTER and reply.http_status < 300:
            return await self._misbehave(luck.answer, request, reply)
        return _response(reply, request)

    def _reply(self, request: web.Request, path: str, raw: bytes, luck: Luck) -> Reply:
        method = request.method
        for served_method, pattern, serve in self._table:
            found = pattern.fullmatch(path)
            if served_method != method or found is None:
                continue
            try:
                base = f"{request.scheme}://{request.host}{self.options.prefix}"
                call = Call(found.groups(), request.query, _body(raw), self.clock(), luck, base)
                if luck.read == "not-found":
                    raise Refusal("no_cashback")
                return serve(call)
            except Refusal as refusal:
                return refusal.reply
        return reply_of("invalid")

    def _served(self) -> list[tuple[str, re.Pattern[str], Serve]]:
        cashbacks, payments = self.cashbacks, self.payments
        table: list[tuple[str, str, Serve]] = [
            ("POST", "/v1/qr/sessions", lambda c: cashbacks.link(c.body, c.now, lambda id: f"{c.base}/link/{id}")),
            (
                "GET",
                "/v2/user/authorizations",
                lambda c: cashbacks.authorization(c.query.get("userAuthorizationId", ""), c.now),
            ),
            ("DELETE", f"/v2/user/authorizations/{_ID}", self._unlink),
            ("POST", "/v2/cashback", self._give),
            ("GET", f"/v2/cashback/{_ID}", lambda c: self._stale(cashbacks.read(c.ids[0], c.now), c)),
            ("POST", "/v2/cashback_reversal", self._reverse),
            (
                "GET",
                f"/v2/cashback_reversal/{_ID}/{_ID}",
                lambda c: self._stale(cashbacks.read_reversal(c.ids[0], c.ids[1], c.now), c),
            ),
            ("POST", "/v2/codes", lambda c: payments.create_code(c.body, c.now, lambda id: f"{c.base}/pay/{id}")),
            ("GET", f"/v2/codes/payments/{_ID}", lambda c: payments.code_payment(c.ids[0], c.now)),
            ("DELETE", f"/v2/codes/{_ID}", lambda c: payments.delete_code(c.ids[0])),
            ("POST", "/v2/payments", lambda c: self._pay(c, is_authorization=False)),
            ("POST", "/v2/payments/preauthorize", lambda c: self._pay(c, is_authorization=True)),
            ("POST", "/v2/payments/preauthorize/revert", lambda c: payments.revert(c.body, c.now)),
            ("POST", "/v2/payments/capture", self._capture),
            ("GET", f"/v2/payments/{_ID}", lambda c: payments.read(c.ids[0], c.now)),
            ("DELETE", f"/v2/payments/{_ID}", lambda c: payments.cancel(c.ids[0], c.now)),
            ("POST", "/v2/refunds/?", lambda c: payments.refund(c.body, c.now, slowly=c.slowly)),
            (
                "GET",
                f"/v2/refunds/{_ID}",
                lambda c: payments.read_refund(c.ids[0], c.query.get("paymentId", ""), c.now),
            ),
        ]
        return [(method, re.compile(pattern), serve) for method, pattern, serve in table]

    def _give(self, call: Call) -> Reply:
        reply = self.cashbacks.give(call.body, call.now, fails=call.fails, slowly=call.slowly)
        given = self.books.find(Cashback, call.body["merchantCashbackId"])
        assert given is not None
        self._tell(CALLBACK_PATH, cashback_notice(given), call)
        return reply

    def _reverse(self, call: Call) -> Reply:
        reply = self.cashbacks.reverse(call.body, call.now, fails=call.fails, slowly=call.slowly)
        taken = self.books.find(Reversal, call.body["merchantCashbackReversalId"])
        assert taken is not None
        self._tell(CALLBACK_PATH, reversal_notice(taken), call)
        return reply

    def _unlink(self, call: Call) -> Reply:
        reply = self.cashbacks.unlink(call.ids[0])
        user = self.books.find(User, call.ids[0])
        assert user is not None
        self.notices.tell(WEBHOOK_PATH, revoked_notice(user, call.now), fault=call.luck.notice)
        return reply

    def _pay(self, call: Call, *, is_authorization: bool) -> Reply:
        reply = self.payments.create(call.body, call.now, is_authorization=is_authorization, fails=call.fails)
        self.tell_payment(call.body["merchantPaymentId"], fault=call.luck.notice)
        return reply

    def _capture(self, call: Call) -> Reply:
        reply = self.payments.capture(call.body, call.now)
        self.tell_payment(call.body["merchantPaymentId"], fault=call.luck.notice)
        return reply

    def tell_payment(self, id: str, *, fault: str = "") -> None:
        """Notify what became of a payment."""
        payment = self.books.find(Payment, id)
        if payment is not None:
            state = self.payments.status(payment, self.clock())
            paid_at = datetime.fromtimestamp(payment.accepted_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = payment_notice(payment, state, self.options.merchant, paid_at if state == "COMPLETED" else None)
            self.notices.tell(WEBHOOK_PATH, body, fault=fault)

    def _tell(self, path: str, body: Mapping[str, Any], call: Call) -> None:
        self.notices.tell(path, body, delay_s=self._timing.decides_s * call.slowly, fault=call.luck.notice)

    def _stale(self, reply: Reply, call: Call) -> Reply:
        if call.luck.read != "stale-read":
            return reply
        data = {**reply.body["data"], "status": "ACCEPTED"}
        return Reply(reply.http_status, {**reply_of("accepted").body, "data": data})

    async def _misbehave(self, fault: str, request: web.Request, reply: Reply | None) -> web.StreamResponse:
        """Answer wrongly, or not at all."""
        if fault.startswith(("timeout", "reset")):
            await self._hang(request, self.options.hang_s if fault.startswith("timeout") else 0.0)
            return web.Response(status=500)
        if fault.startswith("html"):
            return web.Response(status=STATUS_OF_FAULT[fault], text=HTML, content_type="text/html")
        if fault == "no-result-info":
            return web.json_response({"data": None}, status=reply.http_status if reply is not None else 200)
        names = {"busy-429": "busy", "maintenance": "maintenance", "maintenance-after-commit": "maintenance"}
        return _response(reply_of(names.get(fault, "internal")), request)

    async def _hang(self, request: web.Request, hang_s: float) -> None:
        """Say nothing for a while, unless the caller leaves; then cut the connection."""
        transport = request.transport
        for _ in range(round(hang_s / HANG_STEP_S)):
            if transport is None or transport.is_closing():
                return
            await asyncio.sleep(HANG_STEP_S)
        if transport is not None:
            transport.abort()

    def _is_proven(self, request: web.Request, path: str, raw: bytes) -> bool:
        if len(raw) > BODY_BYTES_MAX:
            return False
        signed = SignedRequest(
            method=request.method, path=path, content_type=request.headers.get("Content-Type", ""), body=raw
        )
        options, now = self.options, self.clock()
        secrets = {options.api_key: options.api_secret} if options.api_key and options.api_secret else {}
        proven = proven_key(request.headers.get("Authorization"), signed, secrets=secrets, now=now)
        if proven is None:
            return False
        if not options.strict_nonce:
            return True
        self._nonces = {one: at for one, at in self._nonces.items() if at > now - 2 * CLOCK_S_MAX}
        if proven in self._nonces:
            return False
        self._nonces[proven] = now
        return True

    def _is_hasty(self) -> bool:
        if not self.options.rate_per_s_max:
            return False
        now = time.monotonic()
        self._called_at = [at for at in self._called_at if at > now - 1.0]
        if len(self._called_at) >= self.options.rate_per_s_max:
            return True
        self._called_at.append(now)
        return False


def _response(reply: Reply, request: web.Request) -> web.Response:
    request_id = request.headers.get("X-REQUEST-ID", "")[:64]
    headers = {"X-REQUEST-ID": request_id} if re.fullmatch(r"[A-Za-z0-9-]+", request_id) else {}
    text = json.dumps(reply.body, ensure_ascii=False)
    return web.Response(status=reply.http_status, text=text, content_type="application/json", headers=headers)


def _body(raw: bytes) -> Mapping[str, Any]:
    if not raw:
        return {}
    try:
        parsed = parse_json(raw)
    except UnreadableError:
        raise Refusal("invalid") from None
    if not isinstance(parsed, dict):
        raise Refusal("invalid")
    return parsed


def _new_id() -> str:
    return str(uuid.uuid4())
