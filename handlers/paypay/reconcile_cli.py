"""``hub reconcile paypay``: transaction files, calls and books, compared now."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from handlers.paypay.comparing import Break
from handlers.paypay.files_cli import as_day
from handlers.paypay.files_layout import JAPAN
from handlers.paypay.reconciling import Reconciliation
from handlers.paypay.reconciling import reconcile as compare
from handlers.paypay.witnesses import Days
from hub.cli.breaks import BreakRow, CsvOption, XlsxOption, age_text, write_breaks
from hub.cli.opening import opened
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import PermanentError, RetryableError, UsageError

SinceOption = Annotated[str | None, typer.Option(help="The first day in Japan, YYYY-MM-DD; default: --until.")]
UntilOption = Annotated[str | None, typer.Option(help="The last day in Japan; default: yesterday.")]


def reconcile(
    since: SinceOption = None,
    until: UntilOption = None,
    csv: CsvOption = None,
    xlsx: XlsxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare PayPay's transaction files, its answers on record and the books, to the yen; exit 1 where they differ.

    Example: hub reconcile paypay --since 2026-11-01 --until 2026-11-20
    """
    today = datetime.now(UTC).astimezone(JAPAN).date()
    last = as_day(until, "--until") or today - timedelta(days=1)
    days = Days(as_day(since, "--since") or last, last)

    async def work() -> Reconciliation:
        async with opened(needs_secrets=False) as hub:
            try:
                # The file of a day comes on the next morning.
                return await compare(hub.api, days, is_past=last < today)
            except (RetryableError, PermanentError) as error:
                raise UsageError(str(error)) from error

    result, now = run(work), datetime.now(UTC)
    write_breaks([_break_row(one) for one in result.breaks], now=now, csv=csv, xlsx=xlsx)
    if as_json:
        fields = asdict(result)
        fields["days"] = {"since": days.since.isoformat(), "until": days.until.isoformat()}
        print_json({"agrees": result.agrees, **fields})
    else:
        _print(result, now)
    if not result.agrees:
        raise typer.Exit(EXIT_PROBLEM)


def _break_row(one: Break) -> BreakRow:
    place = f"{one.file} line {one.line}" if one.line else one.file
    return BreakRow(
        kind=one.kind,
        id=one.id,
        since=one.at,
        at_provider="" if one.at_paypay_jpy is None else str(one.at_paypay_jpy),
        in_calls={"not_in_calls": "no", "said_not_booked": "yes"}.get(one.kind, ""),
        in_books="" if one.in_books_jpy is None else str(one.in_books_jpy),
        detail=" ".join(part for part in (one.order_id, place) if part),
    )


def _print(result: Reconciliation, now: datetime) -> None:
    say(f"From {result.days.since} to {result.days.until} in Japan, in yen:")
    say(f"  {result.files} transaction files, {result.rows} rows; {result.calls} answers of PayPay on record")
    say(f"  payments {result.paid_at_paypay_jpy:,} at PayPay, {result.paid_in_books_jpy:,} in the books")
    say(f"  refunds {result.refunded_at_paypay_jpy:,} at PayPay, {result.refunded_in_books_jpy:,} in the books")
    say(f"  cashback {result.cashback_in_books_jpy:,} in the books, as PayPay's answers have it")
    if result.by_hand:
        say(f"  {result.by_hand} were settled by a person: PayPay has not said so itself")
    if result.agrees:
        say("PayPay, the calls and the books agree.")
        return
    print_table(
        "Breaks",
        ["what", "our id", "at PayPay", "in the books", "age", "file", "line"],
        [
            [
                one.kind,
                one.id,
                _yen(one.at_paypay_jpy),
                _yen(one.in_books_jpy),
                age_text(one.at, now),
                one.file,
                one.line or "",
            ]
            for one in result.breaks
        ],
    )


def _yen(amount: int | None) -> str:
    return "" if amount is None else f"{amount:,}"
