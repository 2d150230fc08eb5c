"""A transaction file: announced, fetched, kept, read, compared.

    notification ─► hear_of_file ─► fetch_file ─► read_file
                     (RECEIVED)      (STORED)      (PARSED)

The notice is unsigned, so that its address is a stranger's wish until ``files_address.py`` has judged it. It stays with
the event that brought it: no row, no later event and no log holds it. Source: docs/providers/paypay.md, "Transaction
files".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Select, select
from yarl import URL

from handlers.paypay.files_address import AddressRefusedError, Allowed, checked_address, host_of
from handlers.paypay.files_fetching import FetchError, FileRefusedError, fetch
from handlers.paypay.files_layout import JAPAN, read_name
from handlers.paypay.files_store import FileStore, storage_key
from handlers.paypay.outcomes import Declined, Outcome, Settled, Unknown
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables import TEXT_MAX
from handlers.paypay.tables_files import FileStatus, PayPayTransactionFile
from hub.capability import calls, handler
from hub.errors import PermanentError, RefusedCommand
from hub.event import Event
from hub.flow.priority import Priority
from hub.jsonbody import parse_json, write_json
from hub.storage import StorageError
from hub.store.tables import inbox
from hub.store.upserts import insert_for
from schemas.paypay_files import FileFetch, FileOrdered, FileRead

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from hub.deliver.context import Context

FETCH: Final = "paypay.file.fetch"
READ: Final = "paypay.file.read"
WINDOW: Final = timedelta(hours=2)
"""How long PayPay's address of a file is good."""
CALL_S: Final = 120.0
"""How long fetching and keeping a file may take together."""
WAITS_S: Final = (5.0, 15.0, 60.0, 180.0, 300.0)
"""Between two tries; the last one again and again."""
REFUSALS_APART: Final = timedelta(hours=1)
"""A stranger's notices must not fill a person's list: one refused address an hour does."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypay")


def allowed_by(settings: PayPaySettings) -> Allowed:
    """Where files may be fetched from, by the settings."""
    return Allowed(settings.file_hosts, settings.url or "")


# --- announced ------------------------------------------------------------------------------------------------------


@handler
async def hear_of_file(event: Event, ctx: Context) -> None:
    """A notification announces a file: remember it, and have it fetched.

    The same file announced again changes nothing; under another address it is fetched from there, by the same rules.
    """
    data: Mapping[str, Any] = event.data if isinstance(event.data, dict) else {}
    path = data.get("path")
    if not isinstance(path, str):
        ctx.conclude("no_address")
        return
    name, url_hash = notice_id(data), hashlib.sha256(path.encode(errors="replace")).hexdigest()
    row = await ctx.session.scalar(_known(name))
    if row is not None and row.url_hash == url_hash and not _is_given_up(row, ctx):
        ctx.conclude("known")
        return
    try:
        url = checked_address(path, allowed_by(ctx.settings))
    except AddressRefusedError as error:
        log.warning("paypay_file_refused", reason=str(error))
        await _refuse(row, error, ctx)
        return
    said = _said(url, url_hash, data, ctx)
    if row is None:
        await _insert(ctx, notification_id=name, status=FileStatus.RECEIVED, **said)
        row = await ctx.session.scalar(_known(name))
        assert row is not None, "it was inserted by this transaction, or by another that has committed"
    elif row.storage_key is None:
        for column, value in said.items():
            setattr(row, column, value)
        row.status = FileStatus.RECEIVED
    else:
        row.url_hash, row.url_host = url_hash, host_of(url)
    row.event_id, row.expires_at, row.updated_at = ctx.event.id, ctx.now + WINDOW, ctx.now
    _tag(row, ctx)
    await ctx.emit(FETCH, FileFetch(file_id=row.id, event_id=event.id), key=_chain(row))
    ctx.conclude("being_fetched")


def _is_given_up(row: PayPayTransactionFile, ctx: Context) -> bool:
    """Nothing of it is kept and nobody tries any more: PayPay, who was asked to, has sent the notice again."""
    return row.storage_key is None and (row.status == FileStatus.EXPIRED or ctx.now >= row.expires_at)


def _known(notification_id: str) -> Select[PayPayTransactionFile]:
    return (
        select(PayPayTransactionFile).where(PayPayTransactionFile.notification_id == notification_id).with_for_update()
    )


def _said(url: URL, url_hash: str, data: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """What a notice says of its file."""
    file_name = _text(url.name, "unnamed")
    said = read_name(file_name)
    return {
        "file_type": _text(data.get("fileType"), "unknown"),
        "file_name": file_name,
        "merchant_id": _text(said.merchant_id or ctx.settings.merchant, "unknown"),
        "day": said.day,
        "url_host": host_of(url)[:TEXT_MAX],
        "url_hash": url_hash,
        "requested_at": _epoch(data.get("requestedAt")),
    }


async def _refuse(row: PayPayTransactionFile | None, error: AddressRefusedError, ctx: Context) -> None:
    """Nothing is fetched. A person hears of it, though not of each one."""
    ctx.conclude("address_refused")
    since = ctx.now - REFUSALS_APART
    table = PayPayTransactionFile
    told = select(table.id).where(table.status == FileStatus.FAILED, table.storage_key.is_(None))
    if row is not None or await ctx.session.scalar(told.where(table.received_at > since).limit(1)) is not None:
        return
    fresh = await _insert(
        ctx,
        notification_id=notice_id(_data(ctx.event)),
        file_type=_text(_data(ctx.event).get("fileType"), "unknown"),
        file_name="unknown",
        merchant_id="unknown",
        url_host="",
        # The same notice is judged anew when it comes again: the list of hosts may be another one by then.
        url_hash="",
        status=FileStatus.FAILED,
        last_error=str(error),
        review_event_id=ctx.event.id,
    )
    if fresh:
        ctx.review("transaction_file_refused", f"{error}; then ask PayPay to send the notice again")


async def _insert(ctx: Context, **values: Any) -> bool:
    """A new row, unless somebody else has just written it; answers whether it is ours."""
    conn = await ctx.session.connection()
    statement = insert_for(conn.dialect.name, PayPayTransactionFile).values(
        id=ctx.new_id(),
        event_id=ctx.event.id,
        attempts=0,
        received_at=ctx.now,
        updated_at=ctx.now,
        expires_at=ctx.now + WINDOW,
        **values,
    )
    done = await conn.execute(statement.on_conflict_do_nothing().returning(PayPayTransactionFile.id))
    return done.first() is not None


# --- fetched --------------------------------------------------------------------------------------------------------


@calls("paypay-files", timeout_s=CALL_S + 60.0, priority=Priority.POLL)
async def fetch_file(wanted: FileFetch, ctx: Context) -> None:
    """Fetch a file and keep it. Tried again until its address is not good any more."""
    async with ctx.reading() as session:
        row = await session.get(PayPayTransactionFile, wanted.file_id)
        address = await _address(session, wanted.event_id)
    if row is None:
        raise PermanentError(f"no transaction file has the id {wanted.file_id}")
    if row.event_id != wanted.event_id:
        # It was announced again, under another address: that one is being fetched.
        ctx.conclude("announced_again")
        return
    if ctx.now >= row.expires_at:
        await _expire(wanted.file_id, ctx)
        return
    outcome = await ctx.call(
        "fetch",
        partial(_fetched_and_kept, ctx.settings, address, row),
        {"file_id": str(row.id), "url_hash": row.url_hash},
        key=f"{row.notification_id}",
        # Fetching twice does no harm: what is kept is kept once.
        lookup=partial(_fetched_and_kept, ctx.settings, address, row),
        timeout_s=CALL_S,
    )

    await ctx.begin()
    row = await locked(wanted.file_id, ctx)
    row.attempts, row.updated_at = row.attempts + 1, ctx.now
    match outcome:
        case Settled(data=data):
            await _keep(row, data, ctx)
        case Declined(reason=reason):
            row.last_error = reason
            if row.storage_key is None:
                row.status = FileStatus.FAILED
            await _ask_of_notice(row, "transaction_file_refused", f"{row.file_name}: {reason}", ctx)
        case _:
            row.last_error = outcome.reason
            delay_s = WAITS_S[min(wanted.number, len(WAITS_S) - 1)]
            again = FileFetch(file_id=row.id, event_id=wanted.event_id, number=wanted.number + 1)
            await ctx.after(delay_s, FETCH, again, key=_chain(row))
            ctx.conclude("tried_again_later")


async def _keep(row: PayPayTransactionFile, data: Mapping[str, Any], ctx: Context) -> None:
    if row.sha256 is not None and row.sha256 != data["sha256"]:
        row.last_error = f"announced again with another content, kept as {data['storage_key']}"
        ask_person(row, "transaction_file_changed", f"{row.file_name}: {row.last_error}", ctx)
        return
    if row.sha256 is not None:
        ctx.conclude("kept_before")
        return
    row.storage_key, row.sha256, row.size_bytes = data["storage_key"], data["sha256"], data["size_bytes"]
    row.status, row.stored_at, row.last_error = FileStatus.STORED, ctx.now, None
    close_review(row, "the file was fetched", ctx)
    await ctx.emit(READ, FileRead(file_id=row.id), key=_chain(row))
    ctx.conclude("stored")


async def _expire(file_id: UUID, ctx: Context) -> None:
    await ctx.begin()
    row = await locked(file_id, ctx)
    if row.storage_key is not None:
        ctx.conclude("kept_before")
        return
    row.status, row.updated_at = FileStatus.EXPIRED, ctx.now
    why = f"{row.file_name} could not be fetched in two hours ({row.last_error}): ask PayPay to send the notice again"
    ctx.conclude("expired")
    await _ask_of_notice(row, "transaction_file_expired", why, ctx)


async def _ask_of_notice(row: PayPayTransactionFile, why: str, words: str, ctx: Context) -> None:
    """Nothing came of a notice. A person hears of it, though not of each one: anybody may have sent them."""
    table = PayPayTransactionFile
    told = (
        select(table.id)
        .where(table.status.in_((FileStatus.FAILED, FileStatus.EXPIRED)), table.storage_key.is_(None))
        .where(table.review_event_id.is_not(None), table.updated_at > ctx.now - REFUSALS_APART, table.id != row.id)
        .limit(1)
    )
    if row.review_event_id is None and await ctx.session.scalar(told) is not None:
        ctx.conclude(why)
        log.warning("paypay_file_untold", file_id=str(row.id), reason=why)
        return
    ask_person(row, why, f"{words} (and perhaps others: hub paypay files list)", ctx)


async def _fetched_and_kept(
    settings: PayPaySettings, address: object, row: PayPayTransactionFile, _request: object, _key: str
) -> Outcome:
    allowed = allowed_by(settings)
    try:
        url = checked_address(address, allowed)
        fetched = await fetch(url, allowed, bytes_max=settings.file_bytes_max)
    except (AddressRefusedError, FileRefusedError) as error:
        return Declined(str(error))
    except FetchError as error:
        return Unknown(str(error))
    day = row.day or row.received_at.astimezone(JAPAN).date()
    key = storage_key(row.file_type, row.merchant_id, day, row.file_name)
    with fetched.content:
        try:
            kept = await FileStore(settings).keep(key, fetched.content, fetched.sha256)
        except StorageError as error:
            return Unknown(str(error))
    return Settled({"storage_key": kept, "sha256": fetched.sha256, "size_bytes": fetched.size_bytes})


async def _address(session: AsyncSession, event_id: UUID) -> object:
    """The address that a notification brought."""
    payload = await session.scalar(select(inbox.c.payload).where(inbox.c.id == event_id))
    data = parse_json(payload) if payload is not None else None
    return data.get("path") if isinstance(data, dict) else None


# --- an operator's ---------------------------------------------------------------------------------------------------


@handler
async def order_file(order: FileOrdered, ctx: Context) -> str:
    """Have a file fetched now, or read once more where it is kept; answers which.

    Raises RefusedCommand: NOT_FOUND, WINDOW_OVER.
    """
    found = select(PayPayTransactionFile).where(PayPayTransactionFile.id == order.file_id).with_for_update()
    row = await ctx.session.scalar(found)
    if row is None:
        raise RefusedCommand("NOT_FOUND", "no transaction file has this id")
    _tag(row, ctx)
    if row.storage_key is not None:
        await ctx.emit(READ, FileRead(file_id=row.id), key=_chain(row))
        return "read"
    if ctx.now >= row.expires_at or not row.url_hash:
        message = "its address is not good any more: ask PayPay to send the notice again (it keeps files for a week)"
        raise RefusedCommand("WINDOW_OVER", message)
    row.status, row.updated_at = FileStatus.RECEIVED, ctx.now
    await ctx.emit(FETCH, FileFetch(file_id=row.id, event_id=row.event_id), key=_chain(row))
    return "fetched"


# --- what they share --------------------------------------------------------------------------------------------------


async def locked(file_id: UUID, ctx: Context) -> PayPayTransactionFile:
    found = select(PayPayTransactionFile).where(PayPayTransactionFile.id == file_id).with_for_update()
    row = await ctx.session.scalar(found)
    assert row is not None, "a transaction file is never deleted"
    _tag(row, ctx)
    return row


def _chain(row: PayPayTransactionFile) -> str:
    """Files of one name follow each other, whoever announced them: they are kept in one place."""
    return f"{row.merchant_id}/{row.file_name}"[:TEXT_MAX]


def _tag(row: PayPayTransactionFile, ctx: Context) -> None:
    ctx.tag("file_id", str(row.id))
    ctx.tag("file_name", row.file_name)


def ask_person(row: PayPayTransactionFile, why: str, words: str, ctx: Context) -> None:
    """Put it on a person's list; what is there about the same file already makes room for it."""
    close_review(row, f"followed by: {why}", ctx)
    row.review_event_id = ctx.event.id
    ctx.review(why, words)


def close_review(row: PayPayTransactionFile, note: str, ctx: Context) -> None:
    if row.review_event_id is not None:
        ctx.resolve_review(row.review_event_id, note)
        row.review_event_id = None


def _data(event: Event) -> Mapping[str, Any]:
    return event.data if isinstance(event.data, dict) else {}


def notice_id(data: Mapping[str, Any]) -> str:
    """PayPay's id of the notice; one without a bearable id is known by all that it says, so that a copy is the same."""
    given = data.get("notification_id")
    is_bearable = isinstance(given, str) and 0 < len(given) <= TEXT_MAX and given.isprintable()
    text = write_json({name: data[name] for name in sorted(data)})
    return str(given) if is_bearable else hashlib.sha256(text.encode()).hexdigest()


def _text(value: object, default: str) -> str:
    """A text that can be kept and shown; what is none becomes the default."""
    text = "".join(letter for letter in value if letter.isprintable()) if isinstance(value, str) else ""
    return text.strip()[:TEXT_MAX] or default


def _epoch(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(str(value)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
