"""Entries of the past: reading them back with their moves, and saying why the database refused new ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import ARRAY, ColumnElement, Select, String, Text, any_, bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.account_rows import Record
from hub.ledger.entry_rows import EntryRow
from hub.ledger.errors import (
    AlreadyReversedError,
    DuplicateReferenceError,
    LedgerError,
    RefusedByDatabaseError,
    UnknownEntryError,
)
from hub.ledger.model import Account, Move, PostedEntry, Side
from hub.ledger.tables import MOVES_PER_ENTRY_MAX, accounts, entries, moves
from hub.money import Money

CORRECTION: Final = "correction"
"""The kind of the entries that put an older one right, each posted for the same event (docs/replay.md)."""


def correction_reference(entry_id: int, number: int) -> str:
    """The reference of the entry that is the ``number``-th to correct this one, counted from 1."""
    return f"{CORRECTION}:{entry_id}:{number}"


def is_correction(entry: PostedEntry) -> bool:
    """It says what another entry should have said, and stands or falls with that one."""
    return entry.kind == CORRECTION and entry.reference.startswith(f"{CORRECTION}:")


async def find_entry(conn: AsyncConnection, reference: str) -> PostedEntry | None:
    """The entry with this reference, with its moves."""
    found = await load_entries(conn, select(entries).where(entries.c.reference == reference))
    return found[0] if found else None


async def corrections_of(conn: AsyncConnection, entry: PostedEntry) -> list[PostedEntry]:
    """What has corrected this entry, the newest first; complete only while ``lock_entry`` keeps it."""
    if entry.event_id is None:
        return []
    query = select(entries).where(
        entries.c.event_id == entry.event_id,
        entries.c.kind == CORRECTION,
        entries.c.reference.startswith(f"{CORRECTION}:{entry.id}:"),
    )
    # Each has a move at least: more of them than this are refused as one entry.
    return await load_entries(conn, query.order_by(entries.c.id.desc()).limit(MOVES_PER_ENTRY_MAX))


async def load_entries(conn: AsyncConnection, query: Select[*tuple[Any, ...]]) -> list[PostedEntry]:
    """The entries that ``query`` selects (all columns of ``entries``, bounded by the caller), in its order."""
    records = list(await conn.execute(query))
    by_entry: dict[int, list[Record]] = {record.id: [] for record in records}
    if records:
        debit, credit = accounts.alias("debit"), accounts.alias("credit")
        joined = (
            select(
                moves,
                *(column.label(f"debit_{column.name}_of") for column in debit.c),
                *(column.label(f"credit_{column.name}_of") for column in credit.c),
            )
            .join(debit, debit.c.id == moves.c.debit_account)
            .join(credit, credit.c.id == moves.c.credit_account)
            .where(moves.c.entry_id.in_(list(by_entry)))
            .order_by(moves.c.entry_id, moves.c.position)
        )
        for move in await conn.execute(joined):
            by_entry[move.entry_id].append(move)
    return [_entry(record, by_entry[record.id]) for record in records]


def _entry(record: Record, move_records: Sequence[Record]) -> PostedEntry:
    return PostedEntry(
        reference=record.reference,
        kind=record.kind,
        moves=tuple(
            Move(_account(move, "debit"), _account(move, "credit"), Money(move.amount, move.currency))
            for move in move_records
        ),
        afters=tuple((move.debit_after, move.credit_after) for move in move_records),
        posted_at=record.posted_at,
        event_id=record.event_id,
        delivery_id=record.delivery_id,
        reverses=record.reverses,
        hold_id=record.hold_id,
        note=record.note,
        data=record.data,
        id=record.id,
    )


def _account(record: Record, prefix: str) -> Account:
    values = record._mapping
    return Account(
        values[f"{prefix}_code_of"],
        values[f"{prefix}_currency_of"],
        cast(Side, values[f"{prefix}_side_of"]),
        bool(values[f"{prefix}_running_of"]),
        bool(values[f"{prefix}_may_go_negative_of"]),
    )


@dataclass(frozen=True, slots=True)
class Reversals:
    """What has been given back of an entry before."""

    count: int
    is_full: bool


async def lock_entry(conn: AsyncConnection, entry_id: int) -> Reversals:
    """Keep others from reversing or correcting this entry until the transaction ends; says what was reversed before.

    Raises UnknownEntryError.
    """
    # SQLite drops FOR UPDATE without a word, and needs none: its one writer has the database to itself.
    if (await conn.execute(select(entries.c.id).where(entries.c.id == entry_id).with_for_update())).first() is None:
        raise UnknownEntryError(entry_id)
    flags = (await conn.scalars(select(entries.c.reverses_fully).where(entries.c.reverses == entry_id))).all()
    return Reversals(len(flags), any(flags))


async def entry_refused(conn: AsyncConnection, error: IntegrityError, written: Sequence[EntryRow]) -> LedgerError:
    """The database's refusal in the ledger's words."""
    cause = error.orig.__cause__ if error.orig is not None else None
    constraint = str(getattr(cause, "constraint_name", None) or error.orig)
    if "uq_entries_reference" in constraint:
        found = _KEY_DETAIL.search(str(getattr(cause, "detail", "")))
        return DuplicateReferenceError(found.group(1) if found else "")
    if "uq_entries_full_reversal" in constraint:
        return AlreadyReversedError(", ".join(str(row.entry.reverses) for row in written if row.reverses_fully))
    if "entries has this row already" in constraint:
        return DuplicateReferenceError(await _known_reference(conn, written))
    return RefusedByDatabaseError(str(error.orig))


_KEY_DETAIL = re.compile(r"Key \(reference\)=\((.*)\) already exists", re.DOTALL)


async def _known_reference(conn: AsyncConnection, written: Sequence[EntryRow]) -> str:
    # Some rows of this batch may have gone in before one was refused; they are not the older ones we look for.
    query = select(entries.c.reference).where(
        _in_texts(conn, entries.c.reference, "references"), entries.c.id < min(row.entry.id for row in written)
    )
    references = _as_list(conn, [row.entry.reference for row in written])
    return str(await conn.scalar(query.limit(1), {"references": references}) or "")


def _in_texts(conn: AsyncConnection, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """``column`` is one of the texts of the parameter ``name``, bound by ``_as_list``."""
    if conn.dialect.name == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(Text)))
    values = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return column.in_(select(values.c.value))


def _as_list(conn: AsyncConnection, values: Iterable[str]) -> object:
    """The value to bind for ``_in_texts``."""
    return list(values) if conn.dialect.name == "postgresql" else json.dumps(list(values))
