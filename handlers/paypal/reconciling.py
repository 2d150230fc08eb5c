"""PayPal against the books: events that no webhook brought, payments, refunds and states on which the two differ.

What is missing and can be had is fed in, each on the way that its webhook would have taken: under the same identity, so
that a webhook which comes after all is a duplicate. Amounts are compared with the ledger, not with our own rows.
Source: docs/providers/paypal.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypal import books
from handlers.paypal.asking import LOOK_BACK, RefusedByPaypalError, Shown, Transaction, past_events, show, transactions
from handlers.paypal.client import Ask
from handlers.paypal.events import PaypalEvent, read_event
from handlers.paypal.payments import DENIED, PENDING
from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from hub.inbox.identity import claimed_identity
from hub.ledger.tables import accounts, entries, moves
from hub.money import Money
from hub.store import tables as t

if TYPE_CHECKING:
    from hub.api import HubApi

VALUES_PER_QUERY: Final = 500
LOOK_BACK_FAR: Final = timedelta(days=400)
"""How long after it was paid a payment may have been fed in."""
REFUNDS: Final = ("REFUNDED", "PARTIALLY_REFUNDED")

Kind = Literal[
    "event_missing",
    "payment_missing",
    "another_amount",
    "another_fee",
    "another_state",
    "refund_missing",
    "refund_not_at_paypal",
    "not_at_paypal",
    "another_status",
]
FED: Final[frozenset[Kind]] = frozenset(
    {"event_missing", "payment_missing", "another_fee", "another_state", "another_status"}
)
"""Breaks that what PayPal says mends; the others are for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time at PayPal, both ends included."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One thing on which PayPal and the hub do not agree. ``id`` is PayPal's, of an event, payment or subscription."""

    kind: Kind
    id: str
    subscription_id: str | None
    at_paypal: str
    in_hub: str
    at: datetime | None = field(default=None, compare=False)
    """When it happened, or when the hub first heard of it, as far as either is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the comparison of an account gave, and what can be fed in of it."""

    account: str | None
    window: Window
    events: int
    subscriptions: int
    payments: int
    breaks: Sequence[Break]
    missing_events: Sequence[Mapping[str, Any]]
    transactions: Sequence[tuple[str, Transaction]]
    shown: Sequence[Shown]

    @property
    def agrees(self) -> bool:
        """Whether PayPal and the hub say the same."""
        return not self.breaks


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A payment as the hub has it: ``gross`` and ``fee`` as the ledger has them, None where nothing is booked.

    ``heard_at`` is when the hub first heard of it.
    """

    payment_id: str
    heard_at: datetime
    state: str
    gross: Money | None
    fee: Money | None
    refunded_minor: int


async def reconcile(
    api: HubApi, ask: Ask, account: str | None, window: Window, *, subscription_id: str | None = None
) -> Reconciliation:
    """Compare a time of one account with the books; nothing is changed.

    Subscriptions that were alive, or of which the hub has heard, in that time are asked about; ``subscription_id`` asks
    about one. Raises RetryableError while PayPal cannot be asked: an empty answer must never pass for an empty list.
    """
    bodies = await past_events(ask, window.since, window.until)
    async with api.reading() as session:
        missing = await _unheard_of(session, bodies)
        rows = await _subscriptions(session, account, window)
    wanted = [row for row in rows if subscription_id in (None, row.subscription_id)]
    events = [read_event(body) for body in missing]
    named = {one.subscription_id for one in events}
    breaks = [_break("event_missing", one.id, one.subscription_id, one.type, "", one.changed_at) for one in events]
    found: list[tuple[str, Transaction]] = []
    changed: list[Shown] = []
    count = 0
    for row in wanted:
        shown = await show(ask, row.subscription_id)
        listed = await transactions(ask, row.subscription_id, window.since - LOOK_BACK, window.until)
        async with api.reading() as session:
            booked = await _booked(session, row.subscription_id)
        count += len(listed)
        if shown is not None and shown.status != row.status:
            breaks.append(
                _break(
                    "another_status",
                    row.subscription_id,
                    row.subscription_id,
                    shown.status,
                    row.status or "",
                    shown.changed_at,
                )
            )
            # Of a subscription whose events are missing they tell more.
            changed += [] if row.subscription_id in named else [shown]
        differences = compare(listed, booked, window)
        if any(kind == "not_at_paypal" for kind, _, _ in differences):
            # Fed in long after it was paid, perhaps: heard of in the window, and at PayPal before all that was asked.
            differences = compare([*listed, *await _older(ask, row.subscription_id, window)], booked, window)
        for kind, one, had in differences:
            id_ = one.payment_id if one is not None else had.payment_id if had is not None else ""
            at = one.at if one is not None else had.heard_at if had is not None else None
            breaks.append(_break(kind, id_, row.subscription_id, _at_paypal(one), _in_hub(had), at))
            if one is not None and kind in FED:
                found.append((row.subscription_id, one))
    told = {one.payment_id for one in events}
    return Reconciliation(
        account=account,
        window=window,
        events=len(bodies),
        subscriptions=len(wanted),
        payments=count,
        breaks=breaks,
        missing_events=missing,
        transactions=[one for one in found if one[1].payment_id not in told],
        shown=changed,
    )


async def _older(ask: Ask, subscription_id: str, window: Window) -> Sequence[Transaction]:
    """The payments of a subscription long before the window; none where PayPal does not list so many at once."""
    try:
        return await transactions(ask, subscription_id, window.since - LOOK_BACK_FAR, window.since - LOOK_BACK)
    except RefusedByPaypalError:
        return []


def compare(
    listed: Iterable[Transaction], booked: Mapping[str, Booked], window: Window
) -> list[tuple[Kind, Transaction | None, Booked | None]]:
    """Where the payments of one subscription differ. Those listed before the window only explain what is booked.

    Of what was heard of before the window PayPal was not asked: that it is not listed says nothing.
    """
    found: list[tuple[Kind, Transaction | None, Booked | None]] = []
    known = {one.payment_id: one for one in listed if one.gross.amount_minor > 0}
    for one in known.values():
        if window.since <= one.at <= window.until:
            had = booked.get(one.payment_id)
            found += [(kind, one, had) for kind in _judge(one, had)]
    for had in booked.values():
        is_asked_about = window.since <= had.heard_at <= window.until
        if is_asked_about and had.payment_id not in known and had.gross is not None:
            found.append(("not_at_paypal", None, had))
    return found


def _judge(one: Transaction, had: Booked | None) -> Iterable[Kind]:
    if one.status in ("PENDING", "DECLINED"):
        state = PENDING if one.status == "PENDING" else DENIED
        if had is None or had.state != state:
            yield "another_state"
        return
    if had is None or had.gross is None:
        yield "payment_missing"
        if one.status in REFUNDS:
            yield "refund_missing"
        return
    if had.gross != one.gross:
        yield "another_amount"
        return
    if one.fee is not None and one.fee.currency == one.gross.currency and had.fee != one.fee:
        yield "another_fee"
    is_whole = had.refunded_minor == one.gross.amount_minor
    if (one.status == "REFUNDED" and not is_whole) or (one.status == "PARTIALLY_REFUNDED" and not had.refunded_minor):
        yield "refund_missing"
    if one.status == "COMPLETED" and had.refunded_minor:
        yield "refund_not_at_paypal"


def _break(  # noqa: PLR0917 - a line of a table
    kind: Kind, id_: str, subscription_id: str | None, at_paypal: str, in_hub: str, at: datetime | None
) -> Break:
    return Break(kind=kind, id=id_, subscription_id=subscription_id, at_paypal=at_paypal, in_hub=in_hub, at=at)


def _at_paypal(one: Transaction | None) -> str:
    if one is None:
        return ""
    fee = f", fee {one.fee.format()}" if one.fee is not None else ""
    return f"{one.status} {one.gross.format()}{fee}"


def _in_hub(had: Booked | None) -> str:
    if had is None:
        return ""
    gross = f" {had.gross.format()}" if had.gross is not None else ", not booked"
    fee = f", fee {had.fee.format()}" if had.fee else ""
    back = Money(had.refunded_minor, had.gross.currency) if had.gross is not None else None
    return f"{had.state}{gross}{fee}" + (f", back {back.format()}" if back else "")


async def _unheard_of(session: AsyncSession, bodies: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The events of which no proven copy has come, oldest first."""
    hashes = {_identity(read_event(body)): body for body in bodies}
    known: set[bytes] = set()
    wanted = list(hashes)
    for start in range(0, len(wanted), VALUES_PER_QUERY):
        some = wanted[start : start + VALUES_PER_QUERY]
        query = select(t.identities.c.id_hash).where(t.identities.c.id_hash.in_(some))
        known |= {bytes(found) for found in await session.scalars(query)}
    return [body for id_hash, body in reversed(hashes.items()) if id_hash not in known]


