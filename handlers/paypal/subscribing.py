"""Having a buyer subscribe: one request, one subscription at PayPal, however often it is asked or lost on the way.

Source: Subscriptions v1, "Create subscription"; docs/providers/paypal.md, "Subscribing".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, assert_never

from sqlalchemy import func

from handlers.paypal.accounts import MAIN
from handlers.paypal.client import CALL_S_MAX, Answer, Call, NoAnswerError
from handlers.paypal.office import office_of
from handlers.paypal.settings import TAIWAN, PaypalSettings
from handlers.paypal.tables import (
    APPROVAL_PENDING,
    CREATED,
    FAILED,
    REFUSED,
    PaypalSubscription,
    PaypalSubscriptionRequest,
)
from hub.calls.outcome import Declined, Outcome, Pending, Settled, Unknown
from hub.capability import calls
from hub.errors import BusyError, PermanentError, RetryableError
from hub.event import stable_hash
from hub.store.upserts import insert_for
from schemas.paypal import SubscriptionAnswer, SubscriptionRequested

if TYPE_CHECKING:
    from hub.deliver.context import Context

PATH: Final = "/v1/billing/subscriptions"
REPEATABLE_S: Final = 71 * 3_600.0
"""PayPal knows a PayPal-Request-Id for 72 hours; the same id later would be a second subscription."""
NO_APPROVAL_LINK: Final = "NO_APPROVAL_LINK"
DOMESTIC: Final = "domestic_not_supported"
ISSUE_CHARS_MAX: Final = 100


class _TooLateError(BusyError):
    """Nothing was sent now, and nothing may be: a person looks whether it was sent before."""


@calls("paypal", timeout_s=CALL_S_MAX + 30)
async def create_subscription(request: SubscriptionRequested, ctx: Context) -> None:
    """Make the subscription and keep whose it is, before anybody is told.

    Running it again is safe within 71 hours: every attempt carries the same PayPal-Request-Id. What PayPal has not
    answered by then is for a person.
    """
    settings: PaypalSettings = ctx.settings
    ctx.tag("custom_id", request.custom_id)
    if is_domestic(request.payer_country, settings):
        await _finish(request, ctx, REFUSED, issue=DOMESTIC)
        return
    account = account_name(request.account)
    client = office_of(settings.account(account)).client

    async def create(_: object, key: str) -> Outcome:
        if ctx.waited_s > REPEATABLE_S:
            raise _TooLateError("PayPal may have forgotten this request's id: look there before it is sent again")
        call = Call("POST", PATH, "subscribe", body=body_of(request, settings), request_id=key)
        try:
            return read_created(await client.ask(call))
        except NoAnswerError as error:
            return Unknown(str(error))

    key = stable_hash("paypal subscription", request.request_id).hex()
    # Asked again under the same id PayPal answers with the same subscription: to repeat it is to look it up.
    # What may change between two attempts (our brand, the language, where buyers come back to) is not what is asked.
    asked = request.model_dump(mode="json")
    try:
        outcome = await ctx.call("create", create, asked, key=key, lookup=create, timeout_s=CALL_S_MAX)
    except _TooLateError as error:
        raise PermanentError(str(error)) from error
    match outcome:
        case Settled(data=data) if data["approval_url"] is None:
            await _finish(request, ctx, FAILED, subscription_id=data["id"], issue=NO_APPROVAL_LINK)
            ctx.review("no_approval_link", f"subscription {data['id']} came without a page for its buyer")
        case Settled(data=data):
            await _finish(request, ctx, CREATED, subscription_id=data["id"], approval_url=data["approval_url"])
        case Declined(reason=issue):
            await _finish(request, ctx, REFUSED, issue=issue)
        case Pending(reason=reason) | Unknown(reason=reason):
            raise RetryableError(f"the subscription may have been made: {reason}")
        case _:
            assert_never(outcome)


def account_name(named: str | None) -> str | None:
    """The name under which rows have an account: none for the main one."""
    return None if named in (None, "", MAIN) else named


def is_domestic(payer_country: str | None, settings: PaypalSettings) -> bool:
    """PayPal does not process payments between two Taiwanese accounts."""
    return settings.merchant_country == TAIWAN and payer_country == TAIWAN


def body_of(request: SubscriptionRequested, settings: PaypalSettings) -> dict[str, Any]:
    """What PayPal is asked. No start time and no quantity: PayPal refuses both where they do not fit."""
    context = {
        "locale": settings.locale,
        "shipping_preference": "NO_SHIPPING",
        "user_action": "SUBSCRIBE_NOW",
        "payment_method": {"payer_selected": "PAYPAL", "payee_preferred": "IMMEDIATE_PAYMENT_REQUIRED"},
        "return_url": settings.return_url,
        "cancel_url": settings.cancel_url,
    }
    if settings.brand_name:
        context["brand_name"] = settings.brand_name
    return {
        "plan_id": request.plan_id,
        "custom_id": request.custom_id,
        "subscriber": {
            "name": {"given_name": request.give_name, "surname": request.surname},
            "email_address": request.email_address,
        },
        "application_context": context,
    }


def read_created(answer: Answer) -> Outcome:
    """PayPal's answer as an outcome. A conflict may be the same request under way: it is asked again."""
    if answer.is_ok:
        body = answer.body if isinstance(answer.body, Mapping) else {}
        id_ = body.get("id")
        if not isinstance(id_, str) or not id_:
            return Unknown(f"PayPal answers {answer.status} without a subscription's id")
        return Settled({"id": id_, "approval_url": _approval_url(body)})
    if 400 <= answer.status < 500 and answer.status not in (408, 409):
        return Declined(answer.issue)
    return Unknown(f"PayPal answers {answer.status} {answer.issue}")


