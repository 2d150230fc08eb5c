"""``hub reconcile paypal``: PayPal's events, payments and states against the hub's; what is missing is fed in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handlers.paypal.accounts import MAIN, UnknownAccountError
from handlers.paypal.asking import in_turns
from handlers.paypal.client import Answer, Ask, Call
from handlers.paypal.reconciling import FED, Break, Reconciliation, Window
from handlers.paypal.reconciling import reconcile as compare_with_paypal
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.transactions import FOUND_TYPE, found_form
from hub.cli.breaks import BreakRow, CsvOption, XlsxOption, age_text, write_breaks
from hub.cli.opening import opened
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.deliver.command import RepeatedCommandError
from hub.errors import BusyError, RetryableError, UsageError
from hub.flow.priority import Priority
from schemas.paypal import EventFetched, SubscriptionShown, TransactionFound

if TYPE_CHECKING:
    from hub.api import HubApi

FETCHED_TYPE = "paypal.event.fetched"
SHOWN_TYPE = "paypal.subscription.shown"
DAY = timedelta(days=1)
PATIENCE_S_MAX = 900.0
"""How long the command waits in all while PayPal wants to be asked later."""


def reconcile(
    *,
    since: Annotated[
        str | None, typer.Option(help="UTC, YYYY-MM-DD or ISO 8601; default: a day before --until.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="UTC; a day alone means its end; default: now.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Only the payments of this subscription.")] = None,
    account: Annotated[
        str | None, typer.Option(help=f"One of our accounts, {MAIN} for the main one; default: all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare: feed nothing in.")] = False,
    csv: CsvOption = None,
    xlsx: XlsxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare PayPal's events and payments with the books; exit 1 where they differ. What is missing is fed in.

    Example: hub reconcile paypal --since 2026-11-01 --until 2026-11-20
    """
    window = _window(since, until)

    async def work() -> list[Reconciliation]:
        async with opened() as hub:
            settings: PaypalSettings = hub.api.settings_of("paypal")
            found = []
            for name in _accounts(settings, account):
                ask = _patient(hub.api, settings.account(name))
                try:
                    one = await compare_with_paypal(hub.api, ask, name, window, subscription_id=subscription)
                except RetryableError as error:
                    raise UsageError(f"PayPal cannot be asked: {error}") from error
                if not dry_run:
                    await feed(hub.api, one)
                found.append(one)
            return found

    found, now = run(work), datetime.now(UTC)
    write_breaks([_break_row(each, one) for one in found for each in one.breaks], now=now, csv=csv, xlsx=xlsx)
    if as_json:
        print_json([_fields(one, dry_run) for one in found])
    else:
        for one in found:
            _print(one, dry_run, now)
    if not all(one.agrees for one in found):
        raise typer.Exit(EXIT_PROBLEM)


async def feed(api: HubApi, found: Reconciliation) -> None:
    """Accept what is missing, on the way that its webhook would have taken; repeats change nothing."""
    for body in found.missing_events:
        await _command(api, FETCHED_TYPE, EventFetched(account=found.account, event=body))
    for subscription_id, listed in found.transactions:
        message = TransactionFound.model_validate(found_form(listed, subscription_id, found.account))
        await _command(api, FOUND_TYPE, message, key=subscription_id)
    for shown in found.shown:
        news = SubscriptionShown(
            subscription_id=shown.subscription_id,
            account=found.account,
            status=shown.status,
            custom_id=shown.custom_id,
            plan_id=shown.plan_id,
            changed_at=shown.changed_at,
        )
        await _command(api, SHOWN_TYPE, news, key=shown.subscription_id)


async def _command(api: HubApi, type_: str, message: Any, *, key: str | None = None) -> None:
    try:
        await api.command(type_, message, key=key)
    except RepeatedCommandError:
        return


def _patient(api: HubApi, settings: PaypalSettings) -> Ask:
    """Asks as everybody does, and waits while PayPal wants to be asked later."""
    if not settings.client_id.get_secret_value():
        raise UsageError("HUB_PAYPAL_CLIENT_ID is not set: there is nobody to ask")
    ask_once = in_turns(api, settings, Priority.SWEEP)
    waited_s = 0.0

    async def ask(call: Call) -> Answer:
        nonlocal waited_s
        while True:
            try:
                return await ask_once(call)
            except BusyError as error:
                delay_s = max(1.0, error.delay_s or 1.0)
                if waited_s + delay_s > PATIENCE_S_MAX:
                    raise
                waited_s += delay_s
                await asyncio.sleep(delay_s)

    return ask


def _accounts(settings: PaypalSettings, wanted: str | None) -> Sequence[str | None]:
    if wanted is None:
        return settings.account_names
    name = None if wanted == MAIN else wanted
    try:
        settings.account(name)
    except UnknownAccountError as error:
        raise UsageError(str(error)) from error
    return [name]


def _fields(one: Reconciliation, dry_run: bool) -> dict[str, Any]:
    return {
        "account": one.account or MAIN,
        "agrees": one.agrees,
        "since": one.window.since,
        "until": one.window.until,
        "events": one.events,
        "subscriptions": one.subscriptions,
        "payments": one.payments,
        "breaks": [{**asdict(each), "fed": not dry_run and each.kind in FED} for each in one.breaks],
    }


def _break_row(each: Break, one: Reconciliation) -> BreakRow:
    return BreakRow(
        kind=each.kind,
        id=each.id,
        since=each.at,
        at_provider=each.at_paypal,
        in_books=each.in_hub,
        detail=f"account {one.account or MAIN}, subscription {each.subscription_id or 'none'}",
    )


def _print(one: Reconciliation, dry_run: bool, now: datetime) -> None:
    since, until = one.window.since, one.window.until
    say(f"Account {one.account or MAIN} from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC:")
    say(f"  {one.events} events, {one.payments} payments of {one.subscriptions} subscriptions at PayPal")
    if one.agrees:
        say("PayPal and the hub agree.")
        return
    print_table(
        "Breaks",
        ["what", "id", "subscription", "at PayPal", "in the hub", "age", "then"],
        [
            [
                each.kind,
                each.id,
                each.subscription_id,
                each.at_paypal,
                each.in_hub,
                age_text(each.at, now),
                _then(each.kind in FED, dry_run),
            ]
            for each in one.breaks
        ],
    )


def _then(can_be_fed: bool, dry_run: bool) -> str:
    if not can_be_fed:
        return "for a person"
    return "can be fed in" if dry_run else "fed in"


def _window(since: str | None, until: str | None) -> Window:
    end = _time(until, "--until", is_end=True) if until else datetime.now(UTC).replace(microsecond=0)
    start = _time(since, "--since", is_end=False) if since else end - DAY
    if start > end:
        raise UsageError("--since is after --until")
    return Window(since=start, until=end)


def _time(text: str, option: str, *, is_end: bool) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"{option}: expected YYYY-MM-DD or ISO 8601, found {text[:40]!r}") from error
    is_day = len(text.strip()) == len("YYYY-MM-DD")
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found + DAY - timedelta(seconds=1) if is_day and is_end else found
