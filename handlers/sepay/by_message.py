"""Commands that come by message instead of HTTP: the same handlers, answered by an event.

A refusal is an answer too: what the command had begun is undone, its delivery is done, and the sender hears the code
that HTTP would have given. Source: docs/providers/sepay-orders.md, "Commands by message".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from handlers.sepay.answering import read_model
from handlers.sepay.order_intents import pay_by_transfer, top_up_for_order
from handlers.sepay.ordering import cancel_order, request_order
from handlers.sepay.paying import pay_from_wallet
from handlers.sepay.renewal_commands import cancel_renewal, pause_renewal, resume_renewal
from handlers.sepay.topup import request_topup
from hub.capability import HandlerSpec, handler
from hub.errors import RefusedCommand
from hub.event import Event
from schemas.sepay_events import CommandAnswered, CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.deliver.context import Context

COMMANDS: Final[Mapping[str, HandlerSpec]] = {
    "sepay.topup.requested": request_topup,
    "sepay.order.requested": request_order,
    "sepay.order.pay_wallet": pay_from_wallet,
    "sepay.order.pay_sepay": pay_by_transfer,
    "sepay.order.topup_sepay": top_up_for_order,
    "sepay.order.cancel": cancel_order,
    "sepay.renewal.pause": pause_renewal,
    "sepay.renewal.resume": resume_renewal,
    "sepay.renewal.cancel": cancel_renewal,
}
"""Type of the message → the handler that HTTP uses for the same command."""


@handler
async def run_command(event: Event, ctx: Context) -> None:
    """Carry out one command; what is published is ``sepay.command.answered`` or ``sepay.command.refused``.

    ``request_id`` is the message's identity: a repeat of it changes nothing and is not answered again.
    """
    spec = COMMANDS[event.type]
    fields = event.data
    who = {
        "request_id": str(fields.get("request_id", "")),
        "command": event.type,
        "user_id": str(fields.get("user_id", "")),
    }
    try:
        async with ctx.savepoint():
            assert spec.model is not None
            reply = await spec.function(read_model(spec.model, fields), ctx)
    except RefusedCommand as error:
        refused = CommandRefused(**who, code=error.code, detail=error.detail, extra=dict(error.extra))
        await ctx.publish(refused, routing_key="sepay.command.refused", key=who["user_id"])
        ctx.tag("user_id", who["user_id"])
        ctx.conclude(error.code)
        return
    assert isinstance(reply, BaseModel)
    answered = CommandAnswered(**who, reply=reply.model_dump(mode="json"))
    await ctx.publish(answered, routing_key="sepay.command.answered", key=who["user_id"])
