"""``hub sepay poll`` and ``hub reconcile sepay``: the bank statement, fetched now."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer

from handlers.sepay import bank_desk
from handlers.sepay.bank_desk import Polled
from handlers.sepay.bank_values import bank_time, bank_time_text
from handlers.sepay.reconciling import Difference, Reconciliation
from handlers.sepay.reconciling import reconcile as compare_with_bank
from handlers.sepay.statement import StatementError
from handlers.sepay.statement_api import Window
from hub.cli.breaks import BreakRow, CsvOption, XlsxOption, age_text, write_breaks
from hub.cli.opening import opened
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import RetryableError, UsageError

SinceOption = Annotated[
    str | None, typer.Option(help="Vietnamese time, YYYY-MM-DD or YYYY-MM-DD HH:MM:SS; default: a day before --until.")
]
UntilOption = Annotated[str | None, typer.Option(help="Vietnamese time; a day alone means its end; default: now.")]
DAY = timedelta(days=1)
Result = TypeVar("Result")


def poll(
    once: Annotated[bool, typer.Option("--once", help="Say so: the daemon polls by its schedule anyway.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the bank statement now and accept what no webhook brought; for an external scheduler, or after an outage.

    Example: hub sepay poll --once
    """
    if not once:
        raise typer.BadParameter("say --once: this command reads the statement one time and ends")

    async def work() -> Polled:
        async with opened() as hub:
            window = _window(since, until) if since or until else None
            return await _readable(bank_desk.poll_once(hub.api, window))

    polled = run(work)
    if as_json:
        print_json(polled)
        return
    say(
        f"Read {polled.rows_read} transfers from {bank_time_text(polled.window.since)} to "
        f"{bank_time_text(polled.window.until)}; accepted {polled.accepted} that no webhook had brought"
    )


def reconcile(
    since: SinceOption = None,
    until: UntilOption = None,
    csv: CsvOption = None,
    xlsx: XlsxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare SePay's bank statement with the books, to the dong; exit 1 where they differ.

    Example: hub reconcile sepay --since 2026-11-01 --until 2026-11-20
    """

    async def work() -> Reconciliation:
        async with opened() as hub:
            return await _readable(compare_with_bank(hub.api, _window(since, until)))

    result, now = run(work), datetime.now(UTC)
    write_breaks([_break_row(one) for one in result.differences], now=now, csv=csv, xlsx=xlsx)
    if as_json:
        print_json({"agrees": result.agrees, **bank_desk.as_fields(result)})
    else:
        _print(result, now)
    if not result.agrees:
        raise typer.Exit(EXIT_PROBLEM)


def _break_row(one: Difference) -> BreakRow:
    return BreakRow(
        kind=one.kind,
        id=str(one.sepay_tx_id),
        since=one.at,
        at_provider=str(one.at_bank_minor),
        in_books=str(one.in_books_minor),
        detail=one.account_number,
    )


def _print(result: Reconciliation, now: datetime) -> None:
    window = result.window
    say(f"From {bank_time_text(window.since)} to {bank_time_text(window.until)}, Vietnamese time, in dong:")
    say(f"  {result.transfers} transfers in")
    say(f"  {result.at_bank_minor:,} at the bank, {result.in_books_minor:,} in the books")
    say(f"  out at the bank {result.out_at_bank_minor:,}; in suspense today {result.in_suspense_minor:,}")
    if result.foreign:
        say(f"  {result.foreign} transfers to accounts that SEPAY_ACCOUNTS does not name are left out")
    if result.agrees:
        say("Bank and books agree.")
        return
    print_table(
        "Differences",
        ["transfer", "what", "account", "at the bank", "in the books", "age"],
        [
            [
                one.sepay_tx_id,
                one.kind,
                one.account_number,
                f"{one.at_bank_minor:,}",
                f"{one.in_books_minor:,}",
                age_text(one.at, now),
            ]
            for one in result.differences
        ],
    )


async def _readable(asking: Awaitable[Result]) -> Result:
    try:
        return await asking
    except (StatementError, RetryableError) as error:
        raise UsageError(f"the bank statement cannot be read: {error}") from error


def _window(since: str | None, until: str | None) -> Window:
    end = _time(until, "--until", is_end=True) if until else datetime.now(UTC).replace(microsecond=0)
    start = _time(since, "--since", is_end=False) if since else end - DAY
    if start > end:
        raise UsageError("--since is after --until")
    return Window(start, end)


def _time(text: str, option: str, *, is_end: bool) -> datetime:
    is_day = len(text.strip()) == len("YYYY-MM-DD")
    try:
        return bank_time(f"{text.strip()} {'23:59:59' if is_end else '00:00:00'}" if is_day else text.strip())
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
