"""Webhooks get lost: the bank statement is read every quarter of an hour, and what no webhook brought is accepted.

A transfer that is found goes the way of its webhook: the same source, the same identity, the same route. Should the
webhook come after all, it is a duplicate. Source: docs/providers/sepay.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.accounts import Accounts
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import StatementError, StatementRow
from handlers.sepay.statement_api import StatementApi, Window
from handlers.sepay.tables import PayBankTransaction
from handlers.sepay.tables_polls import STATEMENT, PayStatementPoll
from handlers.sepay.twins import looking_alike
from handlers.sepay.wallets import settings_of
from hub.calls.outcome import Declined, NotFound, Outcome, Pending, Settled, Unknown
from hub.capability import calls
from hub.errors import RetryableError
from hub.event import Event
from hub.flow.priority import Priority
from hub.inbox.identity import identity_hash
from hub.store import tables as t
from hub.store.upserts import insert_for

if TYPE_CHECKING:
    from hub.deliver.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")

SOURCE: Final = "sepay"
"""The source of routing.yaml whose webhook the statement stands in for."""
POLL_S_MAX: Final = 110.0
CALL_S_MAX: Final = 100.0
VALUES_PER_QUERY: Final = 500
STATEMENT_SAYS: Final = "statement_says"
"""Where a transfer keeps what the statement says of it, when that is another amount or direction."""

Reading: TypeAlias = AbstractAsyncContextManager[AsyncSession]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the statement gave: how many transfers, and those that the hub has not heard of."""

    rows_read: int
    missing: Sequence[StatementRow]


@calls("sepay", timeout_s=POLL_S_MAX, priority=Priority.SWEEP)
async def poll_statement(event: Event, ctx: Context) -> None:
    """Read the statement since the last look, with an overlap, and accept every transfer that is missing.

    Running it again accepts nothing twice. Without SEPAY_API_TOKEN nothing is read. A refusal by SePay is a review: an
    empty answer must never pass for an empty statement.
    """
    settings = settings_of(ctx)
    if not settings.api_token.get_secret_value():
        ctx.conclude("off")
        return
    async with ctx.reading() as session:
        window = await window_of(session, settings, until=event.occurred_at)

    async def read(request: Mapping[str, Any], key: str) -> Outcome:
        try:
            rows = await StatementApi(settings).rows(window)
        except StatementError as error:
            return Declined(str(error))
        async with ctx.reading() as session:
            missing = await missing_of(session, rows)
        return Settled({"rows_read": len(rows), "missing": [dict(row.body) for row in missing]})

    # Only a look: asked again it does no harm, so nothing has to be looked up first.
    outcome = await ctx.call(
        "read", read, {"until": window.until.isoformat()}, lookup=_never_matters, timeout_s=CALL_S_MAX
    )
    match outcome:
        case Settled(data=data):
            await ctx.begin()
            healed = await unheard_of(ctx.session, data["missing"])
            for body in data["missing"]:
                await ctx.accept(SOURCE, body)
            await remember_differing(ctx.session, data["missing"])
            await note(ctx.session, window, ctx.now, rows_read=data["rows_read"], healed=healed)
            ctx.tag("healed", str(healed))
            ctx.conclude("healed" if healed else "complete")
        case Declined(reason=reason):
            log.error("statement_refused", reason=reason)
            ctx.review("statement_refused", reason)
        case Pending(reason=reason) | Unknown(reason=reason):
            raise RetryableError(f"the statement could not be read: {reason}")
        case _:
            assert_never(outcome)


async def window_of(session: AsyncSession, settings: SepaySettings, *, until: datetime) -> Window:
    """From the last look that succeeded, less the overlap, to ``until``; the overlap alone where there was none."""
    last = await session.get(PayStatementPoll, STATEMENT)
    covered = min(last.covered_until, until) if last else until
    return Window(covered - timedelta(hours=settings.poll_overlap_hours), until)


async def missing_of(session: AsyncSession, rows: Sequence[StatementRow]) -> list[StatementRow]:
    """The transfers that the hub has not booked, or has booked with another amount or direction (a conflict, then).

    Where such a conflict waits for a person already, the transfer is not brought again.
    """
    booked = await _booked_as(session, rows)
    missing = [row for row in rows if not _is_same(row, booked.get(row.id))]
    disputed = await _disputed(session, missing)
    return [row for row in missing if row.id in booked or row.id not in disputed]


async def unheard_of(session: AsyncSession, bodies: Sequence[Mapping[str, Any]]) -> int:
    """How many of these transfers no webhook and no earlier look has brought: what is healed by accepting them now."""
    numbers = {int(body["id"]) for body in bodies}
    heard = {number for number, _ in await _accepted(session, numbers)}
    heard |= {row.sepay_tx_id for row in await _rows(session, PayBankTransaction.sepay_tx_id, list(numbers))}
    return len(numbers - heard)


