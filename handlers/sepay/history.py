"""What a user has ordered, owns and has paid. Reads only. Source: docs/providers/sepay-orders.md, "HTTP API"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.catalogue import load_catalogue
from handlers.sepay.orders import item_replies, items_of
from handlers.sepay.tables import PayPaymentIntent
from handlers.sepay.tables_licenses import LICENSE_ACTIVE, PayUserSymbolLicense, SymbolAutoRenewSubscription
from handlers.sepay.tables_orders import PaySymbolOrder
from schemas.sepay_orders import (
    AccessReply,
    LicenseReply,
    OrderHistory,
    OrderLine,
    PaymentHistory,
    PaymentLine,
    PaymentUser,
    SubscriptionReply,
)

PAGE_SIZE_MAX: Final = 100
SUBSCRIPTIONS_MAX: Final = 1_000
Reason = Literal["no_license", "expired", "suspended", "revoked"]


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is asked for, from 1, and how many rows it has."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


async def order_history(session: AsyncSession, user_id: str, page: Page, status: str | None) -> OrderHistory:
    """The user's orders, newest first; of one status, or of all."""
    wanted: list[ColumnElement[bool]] = [PaySymbolOrder.user_id == user_id]
    if status is not None:
        wanted.append(PaySymbolOrder.status == status)
    total = await session.scalar(select(func.count()).select_from(PaySymbolOrder).where(*wanted)) or 0
    query = select(PaySymbolOrder).where(*wanted)
    query = query.order_by(PaySymbolOrder.created_at.desc(), PaySymbolOrder.order_id.desc())
    orders = (await session.scalars(query.offset(page.offset).limit(page.size))).all()
    items = await items_of(session, [order.order_id for order in orders])
    catalogue = await load_catalogue(session, {item.symbol_id for lines in items.values() for item in lines})
    return OrderHistory(
        results=[
            OrderLine(
                order_id=order.order_id,
                total_amount=order.total_minor,
                status=order.status,
                payment_method=order.payment_method,
                description=order.description,
                items=item_replies(items[order.order_id], catalogue),
                created_at=order.created_at,
                updated_at=order.updated_at,
            )
            for order in orders
        ],
        total=total,
        page=page.number,
        limit=page.size,
        total_pages=-(-total // page.size),
    )


async def access_to(
    session: AsyncSession, user_id: str, symbol_id: int, *, now: datetime, soon: timedelta
) -> AccessReply:
    """Whether the user may use a symbol now. An end that has passed counts before the daily job has run."""
    license = await session.scalar(
        select(PayUserSymbolLicense)
        .where(PayUserSymbolLicense.user_id == user_id, PayUserSymbolLicense.symbol_id == symbol_id)
        # The active one, if there is one; else the last that there was.
        .order_by(
            case((PayUserSymbolLicense.status == LICENSE_ACTIVE, 0), else_=1),
            PayUserSymbolLicense.created_at.desc(),
            PayUserSymbolLicense.license_id.desc(),
        )
        .limit(1)
    )
    if license is None or not license.is_open(now):
        return AccessReply(
            has_access=False,
            license_id=None,
            start_at=None,
            end_at=None,
            is_lifetime=False,
            expires_soon=False,
            reason=_reason(license),
        )
    return AccessReply(
        has_access=True,
        license_id=license.license_id,
        start_at=license.start_at,
        end_at=license.end_at,
        is_lifetime=license.end_at is None,
        expires_soon=license.end_at is not None and license.end_at - now <= soon,
    )


async def licenses_of(session: AsyncSession, user_id: str, page: Page, now: datetime) -> tuple[list[LicenseReply], int]:
    """One page of the user's licences, newest first, and how many there are."""
    mine = PayUserSymbolLicense.user_id == user_id
    total = await session.scalar(select(func.count()).select_from(PayUserSymbolLicense).where(mine)) or 0
    query = select(PayUserSymbolLicense).where(mine)
    query = query.order_by(PayUserSymbolLicense.created_at.desc(), PayUserSymbolLicense.license_id.desc())
    found = (await session.scalars(query.offset(page.offset).limit(page.size))).all()
    return [
        LicenseReply(
            license_id=one.license_id,
            symbol_id=one.symbol_id,
            status=one.status,
            start_at=one.start_at,
            end_at=one.end_at,
            is_lifetime=one.end_at is None,
            is_active=one.is_open(now),
            order_id=one.order_id,
            created_at=one.created_at,
        )
        for one in found
    ], total


async def subscriptions_of(session: AsyncSession, user_id: str) -> list[SubscriptionReply]:
    """What the user has had renewed, newest first."""
    query = select(SymbolAutoRenewSubscription).where(SymbolAutoRenewSubscription.user_id == user_id)
    query = query.order_by(SymbolAutoRenewSubscription.created_at.desc()).limit(SUBSCRIPTIONS_MAX)
    return [subscription_reply(one) for one in await session.scalars(query)]


def subscription_reply(one: SymbolAutoRenewSubscription) -> SubscriptionReply:
    """A subscription as its user sees it."""
    return SubscriptionReply(
        subscription_id=one.subscription_id,
        symbol_id=one.symbol_id,
        status=one.status,
        price=one.price_minor,
        cycle_days=one.cycle_days,
        next_billing_at=one.next_billing_at,
        last_attempt_at=one.last_attempt_at,
        last_success_at=one.last_success_at,
        consecutive_failures=one.consecutive_failures,
        current_license_id=one.current_license_id,
        last_order_id=one.last_order_id,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """Which payments are wanted; ``search`` is a part of the order code, in either case."""

    status: str
    purpose: str | None = None
    search: str | None = None


async def payment_history(
    session: AsyncSession, user: PaymentUser, user_id: str, page: Page, wanted: PaymentFilter
) -> PaymentHistory:
    """The user's payment intents, newest first."""
    where: list[ColumnElement[bool]] = [
        PayPaymentIntent.user_id == user_id,
        PayPaymentIntent.status == wanted.status,
    ]
    if wanted.purpose:
        where.append(PayPaymentIntent.purpose == wanted.purpose)
    if wanted.search:
        where.append(PayPaymentIntent.order_code.contains(wanted.search.upper(), autoescape=True))
    total = await session.scalar(select(func.count()).select_from(PayPaymentIntent).where(*where)) or 0
    query = select(PayPaymentIntent).where(*where)
    query = query.order_by(PayPaymentIntent.created_at.desc(), PayPaymentIntent.intent_id.desc())
    found: Sequence[PayPaymentIntent] = (await session.scalars(query.offset(page.offset).limit(page.size))).all()
    return PaymentHistory(
        total=total,
        page=page.number,
        page_size=page.size,
        user=user,
        results=[
            PaymentLine(
                id=intent.intent_id,
                order_code=intent.order_code,
                reference_code=intent.reference_code,
                amount=intent.amount_minor,
                status=intent.status,
                purpose=intent.purpose,
                created_at=intent.created_at,
                user_id=user.id,
            )
            for intent in found
        ],
    )


def payment_user(user_id: str, claims: dict[str, Any]) -> PaymentUser:
    """Whose payments they are, as far as the token says. The guide's user id is a number where it can be one."""

    def text(name: str) -> str | None:
        value = claims.get(name)
        return value if isinstance(value, str) else None

    is_active = claims.get("is_active")
    return PaymentUser(
        id=int(user_id) if user_id.isascii() and user_id.isdigit() and len(user_id) < 19 else user_id,
        email=text("email"),
        first_name=text("first_name"),
        last_name=text("last_name"),
        is_active=is_active if isinstance(is_active, bool) else None,
        date_joined=text("date_joined"),
    )


def _reason(license: PayUserSymbolLicense | None) -> Reason:
    if license is None:
        return "no_license"
    return "expired" if license.status == LICENSE_ACTIVE else cast(Reason, license.status)
