"""Events that were proven and that the hub could not handle: the error queue hears of each, once, with its bytes.

They stay parked: once the cause is mended, ``hub parked retry`` runs them again. Source: docs/providers/paypal.md,
"The error queue".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import insert, select

from handlers.paypal.events import read_event
from handlers.paypal.proving import body_text
from handlers.paypal.recording import claimed_body, record
from handlers.paypal.tables import PaypalToldFailure
from handlers.paypal.transmission import KEPT
from handlers.paypal.webhooks import BODY_BYTES_TOLD_MAX, RECEIVED_TYPE, VERIFIED_TYPE
from hub.capability import handler
from hub.errors import UnreadableError
from hub.event import Event
from hub.jsonbody import parse_json, write_json
from hub.store import tables as t
from schemas.paypal import WebhookFailed

if TYPE_CHECKING:
    from hub.deliver.context import Context

FAILED_TYPE: Final = "paypal.webhook.failed"
BATCH: Final = 20
REASON_CHARS_MAX: Final = 400
STAGE_OF: Final = {RECEIVED_TYPE: "verification_failed", VERIFIED_TYPE: "processing_failed"}

_d, _i, _told = t.deliveries, t.inbox, PaypalToldFailure.__table__


@handler
async def tell_failures(event: Event, ctx: Context) -> int:
    """Tell of the deliveries that have been parked since the last look; answers of how many."""
    known = select(_told.c.delivery_id).where(_told.c.delivery_id == _d.c.id)
    parked = (
        select(_d.c.id, _d.c.reason, t.routes.c.name, _i.c.id.label("event_id"), _i.c.type, _i.c.payload)
        .join(_i, _i.c.seq == _d.c.event_seq)
        .join(t.routes, t.routes.c.id == _d.c.route_id)
        .where(t.in_state(_d, *t.OFF_CHAIN_STATES), t.in_state(_d, "parked"), _i.c.type.in_(STAGE_OF), ~known.exists())
        .order_by(_d.c.id)
        .limit(BATCH)
    )
    rows = (await ctx.session.execute(parked)).all()
    for row in rows:
        await ctx.emit(FAILED_TYPE, await _message(row, ctx), dedupe_id=str(row.id))
        await ctx.session.execute(insert(PaypalToldFailure).values(delivery_id=row.id, told_at=ctx.now))
    ctx.conclude("told" if rows else "nothing_new")
    return len(rows)


@handler
async def record_failed(failed: WebhookFailed, ctx: Context) -> None:
    """Record that an event could not be handled; when it is handled after all, that is recorded, too."""
    found = read_event(claimed_body(failed.body, failed.body_encoding))
    await record(ctx, found, failed.webhook_event_id, verdict=failed.verdict, reason=failed.reason, outcome="failed")
    ctx.conclude("recorded")


async def _message(row: Any, ctx: Context) -> WebhookFailed:
    origin, said = await _origin(row, ctx)
    body, encoding = body_text(said, BODY_BYTES_TOLD_MAX)
    return WebhookFailed.model_validate(
        {
            "webhook_event_id": origin.id,
            "event_id": row.event_id,
            "delivery_id": row.id,
            "route": row.name,
            # Only of what was proven do we know who said it.
            "verdict": "valid" if row.type == VERIFIED_TYPE else "undecided",
            "reason": f"{STAGE_OF[row.type]}: {row.reason or 'without a reason'}"[:REASON_CHARS_MAX],
            "received_at": origin.received_at,
            "headers": {name: value for name, value in origin.headers.items() if name in KEPT},
            "body": body,
            "body_encoding": encoding,
        }
    )


async def _origin(row: Any, ctx: Context) -> tuple[Any, bytes]:
    """The event that holds the bytes as they came, and these: of a proven one, the webhook's.

    Where the webhook's is not kept any more (months are pruned, and a failure may be old), what was proven is told.
    """
    own, said, id_ = UUID(str(row.event_id)), bytes(row.payload), None
    if row.type == VERIFIED_TYPE:
        try:
            verified = parse_json(said)
            said, id_ = write_json(verified["event"]).encode(), UUID(str(verified["webhook_event_id"]))
        except (UnreadableError, KeyError, TypeError, ValueError):
            id_ = None
    if id_ is not None:
        found = (await ctx.session.execute(select(_i).where(_i.c.id == id_))).first()
        if found is not None:
            return found, bytes(found.payload)
    return (await ctx.session.execute(select(_i).where(_i.c.id == own))).one(), said
