"""The books: accounts and what they hold, entries, and an account's balance over time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hub.console.drawing.charts import curve
from hub.console.paging import with_query
from hub.console.visit import Group, Place, Shown, Visit
from hub.errors import UsageError
from hub.ledger.model import PostedEntry
from hub.ledger.read import AccountBalance, find_account, find_entry, list_accounts, list_entries, list_holds
from hub.money import Money

PAGE = 50
POINTS = 400
HOLDS_MAX = 20
REFERENCE_MAX = 300


async def show(visit: Visit) -> Shown:
    """Accounts by code, and the newest entries."""
    prefix, currency = visit.asked("prefix") or "", visit.asked("currency")
    async with visit.hub.store.reading() as conn:
        accounts = await list_accounts(
            conn, prefix=prefix, currency=currency, after=visit.asked("after") or "", limit=PAGE
        )
        entries = await list_entries(conn, limit=10)
    more = with_query(visit.request, after=accounts[-1].account.code) if len(accounts) == PAGE else None
    values = {"accounts": accounts, "entries": entries, "prefix": prefix, "currency": currency or "", "more": more}
    return Shown("ledger.html", "Ledger", values)


async def show_account(visit: Visit) -> Shown:
    """One account: its balance over its newest entries, its holds and its entries."""
    code = visit.asked("code") or ""
    before = visit.number("before")
    async with visit.hub.store.reading() as conn:
        found = await find_account(conn, code)
        if found is None:
            raise UsageError(f"there is no account {code!r}")
        newest = await list_entries(conn, account=code, limit=POINTS)
        entries = (
            newest[:PAGE] if before is None else await list_entries(conn, account=code, before_id=before, limit=PAGE)
        )
        holds = await list_holds(conn, account=code, limit=HOLDS_MAX)
    points = balances_of(found, newest)
    values: dict[str, Any] = {
        "found": found,
        "entries": entries,
        "holds": holds,
        "curve": curve(
            points,
            f"Balance of {code} over its newest {len(newest)} entries",
            lambda amount_minor: Money(amount_minor, found.account.currency).format(),
        ),
        "is_whole": len(newest) < POINTS,
        "older": with_query(visit.request, before=entries[-1].id) if len(entries) == PAGE else None,
    }
    return Shown("account.html", code, values)


def balances_of(account: AccountBalance, newest: list[PostedEntry]) -> list[tuple[datetime, int]]:
    """The balance after each of the newest entries, oldest first: counted back from what it is now."""
    balance, points = account.balance.amount_minor, []
    for entry in newest:
        points.append((entry.posted_at, balance))
        balance -= sum(one.delta.amount_minor for one in entry.postings if one.account == account.account.code)
    if newest:
        points.append((newest[-1].posted_at, balance))
    return points[::-1]


async def show_entries(visit: Visit) -> Shown:
    """Entries, newest first."""
    kind = visit.asked("kind")
    async with visit.hub.store.reading() as conn:
        entries = await list_entries(conn, kind=kind, before_id=visit.number("before"), limit=PAGE)
    older = with_query(visit.request, before=entries[-1].id) if len(entries) == PAGE else None
    return Shown("entries.html", "Entries", {"entries": entries, "kind": kind or "", "older": older})


async def show_entry(visit: Visit) -> Shown:
    """One entry by its reference."""
    reference = (visit.asked("reference") or "")[:REFERENCE_MAX]
    async with visit.hub.store.reading() as conn:
        entry = await find_entry(conn, reference)
    if entry is None:
        raise UsageError(f"there is no entry {reference!r}")
    return Shown("entry.html", "Entry", {"entry": entry})


GROUP = Group(
    "ledger",
    (
        Place("GET", "/ledger", show),
        Place("GET", "/ledger/account", show_account),
        Place("GET", "/ledger/entries", show_entries),
        Place("GET", "/ledger/entry", show_entry),
    ),
    label="Ledger",
    path="/ledger",
)
