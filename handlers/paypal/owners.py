"""Whose payment it is, where neither the sale nor what we have stored says so: PayPal is asked before others are told.

The money is booked at once; only the news of it waits, for an hour at most. Source: docs/providers/paypal.md, "Owners".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import update

from handlers.paypal.asking import Shown, recorded, show
from handlers.paypal.office import office_of
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.states import apply_shown
from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from hub.capability import calls, handler
from hub.errors import RetryableError
from hub.flow.priority import Priority
from schemas.paypal import SubscriptionShown, UnownedPayment

if TYPE_CHECKING:
    from hub.deliver.context import Context

OWNER_AWAITED_S: Final = 3_600.0


@calls("paypal", priority=Priority.READ)
async def find_owner(unowned: UnownedPayment, ctx: Context) -> None:
    """Tell of the change under its owner's name; without one when PayPal knows none, or has not said for an hour."""
    subscription_id = unowned.change.subscription_id
    assert subscription_id is not None
    settings: PaypalSettings = ctx.settings
    said: Mapping[str, Any] = {}
    if await _owner(subscription_id, ctx) is None:
        ask = office_of(settings.account(unowned.account)).client.ask

        async def question() -> Mapping[str, Any]:
            shown = await show(ask, subscription_id)
            return {} if shown is None else _plain(shown)

        try:
            said = await recorded(ctx, "show", {"subscription_id": subscription_id}, question)
        except RetryableError:
            if ctx.waited_s < OWNER_AWAITED_S:
                raise
    await ctx.begin()
    if said:
        await apply_shown(SubscriptionShown.model_validate(said), ctx)
    row = await ctx.session.get(PaypalSubscription, subscription_id, with_for_update=True, populate_existing=True)
    owner = row.custom_id if row is not None else None
    if owner is not None:
        nameless = PaypalPayment.subscription_id == subscription_id, PaypalPayment.custom_id.is_(None)
        await ctx.session.execute(update(PaypalPayment).where(*nameless).values(custom_id=owner))
    change = unowned.change.model_copy(update={"custom_id": owner})
    await ctx.emit(unowned.type, change, key=subscription_id, dedupe_id=change.reference)
    ctx.conclude("owned" if owner is not None else "without_owner")


@handler
async def take_shown(shown: SubscriptionShown, ctx: Context) -> str:
    """Take over what PayPal's API says of a subscription; answers with the outcome."""
    outcome = await apply_shown(shown, ctx)
    ctx.conclude(outcome)
    return outcome


async def _owner(subscription_id: str, ctx: Context) -> str | None:
    async with ctx.reading() as session:
        row = await session.get(PaypalSubscription, subscription_id)
        return row.custom_id if row is not None else None


def _plain(shown: Shown) -> dict[str, Any]:
    message = SubscriptionShown(
        subscription_id=shown.subscription_id,
        status=shown.status,
        custom_id=shown.custom_id,
        plan_id=shown.plan_id,
        changed_at=shown.changed_at,
    )
    return message.model_dump(mode="json")