def _approval_url(body: Mapping[str, Any]) -> str | None:
    # By its name: the order of links is nobody's promise.
    links = body.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") == "approve" and isinstance(link.get("href"), str):
            return str(link["href"])
    return None


async def _finish(
    request: SubscriptionRequested,
    ctx: Context,
    state: str,
    *,
    subscription_id: str | None = None,
    approval_url: str | None = None,
    issue: str | None = None,
) -> None:
    """Keep what became of the request and whose the subscription is, and tell whoever listens."""
    await ctx.begin()
    issue = issue[:ISSUE_CHARS_MAX] if issue else None
    row = PaypalSubscriptionRequest(
        request_id=request.request_id,
        state=state,
        plan_id=request.plan_id,
        custom_id=request.custom_id,
        subscription_id=subscription_id,
        approval_url=approval_url,
        issue=issue,
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    await ctx.session.merge(row)
    if subscription_id is not None:
        ctx.tag("subscription", subscription_id)
        await _keep(request, subscription_id, ctx)
    answer = SubscriptionAnswer.model_validate(
        {
            "request_id": request.request_id,
            "state": state,
            "subscription_id": subscription_id,
            "approval_url": approval_url,
            "plan_id": request.plan_id,
            "custom_id": request.custom_id,
            "issue": issue,
        }
    )
    await ctx.publish(answer, routing_key="paypal.subscription.answered", key=request.custom_id)
    ctx.conclude(state)
    await ctx.session.flush()


async def _keep(request: SubscriptionRequested, subscription_id: str, ctx: Context) -> None:
    """Whose it is. An event may have been quicker and left a stub, which knows no plan and perhaps no owner."""
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalSubscription).values(
        subscription_id=subscription_id,
        account=account_name(request.account),
        custom_id=request.custom_id,
        plan_id=request.plan_id,
        email=request.email_address,
        status=APPROVAL_PENDING,
        status_at=None,
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    mine = {name: getattr(new.excluded, name) for name in ("account", "custom_id", "plan_id", "email", "updated_at")}
    mine["status"] = func.coalesce(PaypalSubscription.status, new.excluded.status)
    await ctx.session.execute(new.on_conflict_do_update(index_elements=["subscription_id"], set_=mine))
