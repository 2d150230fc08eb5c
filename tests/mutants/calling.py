"""What may go wrong while a provider is called, and in what follows from its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.paypal import states as paypal_states
from handlers.paypay import cashback, states
from hub.calls import record
from hub.calls.outcome import Declined, Unknown
from hub.calls.record import CallRecorder, Step
from hub.store import tables as t
from tests.mutants.planting import everywhere


@contextmanager
def silence_is_a_refusal() -> Iterator[None]:
    """No answer in time, so it has failed; that it may have happened occurs to nobody."""
    original = record._guarded

    async def hasty(function: Any, step: Step, number: int) -> Any:
        outcome = await original(function, step, number)
        return Declined(outcome.reason, outcome.data) if isinstance(outcome, Unknown) else outcome

    with everywhere(original, hasty):
        yield


@contextmanager
def each_try_has_a_key_of_its_own() -> Iterator[None]:
    """The key that was to make a repeat harmless is minted anew for each."""
    original: Any = Step.key_of

    def minted(self: Step, number: int) -> str:
        return f"{original(self, number)}-{uuid4().hex[:8]}"

    with patch.object(Step, "key_of", minted):
        yield


RECORDER: ContextVar[CallRecorder] = ContextVar("recorder")


@contextmanager
def a_call_is_recorded_when_it_has_been_answered() -> Iterator[None]:
    """Whoever dies between the call and its record does not know that there was one."""
    run: Any = CallRecorder.run
    guarded = record._guarded

    async def known(self: CallRecorder, step: Step) -> Any:
        RECORDER.set(self)
        return await run(self, step)

    async def unrecorded(function: Any, step: Step, number: int) -> Any:
        if function is not step.send:
            return await guarded(function, step, number)
        recorder = RECORDER.get()
        same = (t.calls.c.delivery_id == step.delivery_id) & (t.calls.c.step == step.name)
        same &= t.calls.c.number == number
        rows: list[dict[str, Any]] = []

        async def take(conn: AsyncConnection) -> None:
            rows[:] = [dict(row._mapping) for row in await conn.execute(select(t.calls).where(same))]
            await conn.execute(delete(t.calls).where(same))

        async def give_back(conn: AsyncConnection) -> None:
            if rows:
                await conn.execute(insert(t.calls), rows)

        await recorder._store.write(take, fence=recorder._fence)
        answer = await guarded(function, step, number)
        await recorder._store.write(give_back, fence=recorder._fence)
        return answer

    with patch.object(CallRecorder, "run", known), everywhere(guarded, unrecorded):
        yield


@contextmanager
def older_news_overwrite_newer_ones() -> Iterator[None]:
    """Whatever comes last is believed, whenever it was said."""
    of_paypal, of_paypay = paypal_states.apply_status, states.after_looking

    async def overwriting(found: Any, ctx: Any) -> Any:
        row = await paypal_states.subscription_of(found, ctx)
        row.status_at = None
        if row.status in paypal_states.FINAL:
            row.status = "ACTIVE"
        return await of_paypal(found, ctx)

    def reopening(status: states.Status, seen: states.Seen, look: states.Look) -> states.Step:
        return of_paypay(states.Status.ACCEPTED if status.is_final else status, seen, look)

    with everywhere(of_paypal, overwriting), everywhere(of_paypay, reopening):
        yield


@contextmanager
def what_was_unknown_changes_its_state_and_nothing_else() -> Iterator[None]:
    """The look finds out how it ended and writes that down; what should follow was bound to the answer alone."""
    original = cashback.follow

    async def idle(row: Any, before: Any, step: Any, reason: str, ctx: Any) -> None:
        if step.is_resent:
            await original(row, before, step, reason, ctx)

    with everywhere(original, idle):
        yield
