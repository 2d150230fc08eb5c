"""The shop's API: plans, and subscribing a buyer. For a shop's backend, under its API key.

Errors are RFC 9457 problems with ``field`` or ``issue``. Source: docs/providers/paypal.md, "HTTP API".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import select

from handlers.paypal.accounts import UnknownAccountError
from handlers.paypal.asking import in_turns
from handlers.paypal.events import is_id
from handlers.paypal.office import office_of
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.subscribing import account_name, is_domestic
from handlers.paypal.subscription_view import subscription_view
from handlers.paypal.tables import PLANS, PaypalPlanChange, PaypalSubscriptionRequest
from hub.apidoc import Operation, Parameter, documented
from hub.errors import RetryableError, UnreadableError
from hub.event import Verdict, stable_hash
from hub.inbox.identity import identity_hash
from hub.inbox.received import Received
from hub.ingress.problems import CONTENT_TYPE, problem
from hub.ingress.tokens import Role
from hub.jsonbody import parse_json
from hub.store.tables import identities, inbox
from schemas.paypal import PlanList, SubscriptionBody, SubscriptionCreated, SubscriptionRequested, SubscriptionView

if TYPE_CHECKING:
    from hub.api import HubApi

BASE: Final = "/api/paypal"
NO_ACCOUNT: Final = "expected one of HUB_PAYPAL_ACCOUNTS, or none"
SOURCE: Final = "paypal-commands"
REQUESTED_TYPE: Final = "paypal.subscription.requested"
WAIT_S_MAX: Final = 25.0
LOOK_EVERY_S: Final = 0.05
RETRY_AFTER_S: Final = 5
SAME_WITHIN_S: Final = 600
KEY_CHARS_MAX: Final = 255
TAG: Final = "PayPal subscriptions"

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[BaseModel | web.Response]]
Responder: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


class Problem(BaseModel):
    """RFC 9457. ``field`` names what is wrong in the request, ``issue`` what PayPal says."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str | None = None
    field: str | None = None
    issue: str | None = None


def routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The API and its historic paths."""
    shop = ShopApi(api)
    plans = _described(
        shop.plans,
        PlanList,
        {400: "the query is wrong: `field`", 503: "PayPal cannot be asked now"},
        parameters=(
            Parameter(name="status", schema={"type": "string", "enum": ["all"]}),
            Parameter(name="account", description="One of HUB_PAYPAL_ACCOUNTS; unset: the main one."),
        ),
    )
    subscribe = _described(
        shop.subscribe,
        SubscriptionCreated,
        {
            400: "the body is wrong: `field`",
            422: "PayPal refuses: `issue`; or the Idempotency-Key came with another body",
            503: "not decided yet: send the same request again",
        },
        body=SubscriptionBody,
        parameters=(Parameter(name="Idempotency-Key", place="header"),),
    )
    show = _described(
        shop.show,
        SubscriptionView,
        {404: "no such subscription"},
        parameters=(Parameter(name="subscription_id", place="path"),),
    )
    yield web.get(f"{BASE}/plans", plans)
    yield web.get("/plans/list", plans)
    yield web.post(f"{BASE}/subscriptions", subscribe)
    yield web.post("/subscription/create", subscribe)
    yield web.get(f"{BASE}/subscriptions/{{subscription_id}}", show)


class ShopApi:
    """One method per endpoint: it returns the body of a 200, or a problem."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    @property
    def _settings(self) -> PaypalSettings:
        settings: PaypalSettings = self._api.settings_of("paypal")
        return settings

    async def plans(self, request: web.Request) -> BaseModel | web.Response:
        """List the plans that can be subscribed to; `status=all` lists the others, too."""
        self._api.holder(request, Role.CLIENT)
        settings = self._account(request.query.get("account", ""))
        if settings is None:
            return problem(400, NO_ACCOUNT, field="account")
        status = request.query.get("status", "")
        if status not in ("", "all"):
            return problem(400, "expected status=all, or none", field="status")
        async with self._api.reading() as session:
            change = await session.get(PaypalPlanChange, PLANS)
        found = await office_of(settings).plans.listed(
            in_turns(self._api, settings),
            self._api.clock.now(),
            changed_at=change.changed_at if change else None,
            is_all=status == "all",
        )
        return PlanList(plans=found, total_items=len(found))

    async def subscribe(self, request: web.Request) -> BaseModel | web.Response:
        """Make a subscription; the buyer approves it on the page at `approval_url`.

        The same request within ten minutes, or under the same Idempotency-Key, gives the same subscription.
        """
        holder = self._api.holder(request, Role.CLIENT)
        key = request.headers.get("Idempotency-Key", "").strip()
        if len(key) > KEY_CHARS_MAX or not key.isascii():
            # Other bytes have come as half characters, which cannot be written again.
            return problem(400, f"expected at most {KEY_CHARS_MAX} ASCII characters", field="Idempotency-Key")
        fields = parse_json(await request.read())
        try:
            body = SubscriptionBody.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "give_name"
            return problem(400, f"{field}: {first['msg']}", field=field)
        if self._account(body.account or "") is None:
            return problem(400, NO_ACCOUNT, field="account")
        if is_domestic(body.payer_country, self._settings):
            detail = "PayPal does not process payments between two accounts in Taiwan"
            return problem(422, detail, issue="domestic_not_supported")
        request_id = self._own_id(holder.name, key) if key else await self._same_soon(holder.name, body)
        command = SubscriptionRequested(**body.model_dump(), request_id=request_id)
        return await self._asked(command, has_key=bool(key))

    def _account(self, name: str) -> PaypalSettings | None:
        """The settings of the account that a caller names; the main one where none is named."""
        try:
            return self._settings.account(account_name(name))
        except UnknownAccountError:
            return None

    async def show(self, request: web.Request) -> BaseModel | web.Response:
        """Look at a subscription: its status, its last payment, and the invoice of that."""
        self._api.holder(request, Role.CLIENT)
        subscription_id = request.match_info["subscription_id"]
        if not is_id(subscription_id):
            # No database stores such a text, and some do not take it in a question.
            return problem(404, "there is no such subscription")
        async with self._api.reading() as session:
            view = await subscription_view(session, subscription_id)
        return view if view is not None else problem(404, "there is no such subscription")

    async def _asked(self, command: SubscriptionRequested, *, has_key: bool) -> BaseModel | web.Response:
        """Accept the request as an event, and wait for what becomes of it.

        Without a key, who corrects his name within ten minutes gets the subscription that he has asked for already.
        """
        body = command.model_dump_json(exclude_none=True).encode()
        received = Received(source=SOURCE, body=body, routing_key=REQUESTED_TYPE, verdict=Verdict.TRUSTED)
        (accepted,) = await self._api.accept([received])
        if accepted.kind == "conflict" and has_key:
            return problem(422, "this Idempotency-Key came with another body before", issue="idempotency_key_reused")
        deadline = self._api.clock.monotonic() + WAIT_S_MAX
        while (row := await self._answer(command.request_id)) is None:
            if self._api.clock.monotonic() >= deadline:
                log.warning("subscription_not_decided", request_id=command.request_id)
                return _later("PayPal has not decided yet: send the same request again")
            await asyncio.sleep(LOOK_EVERY_S)
        if row.approval_url is None or row.subscription_id is None:
            return problem(422, "PayPal refuses this subscription", issue=row.issue)
        return SubscriptionCreated(approval_url=row.approval_url, subscription_id=row.subscription_id)

    async def _answer(self, request_id: str) -> PaypalSubscriptionRequest | None:
        async with self._api.reading() as session:
            return await session.get(PaypalSubscriptionRequest, request_id)

    def _own_id(self, *parts: str) -> str:
        # A shop's key is its own: another shop may use the same.
        return f"http-{stable_hash('paypal subscription request', *parts).hex()}"

    async def _same_soon(self, holder: str, body: SubscriptionBody) -> str:
        """The id of the same wish within ten minutes, so that a double click is one subscription."""
        now_s = int(self._api.clock.now().timestamp())
        window = now_s // SAME_WITHIN_S
        wish = (holder, body.plan_id, body.custom_id, body.email_address, *([body.account] if body.account else []))
        before = self._own_id(*wish, str(window - 1))
        # The inbox knows it from the moment it was accepted, also while PayPal is still thinking.
        holder_of = select(identities.c.event_id).where(identities.c.id_hash == identity_hash(SOURCE, before))
        async with self._api.reading() as session:
            asked_at = await session.scalar(
                select(inbox.c.received_at).where(inbox.c.id == holder_of.scalar_subquery())
            )
        is_recent = asked_at is not None and now_s - asked_at.timestamp() < SAME_WITHIN_S
        return before if is_recent else self._own_id(*wish, str(window))


def _described(
    endpoint: Endpoint,
    reply: type[BaseModel],
    errors: dict[int, str],
    *,
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
) -> Responder:
    summary, _, more = (endpoint.__doc__ or "").strip().partition("\n")
    operation = Operation(
        summary=summary,
        description=" ".join(more.split()),
        tag=TAG,
        body=body,
        reply=reply,
        parameters=parameters,
        errors={401: "no API key, or none that is known", 403: "the key lacks the role `client`", **errors},
        problem=Problem,
        problem_media=CONTENT_TYPE,
        security="key",
    )
    return documented(_answered(endpoint), operation)


def _answered(endpoint: Endpoint) -> Responder:
    @wraps(endpoint)
    async def respond(request: web.Request) -> web.Response:
        try:
            reply = await endpoint(request)
        except UnreadableError as error:
            return problem(400, str(error), field="body")
        except RetryableError as error:
            log.warning("paypal_request_postponed", error=type(error).__name__, reason=str(error))
            return _later("PayPal cannot be asked now", delay_s=error.delay_s)
        if isinstance(reply, web.Response):
            return reply
        return web.Response(text=reply.model_dump_json(exclude_none=True), content_type="application/json")

    return respond


def _later(detail: str, *, delay_s: float | None = None) -> web.Response:
    return problem(503, detail, headers={"Retry-After": str(max(1, round(delay_s or RETRY_AFTER_S)))})
