"""What must hold for the movements of every wallet, and a job that looks whether it does.

The database refuses most of it anyway; this finds what a restored backup or a repair by hand has brought in, in the
words of the payment module. Source: docs/providers/sepay-orders.md, "Ledger rules".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import column, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from hub.capability import calls
from hub.event import Event
from hub.flow.priority import Priority

if TYPE_CHECKING:
    from hub.deliver.context import Context

IS_CREDIT: Final[Mapping[str, bool]] = {"deposit": True, "refund": True, "purchase": False, "withdrawal": False}
"""Type of movement → whether it adds to the wallet."""
SHOWN_MAX: Final = 20
CHECK_S_MAX: Final = 300.0
ROWS_AT_ONCE: Final = 1_000

_ledger = table(
    "pay_wallet_ledger",
    *(column(name) for name in ("wallet_id", "seq", "tx_type", "is_credit", "amount", "balance_before")),
    *(column(name) for name in ("balance_after", "payment_id", "order_id")),
)
_balances = table("pay_wallet_balances", column("id"), column("balance"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One row of a wallet's ledger; amounts are whole dong."""

    tx_type: str
    is_credit: bool
    amount: int
    balance_before: int
    balance_after: int
    payment_id: object = None
    order_id: object = None

    @property
    def signed(self) -> int:
        return self.amount if self.is_credit else -self.amount


def violations(balance: int, movements: Sequence[Movement]) -> list[str]:
    """The rules that a wallet with this balance and these movements, in order, breaks; each once."""
    found = [rule for movement in movements for rule in _broken_by(movement)]
    befores = [movement.balance_before for movement in movements]
    if befores != [0, *(movement.balance_after for movement in movements)][: len(befores)]:
        found.append("chain_gap")
    found += _twice(movements)
    if balance != sum(movement.signed for movement in movements):
        found.append("balance_not_sum")
    return list(dict.fromkeys(found))


@calls("ledger", timeout_s=CHECK_S_MAX, priority=Priority.SWEEP)
async def check_wallets(event: Event, ctx: Context) -> None:
    """Check every wallet; what breaks a rule is on a person's list, and the outcome says how it ended.

    It reads every movement there is, beside everything else that goes on: it calls nobody, but so no transaction that
    writes stays open meanwhile. Where it takes longer than it may, ``hub ledger verify`` is the way.
    """
    async with ctx.reading() as session:
        broken = await broken_wallets(session)
    if not broken:
        ctx.conclude("holds")
        return
    shown = "; ".join(f"{wallet}: {', '.join(rules)}" for wallet, rules in list(broken.items())[:SHOWN_MAX])
    ctx.review("ledger_violation", f"{len(broken)} wallets break the rules of their ledger: {shown}")


async def broken_wallets(session: AsyncSession) -> dict[str, list[str]]:
    """Wallet → the rules that it breaks, for those that break any."""
    balances = {_key(row.id): int(row.balance) for row in await session.execute(select(_balances))}
    untouched = {wallet: ["balance_not_sum"] for wallet, balance in balances.items() if balance}
    broken: dict[str, list[str]] = {}
    async for wallet, movements in _by_wallet(session):
        untouched.pop(wallet, None)
        if rules := violations(balances.get(wallet, 0), movements):
            broken[wallet] = rules
    return broken | untouched


async def _by_wallet(session: AsyncSession) -> AsyncIterator[tuple[str, list[Movement]]]:
    """Each wallet that has moved, with its movements in order; only one wallet's are in memory at once."""
    rows = await session.stream(
        select(_ledger).order_by(_ledger.c.wallet_id, _ledger.c.seq), execution_options={"yield_per": ROWS_AT_ONCE}
    )
    wallet, movements = "", list[Movement]()
    async for row in rows:
        if (owner := _key(row.wallet_id)) != wallet:
            if movements:
                yield wallet, movements
            wallet, movements = owner, []
        movements.append(_movement(row))
    if movements:
        yield wallet, movements


def _broken_by(movement: Movement) -> Iterable[str]:
    if movement.amount <= 0:
        yield "amount_not_positive"
    if IS_CREDIT.get(movement.tx_type) is not movement.is_credit:
        yield "direction_mismatch"
    if movement.balance_before + movement.signed != movement.balance_after:
        yield "entry_arithmetic"
    if movement.balance_after < 0:
        yield "negative_balance"
    if movement.tx_type == "deposit" and movement.payment_id is None:
        yield "deposit_needs_payment"
    if movement.tx_type == "purchase" and movement.order_id is None:
        yield "purchase_needs_order"


def _twice(movements: Sequence[Movement]) -> list[str]:
    paid = Counter(one.payment_id for one in movements if one.tx_type == "deposit" and one.payment_id is not None)
    bought = Counter(one.order_id for one in movements if one.tx_type == "purchase" and one.order_id is not None)
    found = []
    if any(count > 1 for count in paid.values()):
        found.append("payment_credited_twice")
    if any(count > 1 for count in bought.values()):
        found.append("order_purchased_twice")
    return found


def _movement(row: object) -> Movement:
    names = ("tx_type", "is_credit", "amount", "balance_before", "balance_after", "payment_id", "order_id")
    values = {name: getattr(row, name) for name in names}
    return Movement(**{**values, "is_credit": bool(values["is_credit"])})


def _key(wallet_id: object) -> str:
    # SQLite keeps a UUID as 32 characters.
    return str(wallet_id if isinstance(wallet_id, UUID) else UUID(str(wallet_id)))
