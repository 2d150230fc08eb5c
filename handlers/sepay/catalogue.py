"""What can be bought: the offers of each symbol, fed by ``symbol.upserted``, and the prices that orders are held to.

Source: docs/providers/sepay-orders.md, "Catalogue".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.tables_orders import LIFETIME, PaySymbol
from hub.capability import handler
from hub.store.upserts import insert_for
from schemas.sepay_orders import SymbolUpserted

if TYPE_CHECKING:
    from hub.deliver.context import Context


_offers = cast(Table, PaySymbol.__table__)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The offers of some symbols: (symbol, days) → price in dong; None days = for ever."""

    names: Mapping[int, str] = field(default_factory=dict)
    prices: Mapping[tuple[int, int | None], int] = field(default_factory=dict)

    def sells(self, symbol_id: int) -> bool:
        """Whether any licence of this symbol can be bought."""
        return any(known == symbol_id for known, _ in self.prices)

    def name_of(self, symbol_id: int) -> str:
        """The symbol's name; its number where it is no longer known."""
        return self.names.get(symbol_id, str(symbol_id))


@handler
async def upsert_symbol(symbol: SymbolUpserted, ctx: Context) -> None:
    """Add or change one offer; the name counts for every offer of the symbol. Running it again changes nothing."""
    days = LIFETIME if symbol.license_days is None else symbol.license_days
    values = {"name": symbol.name, "price": symbol.price, "active": symbol.active, "updated_at": ctx.now}
    new = insert_for(ctx.session.get_bind().dialect.name, _offers).values(
        symbol_id=symbol.symbol_id, license_days=days, **values
    )
    await ctx.session.execute(new.on_conflict_do_update(index_elements=["symbol_id", "license_days"], set_=values))
    await ctx.session.execute(
        update(PaySymbol)
        .where(PaySymbol.symbol_id == symbol.symbol_id, PaySymbol.name != symbol.name)
        .values(name=symbol.name)
        .execution_options(synchronize_session=False)
    )
    ctx.tag("symbol_id", str(symbol.symbol_id))


async def load_catalogue(session: AsyncSession, symbol_ids: Iterable[int]) -> Catalogue:
    """The offers of these symbols. What is no longer sold keeps its name and has no price."""
    found = (await session.scalars(select(PaySymbol).where(PaySymbol.symbol_id.in_(set(symbol_ids))))).all()
    return Catalogue(
        names={offer.symbol_id: offer.name for offer in found},
        prices={
            (offer.symbol_id, None if offer.license_days == LIFETIME else offer.license_days): offer.price_minor
            for offer in found
            if offer.active
        },
    )
