"""Licences: given and extended when an order is paid, ended by the daily job.

Source: docs/providers/sepay-orders.md, "Licences".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

from sqlalchemy import Select, or_, select

from handlers.sepay.tables_licenses import LICENSE_ACTIVE, LICENSE_EXPIRED, LICENSE_SUSPENDED, PayUserSymbolLicense
from handlers.sepay.tables_orders import PaySymbolOrder, PaySymbolOrderItem
from handlers.sepay.wallets import settings_of
from hub.capability import handler
from hub.event import Event
from schemas.sepay_events import LicenseChanged

if TYPE_CHECKING:
    from hub.deliver.context import Context

PER_LOOK_MAX: Final = 1_000
LOOKS_MAX: Final = 5
"""How often one run of a job looks for more; the next run, a quarter of an hour later, goes on."""
RUN_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A licence that an order has created or, when ``is_new`` is false, extended."""

    license: PayUserSymbolLicense
    is_new: bool


async def grant_licenses(order: PaySymbolOrder, items: Sequence[PaySymbolOrderItem], ctx: Context) -> list[Grant]:
    """Give what was bought: a new licence, or more time on the one there is; items of one symbol add up.

    The user's wallet must be locked, so that no two orders extend the same licence at once.
    """
    grants = []
    for symbol_id, bought in groupby(sorted(items, key=_symbol), key=_symbol):
        grant = await _grant(order, symbol_id, [item.license_days for item in bought], ctx)
        grants.append(grant)
        await tell("license.activated" if grant.is_new else "license.extended", grant.license, ctx)
    return grants


async def open_license(ctx: Context, user_id: str, symbol_id: int) -> PayUserSymbolLicense | None:
    """The user's active licence for a symbol, else a suspended one, locked; there is one at most."""
    return await ctx.session.scalar(
        select(PayUserSymbolLicense)
        .where(
            PayUserSymbolLicense.user_id == user_id,
            PayUserSymbolLicense.symbol_id == symbol_id,
            PayUserSymbolLicense.status.in_((LICENSE_ACTIVE, LICENSE_SUSPENDED)),
        )
        # In the order of the alphabet an active one comes first.
        .order_by(PayUserSymbolLicense.status, PayUserSymbolLicense.created_at.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def extended(end_at: datetime | None, days: int | None, now: datetime) -> datetime | None:
    """The new end: from the old one or from now, whichever is later. A licence without an end keeps none."""
    if end_at is None or days is None:
        return None
    return max(end_at, now) + timedelta(days=days)


@handler(timeout_s=RUN_S_MAX)
async def expire_licenses(event: Event, ctx: Context) -> None:
    """End the licences whose time is over, and tell of each. Running it again ends nothing twice."""
    due = select(PayUserSymbolLicense).where(
        PayUserSymbolLicense.status == LICENSE_ACTIVE, PayUserSymbolLicense.end_at <= ctx.now
    )
    ended = 0
    async for one in _until_none_is_left(due, ctx):
        one.status, one.updated_at = LICENSE_EXPIRED, ctx.now
        await tell("license.expired", one, ctx)
        ended += 1
    ctx.conclude("expired" if ended else "nothing_due")


@handler(timeout_s=RUN_S_MAX)
async def remind_of_ends(event: Event, ctx: Context) -> None:
    """Tell of every licence that ends soon, once per end; an extension makes a new end."""
    soon = ctx.now + timedelta(days=settings_of(ctx).expires_soon_days)
    untold = or_(
        PayUserSymbolLicense.reminded_end_at.is_(None),
        PayUserSymbolLicense.reminded_end_at != PayUserSymbolLicense.end_at,
    )
    due = select(PayUserSymbolLicense).where(
        PayUserSymbolLicense.status == LICENSE_ACTIVE,
        PayUserSymbolLicense.end_at > ctx.now,
        PayUserSymbolLicense.end_at <= soon,
        untold,
    )
    reminded = 0
    async for one in _until_none_is_left(due, ctx):
        one.reminded_end_at = one.end_at
        await tell("license.expires_soon", one, ctx)
        reminded += 1
    ctx.conclude("reminded" if reminded else "nothing_due")


async def _until_none_is_left(due: Select[PayUserSymbolLicense], ctx: Context) -> AsyncIterator[PayUserSymbolLicense]:
    """The licences that a job is to change, locked, some at a time; as many as one run may take.

    One that a purchase holds at this moment is being extended; if not, the next run finds it.
    """
    some = due.order_by(PayUserSymbolLicense.end_at).limit(PER_LOOK_MAX).with_for_update(skip_locked=True)
    for _ in range(LOOKS_MAX):
        found = (await ctx.session.scalars(some)).all()
        for one in found:
            yield one
        # What is changed is no longer due, and is not found again.
        await ctx.session.flush()
        if len(found) < PER_LOOK_MAX:
            return


async def tell(type_: str, changed: PayUserSymbolLicense, ctx: Context) -> None:
    """Let everybody who listens know what has become of a licence."""
    message = LicenseChanged(
        license_id=changed.license_id,
        user_id=changed.user_id,
        symbol_id=changed.symbol_id,
        start_at=changed.start_at,
        end_at=changed.end_at,
    )
    await ctx.emit(type_, message, key=changed.user_id)


async def _grant(order: PaySymbolOrder, symbol_id: int, terms: Sequence[int | None], ctx: Context) -> Grant:
    found = await open_license(ctx, order.user_id, symbol_id)
    license = found or _new_license(order, symbol_id, ctx)
    for days in terms:
        license.end_at = extended(license.end_at, days, ctx.now)
    license.order_id = order.order_id
    license.updated_at = ctx.now
    ctx.session.add(license)
    await ctx.session.flush()
    return Grant(license, is_new=found is None)


def _new_license(order: PaySymbolOrder, symbol_id: int, ctx: Context) -> PayUserSymbolLicense:
    return PayUserSymbolLicense(
        license_id=ctx.new_id(),
        user_id=order.user_id,
        symbol_id=symbol_id,
        status=LICENSE_ACTIVE,
        start_at=ctx.now,
        end_at=ctx.now,
        created_at=ctx.now,
    )


def _symbol(item: PaySymbolOrderItem) -> int:
    return item.symbol_id
