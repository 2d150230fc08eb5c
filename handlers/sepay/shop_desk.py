"""What operators do with the catalogue and with orders, as functions that return data; ``shop_cli.py`` shows it.

Source: docs/providers/sepay-orders.md, "Operating".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.sepay.tables_licenses import LICENSE_STATUSES, PayUserSymbolLicense
from handlers.sepay.tables_orders import LIFETIME, ORDER_STATUSES, PaySymbol, PaySymbolOrder
from hub.errors import UnreadableError, UsageError
from hub.jsonbody import parse_json
from hub.store.upserts import insert_for
from schemas.sepay_desk import LicenseOrder, OrderRefund, WalletAdjusted
from schemas.sepay_orders import LicenseReply, SymbolUpserted

if TYPE_CHECKING:
    from hub.api import HubApi

LINES_MAX: Final = 1_000
SAMPLE_CATALOGUE: Final = (
    SymbolUpserted(symbol_id=1, name="VN30 Trading Bot", price=200_000, license_days=30),
    SymbolUpserted(symbol_id=1, name="VN30 Trading Bot", price=2_000_000, license_days=365),
    SymbolUpserted(symbol_id=1, name="VN30 Trading Bot", price=5_000_000, license_days=None),
    SymbolUpserted(symbol_id=2, name="HOSE Signals", price=50_000, license_days=7),
)
"""What the sandbox sells."""

_Offers: Final = TypeAdapter(list[SymbolUpserted])


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """One order, as an operator reads it. ``total_minor`` is whole dong."""

    order_id: UUID
    user_id: str
    status: str
    payment_method: str
    total_minor: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LicenseSummary:
    """One licence, as an operator reads it; ``end_at`` None = for ever."""

    license_id: UUID
    user_id: str
    symbol_id: int
    status: str
    start_at: datetime
    end_at: datetime | None


def read_offers(file: Path) -> list[SymbolUpserted]:
    """The offers in a JSON file: a list of what ``symbol.upserted`` carries. Raises UsageError."""
    try:
        return _Offers.validate_python(parse_json(file.read_bytes()))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnreadableError as error:
        raise UsageError(f"{file}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{file}: {place or 'the file'}: {first['msg']}") from error


async def import_offers(api: HubApi, offers: Sequence[SymbolUpserted]) -> int:
    """Put these offers into the catalogue, each as an event of its own; says how many."""
    for offer in offers:
        await api.command("symbol.upserted", offer, key=str(offer.symbol_id))
    return len(offers)


async def list_offers(api: HubApi) -> list[SymbolUpserted]:
    """The whole catalogue, what is no longer sold included."""
    async with api.reading() as session:
        found = await session.scalars(select(PaySymbol).order_by(PaySymbol.symbol_id, PaySymbol.license_days))
        return [
            SymbolUpserted(
                symbol_id=one.symbol_id,
                name=one.name,
                price=one.price_minor,
                license_days=None if one.license_days == LIFETIME else one.license_days,
                active=one.active,
            )
            for one in found
        ]


async def list_orders(
    api: HubApi, *, status: str | None = None, user_id: str | None = None, limit: int = 50
) -> list[OrderSummary]:
    """Orders, newest first. Raises UsageError for a status that there is not."""
    if status is not None and status not in ORDER_STATUSES:
        raise UsageError(f"no order is {status!r}: one of {', '.join(ORDER_STATUSES)}")
    query = select(PaySymbolOrder).order_by(PaySymbolOrder.created_at.desc()).limit(min(limit, LINES_MAX))
    if status is not None:
        query = query.where(PaySymbolOrder.status == status)
    if user_id is not None:
        query = query.where(PaySymbolOrder.user_id == user_id)
    async with api.reading() as session:
        return [
            OrderSummary(one.order_id, one.user_id, one.status, one.payment_method, one.total_minor, one.created_at)
            for one in await session.scalars(query)
        ]


async def refund_order(
    api: HubApi, order_id: UUID, *, keep_licenses: bool, by: str, note: str, request_id: str | None = None
) -> WalletAdjusted:
    """Give a paid order back into its user's wallet. Raises UsageError without a note, RefusedCommand."""
    order = OrderRefund(order_id=order_id, keep_licenses=keep_licenses, by=by, note=_reason(note))
    async with api.reading() as session:
        found = await session.get(PaySymbolOrder, order_id)
    dedupe_id = f"sepay.order.refund/{request_id}" if request_id else None
    done = await api.command("sepay.order.refund", order, key=found.user_id if found else None, dedupe_id=dedupe_id)
    assert isinstance(done, WalletAdjusted)
    return done


async def list_licenses(
    api: HubApi, *, user_id: str | None = None, status: str | None = None, limit: int = 50
) -> list[LicenseSummary]:
    """Licences, newest first. Raises UsageError for a status that there is not."""
    if status is not None and status not in LICENSE_STATUSES:
        raise UsageError(f"no licence is {status!r}: one of {', '.join(LICENSE_STATUSES)}")
    query = select(PayUserSymbolLicense).order_by(PayUserSymbolLicense.created_at.desc()).limit(min(limit, LINES_MAX))
    if status is not None:
        query = query.where(PayUserSymbolLicense.status == status)
    if user_id is not None:
        query = query.where(PayUserSymbolLicense.user_id == user_id)
    async with api.reading() as session:
        return [
            LicenseSummary(one.license_id, one.user_id, one.symbol_id, one.status, one.start_at, one.end_at)
            for one in await session.scalars(query)
        ]


async def change_license(
    api: HubApi, license_id: UUID, change: Literal["suspend", "restore", "revoke"], *, by: str, note: str
) -> LicenseReply:
    """Suspend, restore or revoke a licence. Raises UsageError without a note, RefusedCommand."""
    order = LicenseOrder(license_id=license_id, by=by, note=_reason(note))
    async with api.reading() as session:
        found = await session.get(PayUserSymbolLicense, license_id)
    done = await api.command(f"sepay.license.{change}", order, key=found.user_id if found else None)
    assert isinstance(done, LicenseReply)
    return done


def _reason(note: str) -> str:
    if not note.strip():
        raise UsageError("--note: expected why, found nothing")
    return note


async def stock_sandbox(api: HubApi) -> None:
    """Give the sandbox something to sell, unless somebody has filled its catalogue; no event stands for it."""
    rows = [
        {
            "symbol_id": offer.symbol_id,
            "license_days": offer.license_days or LIFETIME,
            "name": offer.name,
            "price": offer.price,
            "active": True,
            "updated_at": api.clock.now(),
        }
        for offer in SAMPLE_CATALOGUE
    ]

    async def work(conn: AsyncConnection) -> None:
        if await conn.scalar(select(PaySymbol.symbol_id).limit(1)) is None:
            new = insert_for(conn.dialect.name, cast(Table, PaySymbol.__table__)).on_conflict_do_nothing()
            await conn.execute(new, rows)

    await api.store.write(work)