async def numbers_of(session: AsyncSession, rows: Sequence[StatementRow], ours: Accounts) -> Mapping[int, int]:
    """Number of each row → the number under which the hub has booked it: another one where its other name came first.

    So also with names that the hub has not learnt: after the statement's version was changed, what both say of a
    transfer tells. A row that is not booked keeps its own number.
    """
    booked = await _booked_as(session, rows)
    numbers = {row.id: booked[row.id].sepay_tx_id for row in rows if row.id in booked}
    taken = set(numbers.values())
    for row in rows:
        if row.id not in numbers and row.transfer is not None:
            twins = await looking_alike(session, row.transfer, ours)
            free = [twin for twin in twins if twin.sepay_tx_id not in taken and not _has_other_name(twin, row)]
            numbers[row.id] = free[0].sepay_tx_id if free else row.id
            taken.add(numbers[row.id])
    return {row.id: numbers.get(row.id, row.id) for row in rows}


async def remember_differing(session: AsyncSession, bodies: Sequence[Mapping[str, Any]]) -> None:
    """Keep what the statement says of transfers that are booked otherwise: one conflict for a person is enough."""
    said = {int(body["id"]): _words(body) for body in bodies}
    for row in await _rows(session, PayBankTransaction.sepay_tx_id, list(said)):
        row.details = {**row.details, STATEMENT_SAYS: said[row.sepay_tx_id]}


async def note(session: AsyncSession, window: Window, now: datetime, *, rows_read: int, healed: int) -> None:
    """Remember how far the statement is known."""
    values = {
        "name": STATEMENT,
        "covered_until": window.until,
        "polled_at": now,
        "rows_read": rows_read,
        "healed": healed,
    }
    new = insert_for(session.get_bind().dialect.name, PayStatementPoll).values(values)
    kept = PayStatementPoll
    await session.execute(
        new.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "covered_until": new.excluded.covered_until,
                "polled_at": new.excluded.polled_at,
                "rows_read": kept.rows_read + new.excluded.rows_read,
                "healed": kept.healed + new.excluded.healed,
            },
        )
    )


async def _booked_as(session: AsyncSession, rows: Sequence[StatementRow]) -> Mapping[int, PayBankTransaction]:
    """Number of each row that is booked → what is booked: by its number, its UUID, or its webhook's number."""
    found = {row.sepay_tx_id: row for row in await _rows(session, PayBankTransaction.sepay_tx_id, _ids(rows))}
    by_webhook = await _rows(session, PayBankTransaction.webhook_id, _ids(rows))
    found |= {row.webhook_id: row for row in by_webhook if row.webhook_id is not None}
    by_uuid = await _rows(session, PayBankTransaction.provider_uuid, [row.uuid for row in rows])
    named = {row.provider_uuid: row for row in by_uuid}
    return found | {row.id: named[row.uuid] for row in rows if row.uuid in named}


def _has_other_name(booked: PayBankTransaction, row: StatementRow) -> bool:
    # A transfer of version 2 is known by its UUID, any other by its number.
    return (booked.provider_uuid if row.uuid else booked.webhook_id) is not None


def _ids(rows: Sequence[StatementRow]) -> list[int]:
    return [row.id for row in rows]


async def _accepted(session: AsyncSession, numbers: Collection[int]) -> list[tuple[int, UUID]]:
    """Those of these numbers that were accepted under their identity, each with the event that it was."""
    by_hash = {identity_hash(SOURCE, str(number)): number for number in numbers}
    found: list[tuple[int, UUID]] = []
    for some in in_batches(list(by_hash)):
        query = select(t.identities.c.id_hash, t.identities.c.event_id).where(t.identities.c.id_hash.in_(some))
        found += [(by_hash[bytes(id_hash)], event_id) for id_hash, event_id in await session.execute(query)]
    return found


async def _disputed(session: AsyncSession, rows: Sequence[StatementRow]) -> set[int]:
    """The numbers under which something else was accepted before, which a person has been told."""
    accepted = {event_id: number for number, event_id in await _accepted(session, _ids(rows))}
    disputed: set[int] = set()
    for some in in_batches(list(accepted)):
        told = await session.scalars(select(t.conflicts.c.event_id).where(t.conflicts.c.event_id.in_(some)))
        disputed |= {accepted[event_id] for event_id in told}
    return disputed


async def _rows(session: AsyncSession, column: Any, values: Sequence[Any]) -> list[PayBankTransaction]:
    found: list[PayBankTransaction] = []
    for some in in_batches([value for value in values if value]):
        found += await session.scalars(select(PayBankTransaction).where(column.in_(some)))
    return found


def in_batches(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values in parts that one query can name."""
    return (values[at : at + VALUES_PER_QUERY] for at in range(0, len(values), VALUES_PER_QUERY))


def _is_same(row: StatementRow, known: PayBankTransaction | None) -> bool:
    if known is None:
        return False
    if row.transfer is None or known.details.get(STATEMENT_SAYS) == _words(row.body):
        return True
    transfer = row.transfer
    amounts = (known.amount_in_minor, known.amount_out_minor)
    return amounts == ((transfer.amount_minor, 0) if transfer.direction == "in" else (0, transfer.amount_minor))


def _words(body: Mapping[str, Any]) -> str:
    return f"{body['transferType']} {body['transferAmount']}"


async def _never_matters(request: Mapping[str, Any], key: str) -> NotFound:
    return NotFound(may_repeat=True)
