"""``hub ledger``: what the books say, and the proof that they add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from hub.cli.entries import ENTRY_COLUMNS, entry_as_json, entry_rows
from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import LimitOption, as_uuid
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.ledger.model import PostedEntry
from hub.ledger.read import AccountBalance, find_account, list_accounts, list_entries
from hub.ledger.verify import Difference, verify
from hub.routing.fields import nearest

group = new_group("Ask the books: accounts, entries, and the proof that they add up.")

SUGGESTIONS_FROM = 1_000
"""How many accounts are looked at for the nearest name."""


@group.command("accounts")
def show_accounts(
    *,
    prefix: Annotated[str, typer.Option(help="Only accounts whose code begins so.")] = "",
    currency: Annotated[str | None, typer.Option(help="Only this currency, such as VND.")] = None,
    after: Annotated[str, typer.Option(help="Only those behind this code, to turn the page.")] = "",
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the accounts of the ledger with their balances.

    Example: hub ledger accounts --prefix wallet --currency VND
    """

    async def work() -> list[AccountBalance]:
        async with looking() as hub, hub.store.reading() as conn:
            return await list_accounts(conn, prefix=prefix, currency=currency, after=after, limit=limit)

    found = run(work)
    if as_json:
        print_json([_account(one) for one in found])
        return
    rows = [[one.account.code, one.balance.format(), one.account.side, one.opened_at] for one in found]
    print_table("Accounts", ["account", "balance", "side", "opened"], rows)
    _say_more(found, limit, f"--after {found[-1].account.code}" if found else "")


@group.command("entries")
def show_entries(
    *,
    account: Annotated[str | None, typer.Option(help="Only entries that move this account.")] = None,
    event: Annotated[str | None, typer.Option(help="Only entries that this event made.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.")] = None,
    before: Annotated[int | None, typer.Option(help="Only those older than this number, to turn the page.")] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List journal entries with their postings, newest first.

    Example: hub ledger entries --account wallet:42
    """

    async def work() -> list[PostedEntry]:
        event_id = as_uuid(event, "--event") if event is not None else None
        async with looking() as hub, hub.store.reading() as conn:
            if account is not None and await find_account(conn, account) is None:
                known = [one.account.code for one in await list_accounts(conn, limit=SUGGESTIONS_FROM)]
                raise UsageError(f"there is no account {account!r}; {nearest(account, known)}")
            return await list_entries(
                conn, account=account, event_id=event_id, kind=kind, before_id=before, limit=limit
            )

    entries = run(work)
    if as_json:
        print_json([entry_as_json(one) for one in entries])
        return
    rows = [row for one in entries for row in entry_rows(one)]
    print_table("Entries", ENTRY_COLUMNS, rows)
    _say_more(entries, limit, f"--before {entries[-1].id}" if entries else "")


@group.command("verify")
def verify_books(as_json: JsonOption = False) -> None:
    """Recompute every balance from the moves alone; exit 1 when anything differs.

    Example: hub ledger verify
    """

    async def work() -> list[Difference]:
        async with looking() as hub, hub.store.reading() as conn:
            return await verify(conn)

    differences = run(work)
    if as_json:
        print_json({"ok": not differences, "differences": differences})
    elif differences:
        rows = [[one.sort, one.subject, one.expected, one.found] for one in differences]
        print_table("Differences", ["check", "subject", "expected", "found"], rows)
    else:
        say("The books add up: every balance follows from the moves.")
    if differences:
        raise typer.Exit(EXIT_PROBLEM)


def _say_more(found: Sequence[object], limit: int, option: str) -> None:
    if found and len(found) == limit:
        say(f"There may be more: {option}")


def _account(one: AccountBalance) -> Mapping[str, Any]:
    account = one.account
    return {
        "account": account.code,
        "currency": account.currency,
        "side": account.side,
        "running": account.running,
        "may_go_negative": account.may_go_negative,
        "balance_minor": one.balance.amount_minor,
        "balance": one.balance.decimal,
        "opened_at": one.opened_at,
    }