def _identity(event: PaypalEvent) -> bytes:
    return claimed_identity("paypal", "event", event.id)


async def _subscriptions(session: AsyncSession, account: str | None, window: Window) -> list[PaypalSubscription]:
    paid = select(PaypalPayment.subscription_id).where(PaypalPayment.updated_at >= window.since)
    query = (
        select(PaypalSubscription)
        .where(
            PaypalSubscription.account.is_not_distinct_from(account),
            PaypalSubscription.created_at <= window.until,
            or_(
                PaypalSubscription.status.is_(None),
                PaypalSubscription.status.in_(("APPROVED", "ACTIVE", "SUSPENDED")),
                PaypalSubscription.updated_at >= window.since,
                PaypalSubscription.subscription_id.in_(paid),
            ),
        )
        .order_by(PaypalSubscription.subscription_id)
    )
    return list(await session.scalars(query))


async def _booked(session: AsyncSession, subscription_id: str) -> Mapping[str, Booked]:
    """The payments of a subscription, with what the ledger has of each."""
    query = select(PaypalPayment).where(PaypalPayment.subscription_id == subscription_id)
    rows = list(await session.scalars(query))
    gross = await _sums(
        session, {books.sale_reference(row.payment_id) for row in rows}, moves.c.credit_account, "revenue"
    )
    references = {books.sale_reference(row.payment_id) for row in rows} | {
        books.fee_reference(row.payment_id) for row in rows
    }
    fees = await _sums(session, references, moves.c.debit_account, "fees")
    return {
        row.payment_id: Booked(
            payment_id=row.payment_id,
            heard_at=row.created_at,
            state=row.state,
            gross=_money(gross.get(books.sale_reference(row.payment_id)), row.currency),
            fee=_money(
                _added(fees.get(books.sale_reference(row.payment_id)), fees.get(books.fee_reference(row.payment_id))),
                row.currency,
            )
            or (Money.zero(row.currency) if row.fee_minor == 0 else None),
            refunded_minor=row.refunded_minor,
        )
        for row in rows
    }


async def _sums(session: AsyncSession, references: set[str], side: Any, book: str) -> Mapping[str, int]:
    """Reference → how much its entry moved to this side of these books."""
    found: dict[str, int] = {}
    wanted = sorted(references)
    for start in range(0, len(wanted), VALUES_PER_QUERY):
        query = (
            select(entries.c.reference, func.sum(moves.c.amount))
            .join(moves, moves.c.entry_id == entries.c.id)
            .join(accounts, accounts.c.id == side)
            .where(
                entries.c.reference.in_(wanted[start : start + VALUES_PER_QUERY]), accounts.c.code.contains(f":{book}:")
            )
            .group_by(entries.c.reference)
        )
        found |= {reference: int(amount) for reference, amount in await session.execute(query)}
    return found


def _added(*parts: int | None) -> int | None:
    given = [part for part in parts if part is not None]
    return sum(given) if given else None


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)
