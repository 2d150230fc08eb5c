"""The record: one message about every event, whatever became of it, for everybody who wants to hear.

Source: docs/providers/paypal.md, "The record".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from handlers.paypal.events import UNKNOWN_TYPE, PaypalEvent, read_event
from hub.capability import handler
from hub.errors import UnreadableError
from hub.event import Event, stable_uuid
from hub.jsonbody import parse_json
from schemas.paypal import EventRecorded, WebhookRefused, WebhookVerdict

if TYPE_CHECKING:
    from hub.deliver.context import Context

RECORDED_TYPE: Final = "paypal.event.recorded"
REASON_CHARS_MAX: Final = 500


@handler
async def record_refused(refused: WebhookRefused, ctx: Context) -> None:
    """Tell everybody of what was refused; ids and type are only what its sender said."""
    found = read_event(claimed_body(refused.body, refused.body_encoding))
    await record(
        ctx, found, refused.webhook_event_id, verdict=refused.verdict, reason=refused.reason, outcome="refused"
    )


async def record(
    ctx: Context,
    found: PaypalEvent,
    webhook_event_id: UUID,
    *,
    verdict: WebhookVerdict,
    reason: str,
    outcome: str,
    custom_id: str | None = None,
) -> None:
    """Publish the record of an event with what became of it, in this delivery's transaction."""
    event: Event = ctx.event
    message = EventRecorded(
        # The same for whoever reads the message twice, from whichever queue.
        record_id=str(stable_uuid("paypal record", str(event.id))),
        webhook_event_id=webhook_event_id,
        event_id=found.id,
        event_type=found.type,
        verdict=verdict,
        reason=reason[:REASON_CHARS_MAX],
        outcome=outcome,
        subscription_id=found.subscription_id,
        custom_id=custom_id or found.custom_id,
        payment_id=found.payment_id or found.refund_of,
        amount_minor=found.amount.amount_minor if found.amount else None,
        currency=found.amount.currency if found.amount else None,
        received_at=event.received_at,
        trace_id=event.trace_id,
    )
    await ctx.publish(message, routing_key=RECORDED_TYPE, key=found.subscription_id or found.id)


def claimed_body(body: str | None, encoding: str) -> Mapping[str, Any]:
    """What the body says, for people to find it by; nothing where it cannot be read."""
    try:
        text = body or ""
        data = parse_json(base64.b64decode(text) if encoding == "base64" else text.encode())
    except UnreadableError:
        return {"event_type": UNKNOWN_TYPE}
    return data if isinstance(data, Mapping) else {"event_type": UNKNOWN_TYPE}
