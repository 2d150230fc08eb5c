"""The played PayPal's REST API: it checks what the real one checks, and answers in its words.

Source: github.com/paypal/paypal-rest-api-specifications (billing subscriptions v1, notifications v1);
docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, Final, TypeAlias

from aiohttp import web

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.sandbox_book import API_BASE, BookKeeper, Row
from handlers.paypal.sandbox_webhooks import Postman
from handlers.paypal.transmission import NotSignedError, Transmission
from handlers.paypal.trust import is_signed_by
from hub.clock import Clock
from hub.errors import UnreadableError
from hub.event import stable_hash
from hub.jsonbody import parse_json

TOKEN_LIFE_S: Final = 32_400
PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 10, 20
SLOW_S: Final = 3.0
EVENT_MARK: Final = b'"webhook_event":'
LATE_S: Final = 1.0
API_FAULTS: Final = (
    *("429", "429_html", "500", "html", "401", "slow"),
    *("cut_after", "cut_before", "500_after", "late", "duplicate", "stale"),
)
"""What an endpoint can be told to do instead: answer so, take long, or cut the connection after or before the work.

500_after: the work is done, the answer is 500 · late: cut, and the work is done a second later · duplicate: the work is
done twice, as where somebody between repeats a request, and the second answer counts · stale: a search finds nothing.
"""
FAULT: Final = web.RequestKey("fault", str)
"""How a request is to be treated; for endpoints that misbehave in their own way."""

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class SandboxApi:
    """PayPal's API below ``path``; ``base`` is where buyers reach its pages."""

    keeper: BookKeeper
    postman: Postman
    clock: Clock
    client_id: str
    secret: str = field(repr=False)
    path: str = ""
    base: str = ""
    _sending: set[asyncio.Task[Any]] = field(default_factory=set)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """Every endpoint of this part."""
        at = self.path
        yield web.post(f"{at}/v1/oauth2/token", self.played("token", self.token, needs_token=False))
        yield web.get(f"{at}/v1/billing/plans", self.played("plans", self.plans))
        yield web.post(f"{at}/v1/billing/subscriptions", self.played("subscribe", self.subscribe))
        one = f"{at}/v1/billing/subscriptions/{{id}}"
        yield web.get(one, self.played("subscription", self.subscription))
        yield web.get(f"{one}/transactions", self.played("transactions", self.transactions))
        verify = f"{at}/v1/notifications/verify-webhook-signature"
        yield web.post(verify, self.played("verify-webhook", self.verify))
        events = f"{at}/v1/notifications/webhooks-events"
        yield web.get(events, self.played("events", self.events))
        yield web.get(f"{events}/{{id}}", self.played("event", self.event))
        yield web.post(f"{events}/{{id}}/resend", self.played("resend", self.resend))
        yield web.get(f"{at}/v1/notifications/webhooks/{{id}}", self.played("webhook", self.webhook))

    @property
    def now(self) -> datetime:
        return self.clock.now()

    async def token(self, request: web.Request) -> web.Response:
        """A token for the client's credentials."""
        given = base64.b64encode(f"{self.client_id}:{self.secret}".encode())
        basic = request.headers.get("Authorization", "").removeprefix("Basic ").encode()
        if not self.secret or not hmac.compare_digest(basic, given):
            description = "Client Authentication failed"
            return web.json_response({"error": "invalid_client", "error_description": description}, status=401)
        body = {
            "scope": "https://uri.paypal.com/services/subscriptions",
            "access_token": self._valid_token(),
            "token_type": "Bearer",
            "app_id": "APP-SANDBOX",
            "expires_in": TOKEN_LIFE_S,
            "nonce": f"{self.now.isoformat()}sandbox",
        }
        return web.json_response(body)

    async def plans(self, request: web.Request) -> web.Response:
        """One page of the plans."""
        size, page = _whole(request, "page_size", PAGE_SIZE_DEFAULT), _whole(request, "page", 1)
        if not 1 <= size <= PAGE_SIZE_MAX or page < 1:
            return error(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE")
        with self.keeper.opened() as book:
            rows = list(book.plans.values())
        body: Row = {"plans": rows[(page - 1) * size : page * size], "links": []}
        if request.query.get("total_required") == "true":
            body |= {"total_items": len(rows), "total_pages": -(-len(rows) // size)}
        return web.json_response(body)

    async def subscribe(self, request: web.Request) -> web.Response:
        """A new subscription, or the one that this PayPal-Request-Id has made before."""
        asked = await read_json(request)
        context = asked.get("application_context") or {}
        if not isinstance(asked.get("plan_id"), str):
            return error(400, "INVALID_REQUEST", "MISSING_REQUIRED_PARAMETER")
        if not context.get("return_url") or not context.get("cancel_url"):
            return error(400, "INVALID_REQUEST", "MISSING_REQUIRED_PARAMETER")
        request_id = request.headers.get("PayPal-Request-Id", "")
        with self.keeper.opened() as book:
            plan = book.plans.get(asked["plan_id"])
            if plan is None:
                return error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
            if plan["status"] != "ACTIVE":
                return error(422, "UNPROCESSABLE_ENTITY", "PLAN_STATUS_INVALID")
            if "quantity" in asked and not plan["quantity_supported"]:
                return error(422, "UNPROCESSABLE_ENTITY", "SUBSCRIPTION_CANNOT_HAVE_QUANTITY")
            known = book.requests.get(request_id)
            if known is not None:
                return web.json_response(self._created(book.subscriptions[known]), status=200)
            row = deeds.subscribe(book, asked, self.now)
            if request_id:
                book.requests[request_id] = row["id"]
            event = deeds.tell_subscription(book, row, "BILLING.SUBSCRIPTION.CREATED", self.now)
        self.send(event)
        return web.json_response(self._created(row), status=201)

    async def subscription(self, request: web.Request) -> web.Response:
        """A subscription as it is now."""
        with self.keeper.opened() as book:
            row = book.subscriptions.get(request.match_info["id"])
            return web.json_response(row) if row else error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")

    async def transactions(self, request: web.Request) -> web.Response:
        """The payments of a subscription within a time."""
        if not request.query.get("start_time") or not request.query.get("end_time"):
            return error(400, "INVALID_REQUEST", "MISSING_REQUIRED_PARAMETER")
        with self.keeper.opened() as book:
            sales = [sale for sale in book.sales.values() if sale["billing_agreement_id"] == request.match_info["id"]]
        start, end = request.query["start_time"], request.query["end_time"]
        rows = [_transaction(sale) for sale in sales if start <= sale["create_time"] <= end]
        return web.json_response({"transactions": rows, "links": []})

    async def verify(self, request: web.Request) -> web.Response:
        """Whether a delivery is ours: over the bytes of the event as they stand in the request."""
        text = await request.read()
        asked = await read_json(request)
        head, _, rest = text.partition(EVENT_MARK)
        body = rest.removesuffix(b"}")
        status = "FAILURE"
        try:
            transmission = Transmission(
                id=str(asked["transmission_id"]),
                time=str(asked["transmission_time"]),
                cert_url=str(asked["cert_url"]),
                algorithm=str(asked["auth_algo"]),
                signature_text=str(asked["transmission_sig"]),
                body=body,
            )
            is_ours = hmac.compare_digest(str(asked["webhook_id"]).encode(), self.postman.webhook_id.encode())
            message = transmission.message(self.postman.webhook_id)
            signer = self.postman.authority.signer
            if head and is_ours and is_signed_by(signer, transmission.signature(), message):
                status = "SUCCESS"
        except (KeyError, NotSignedError):
            return error(400, "VALIDATION_ERROR", "MISSING_REQUIRED_PARAMETER")
        return web.json_response({"verification_status": status})

    async def events(self, request: web.Request) -> web.Response:
        """The events of a time, newest first."""
        start, end = request.query.get("start_time", ""), request.query.get("end_time", "~")
        size = min(_whole(request, "page_size", 300), 300)
        with self.keeper.opened() as book:
            rows = [body for body in reversed(book.events.values()) if start <= body["create_time"] <= end]
        return web.json_response({"events": rows[:size], "count": len(rows), "links": []})

    async def event(self, request: web.Request) -> web.Response:
        """One event, as it is read back: with its state of delivery, which no delivery has."""
        with self.keeper.opened() as book:
            body = book.events.get(request.match_info["id"])
        if body is None:
            return error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        return web.json_response({**body, "status": "SUCCESS", "transmissions": []})

    async def resend(self, request: web.Request) -> web.Response:
        """Deliver an event again."""
        with self.keeper.opened() as book:
            body = book.events.get(request.match_info["id"])
        if body is None:
            return error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        self.send(body)
        return web.json_response(body, status=202)

    async def webhook(self, request: web.Request) -> web.Response:
        """Our webhook as it is registered."""
        if request.match_info["id"] != self.postman.webhook_id:
            return error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        body = {"id": self.postman.webhook_id, "url": self.postman.url, "event_types": [{"name": "*"}]}
        return web.json_response(body)

    def send(self, body: Row) -> None:
        """Deliver an event in the background, as badly as the next fault of webhooks says."""
        with self.keeper.opened() as book:
            fault = book.take_fault("webhook")
        task = asyncio.create_task(self.postman.deliver_until_taken(body, fault["kind"] if fault else None))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def sent(self) -> None:
        """Wait until nothing is being delivered."""
        if self._sending:
            await asyncio.wait(self._sending)

    def _work_late(self, endpoint: Endpoint, request: web.Request) -> None:
        """Do what was asked when its sender has given up; its body was read before."""

        async def work() -> None:
            await asyncio.sleep(LATE_S)
            await endpoint(request)

        task = asyncio.create_task(work())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _created(self, row: Row) -> Row:
        token = approval_token(row["id"])
        approve = f"{self.base}{self.path}/approve?subscription={row['id']}&ba_token={token}"
        link = f"{API_BASE}/v1/billing/subscriptions/{row['id']}"
        links = [
            # Not the first: whoever takes a link by its place is wrong.
            {"href": link, "rel": "self", "method": "GET"},
            {"href": link, "rel": "edit", "method": "PATCH"},
            {"href": approve, "rel": "approve", "method": "GET"},
        ]
        return {"id": row["id"], "status": row["status"], "create_time": row["create_time"], "links": links}

    def _valid_token(self) -> str:
        return "A21." + hmac.new(self.secret.encode(), self.client_id.encode(), hashlib.sha256).hexdigest()

    def played(self, place: str, endpoint: Endpoint, *, needs_token: bool = True) -> Endpoint:
        """The endpoint behind the token, misbehaving when it is told to."""

        @wraps(endpoint)
        async def answer(request: web.Request) -> web.StreamResponse:
            with self.keeper.opened() as book:
                fault = book.take_fault(place)
            kind = fault["kind"] if fault else ""
            bad = misbehave(kind)
            if bad is not None:
                return bad
            if kind == "cut_before":
                return _cut(request)
            given = request.headers.get("Authorization", "").encode()
            if needs_token and not hmac.compare_digest(given, f"Bearer {self._valid_token()}".encode()):
                body = {"error": "invalid_token", "error_description": "Token signature verification failed"}
                return web.json_response(body, status=401)
            request[FAULT] = kind
            if kind == "late":
                await request.read()
                self._work_late(endpoint, request)
                return _cut(request)
            if kind == "slow":
                await asyncio.sleep(SLOW_S)
            response = await endpoint(request)
            match kind:
                case "duplicate":
                    return await endpoint(request)
                case "cut_after":
                    return _cut(request)
                case "500_after":
                    return error(500, "INTERNAL_SERVER_ERROR", "INTERNAL_SERVICE_ERROR")
                case _:
                    return response

        return answer


def misbehave(kind: str) -> web.Response | None:
    """The answer of an endpoint that was told to fail; None where it is not the answer that is wrong."""
    match kind:
        case "429":
            return error(429, "RATE_LIMIT_REACHED", "RATE_LIMIT_REACHED", headers={"Retry-After": "1"})
        case "429_html":
            text = "<html><body>429 Too Many Requests</body></html>"
            return web.Response(status=429, text=text, content_type="text/html")
        case "500":
            return error(500, "INTERNAL_SERVER_ERROR", "INTERNAL_SERVICE_ERROR")
        case "html":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        case "401":
            return web.json_response({"error": "invalid_token", "error_description": "expired"}, status=401)
        case _:
            return None


def error(status: int, name: str, issue: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error in PayPal's shape."""
    body = {"name": name, "message": name, "debug_id": "sandbox0000001", "details": [{"issue": issue}], "links": []}
    return web.json_response(body, status=status, headers=headers)


def approval_token(subscription_id: str) -> str:
    """What a buyer's link shows, so that nobody approves by guessing a number."""
    return "BA-" + stable_hash("approval", subscription_id).hex()[:17].upper()


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _transaction(sale: Row) -> Row:
    amount = sale["amount"]
    gross = {"value": amount["total"], "currency_code": amount["currency"]}
    breakdown: Row = {"gross_amount": gross}
    if "transaction_fee" in sale:
        fee = sale["transaction_fee"]
        breakdown["fee_amount"] = {"value": fee["value"], "currency_code": fee["currency"]}
    status = "DECLINED" if sale["state"] == "denied" else sale["state"].upper()
    return {"id": sale["id"], "status": status, "amount_with_breakdown": breakdown, "time": sale["create_time"]}


def _whole(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


async def read_json(request: web.Request) -> Mapping[str, Any]:
    """The members of a body; none where it is no JSON object."""
    try:
        body = parse_json(await request.read())
    except UnreadableError:
        return {}
    return body if isinstance(body, dict) else {}
