"""What payments add to the capability, and their commands by message.

Begin with ``paying.py`` (a shop asks), ``payments.py`` (PayPay is asked) and ``payment_states.py`` (what its answers
mean); ``payment_steps.py`` does what follows, ``payment_money.py`` keeps the
books, ``payment_deciding.py`` does what a person has decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from handlers.paypay.answering import as_model
from handlers.paypay.paying import (
    order_cancel,
    order_capture,
    order_refund,
    order_revert,
    request_code,
    request_payment,
)
from handlers.paypay.payment_deciding import decide_payment
from handlers.paypay.payment_hints import hint_payment
from handlers.paypay.payment_http import CANCEL, CAPTURE, CREATE, CREATE_CODE, REFUND, REVERT
from handlers.paypay.payment_steps import STEP
from handlers.paypay.payments import run_step
from hub.capability import HandlerSpec, handler
from hub.errors import RefusedCommand
from hub.event import Event
from schemas.paypay import CommandAnswered, CommandMessage, CommandRefused, PaymentResult, PaymentStep

if TYPE_CHECKING:
    from hub.deliver.context import Context

__all__ = ["EMITS", "HANDLERS", "PUBLISHES", "SCHEMAS"]

ANSWERED: Final = "paypay.command.answered"
REFUSED: Final = "paypay.command.refused"
COMMANDS: Final[Mapping[str, HandlerSpec]] = {
    CREATE: request_payment,
    CAPTURE: order_capture,
    REVERT: order_revert,
    CANCEL: order_cancel,
    REFUND: order_refund,
    CREATE_CODE: request_code,
    "paypay.code.delete": order_cancel,
}
"""Type of the message → the handler that HTTP uses for the same command."""


@handler
async def run_command(event: Event, ctx: Context) -> None:
    """Carry out one command by message; a refusal is an answer too.

    ``request_id`` is the message's identity and, where none is given, the order's ``idempotency_key``.
    """
    spec, fields = COMMANDS[event.type], event.data
    request_id = str(fields.get("request_id", ""))
    assert spec.model is not None
    try:
        async with ctx.savepoint():
            known = {name: value for name, value in fields.items() if name in spec.model.model_fields}
            reply = await spec.function(as_model(spec.model, {"idempotency_key": request_id, **known}), ctx)
    except RefusedCommand as error:
        refused = CommandRefused(request_id=request_id, command=event.type, code=error.code, detail=error.detail)
        await ctx.publish(refused, routing_key=REFUSED)
        ctx.conclude(error.code)
        return
    assert isinstance(reply, BaseModel)
    answered = CommandAnswered(request_id=request_id, command=event.type, reply=reply.model_dump(mode="json"))
    await ctx.publish(answered, routing_key=ANSWERED)


HANDLERS: Final[Mapping[str, HandlerSpec]] = {
    "request_code": request_code,
    "request_payment": request_payment,
    "order_capture": order_capture,
    "order_revert": order_revert,
    "order_cancel": order_cancel,
    "order_refund": order_refund,
    "run_step": run_step,
    "hint_payment": hint_payment,
    "decide_payment": decide_payment,
    "run_command": run_command,
}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {"CommandMessage": CommandMessage, "PaymentResult": PaymentResult}
EMITS: Final[Mapping[str, type[BaseModel]]] = {
    STEP: PaymentStep,
    **{
        f"paypay.payment.{word}": PaymentResult
        for word in ("authorized", "completed", "failed", "canceled", "expired", "refunded")
    },
}
PUBLISHES: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "run_command": {ANSWERED: CommandAnswered, REFUSED: CommandRefused},
}
