"""The points of a month for finance: what members exchanged, less what reversals gave back.

A month begins and ends in Japan; an exchange counts in the month in which it succeeded, a reversal, negative, in its
own. Figures are member points (``exchange_use_points``), yen stand beside them. Source: docs/providers/paypay.md,
"Finance report".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.states import Status
from handlers.paypay.tables import APP, PayPayCashback, PayPayReversal
from hub.errors import HubError, UsageError

YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2999
MONTH_CHARS_MAX: Final = len("2026-10")
REVERSED: Final = "REVERSED"
LINES_MAX: Final = 1_000_000
"""A sheet holds little more."""


class ReportError(HubError):
    """The figures contradict each other: no report is better than a wrong one."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a year, with its borders in one time zone."""

    year: int
    month: int
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if not (YEAR_MIN <= self.year <= YEAR_MAX and 1 <= self.month <= 12):
            raise UsageError(f"expected a month from {YEAR_MIN}-01 to {YEAR_MAX}-12")

    @classmethod
    def read(cls, text: str, zone: ZoneInfo) -> Month:
        """From ``2026-10``. Raises UsageError."""
        year, dash, month = text.partition("-")
        is_short = len(text) <= MONTH_CHARS_MAX
        if not (dash and is_short and year.isascii() and year.isdigit() and month.isascii() and month.isdigit()):
            raise UsageError(f"expected a month such as 2026-10, found {text[:20]!r}")
        return cls(int(year), int(month), zone)

    @property
    def begin(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=self.zone).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The first instant of the next month."""
        year, month = divmod(self.year * 12 + self.month, 12)
        return datetime(year, month + 1, 1, tzinfo=self.zone).astimezone(UTC)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An exchange, or what a reversal gave back (negative). Points and yen are whole."""

    id: str
    member_id: str
    device: str
    status: str
    at: datetime
    points: int
    yen: int
    merchant_id: str
    paypay_id: str
    from_purchase: int
    from_promotion: int


@dataclass(frozen=True, slots=True)
class PointReport:
    """A month's lines and their sums."""

    month: Month
    lines: Sequence[Line]

    @property
    def web_points(self) -> int:
        """Exchanged on the website: PC and smartphone browsers. Cell A7."""
        return sum(line.points for line in self.lines if line.device != APP)

    @property
    def app_points(self) -> int:
        """Exchanged in the app. Cell A8."""
        return sum(line.points for line in self.lines if line.device == APP)

    @property
    def web_yen(self) -> int:
        return sum(line.yen for line in self.lines if line.device != APP)

    @property
    def app_yen(self) -> int:
        return sum(line.yen for line in self.lines if line.device == APP)

    def prove(self) -> None:
        """The points by where they came from are the points by where they were used. Raises ReportError."""
        by_source = sum(line.from_purchase + line.from_promotion for line in self.lines)
        by_device = self.web_points + self.app_points
        if by_source != by_device:
            raise ReportError(
                f"{self.month}: {by_source} points by source, {by_device} by device: correct the books before reporting"
            )


async def read_report(session: AsyncSession, month: Month) -> PointReport:
    """The lines of a month, by success time, then id. Raises ReportError, UsageError for more than a sheet holds."""
    lines = [*await _exchanges(session, month), *await _reversals(session, month)]
    if len(lines) > LINES_MAX:
        raise UsageError(f"{month} has {len(lines)} lines, and a sheet holds {LINES_MAX}")
    report = PointReport(month, sorted(lines, key=lambda line: (line.at, line.id)))
    report.prove()
    return report


async def _exchanges(session: AsyncSession, month: Month) -> Iterable[Line]:
    table = PayPayCashback
    query = select(table).where(
        table.status == Status.SUCCESS, table.succeeded_at >= month.begin, table.succeeded_at < month.end
    )
    return [_exchange(row) for row in await session.scalars(query)]


async def _reversals(session: AsyncSession, month: Month) -> Iterable[Line]:
    table = PayPayReversal
    query = (
        select(table, PayPayCashback)
        .join(PayPayCashback, PayPayCashback.id == table.cashback_request_id)
        # Yen that came back of an exchange that failed gave no points back: nothing was redeemed.
        .where(PayPayCashback.status == Status.SUCCESS, table.status == Status.SUCCESS)
        .where(table.succeeded_at >= month.begin, table.succeeded_at < month.end)
        .order_by(table.succeeded_at, table.id)
    )
    return [_reversal(back, row) for back, row in await session.execute(query)]


def _exchange(row: PayPayCashback) -> Line:
    assert row.succeeded_at is not None, "the database refuses a success without its time"
    return Line(
        id=str(row.id),
        member_id=row.member_id,
        device=row.device_type,
        status=row.status,
        at=row.succeeded_at,
        points=row.points,
        yen=row.amount_jpy,
        merchant_id=row.merchant_cashback_id,
        paypay_id=row.cashback_id or "",
        from_purchase=row.points_from_purchase,
        from_promotion=row.points_from_promotion,
    )


def _reversal(back: PayPayReversal, row: PayPayCashback) -> Line:
    assert back.succeeded_at is not None, "the database refuses a success without its time"
    return Line(
        id=f"{row.id}-reversal",
        member_id=row.member_id,
        device=row.device_type,
        status=REVERSED,
        at=back.succeeded_at,
        points=-back.returned_points,
        yen=-back.reversed_amount_jpy,
        merchant_id=back.merchant_cashback_reversal_id,
        paypay_id=back.cashback_reversal_id or "",
        from_purchase=-back.points_to_purchase,
        from_promotion=-back.points_to_promotion,
    )
