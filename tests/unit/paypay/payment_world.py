"""Payments without a hub: the handlers themselves on a small database, a PayPay of our own, and time that jumps.

What the hub does around a handler is done here in its plainest form: one operation of a payment after the other, timers
in the order in which they are due, the effects of a step together or not at all.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

from handlers.paypay.answers import Answer, Asked, facts_from, outcome_of
from handlers.paypay.codes import Call
from handlers.paypay.outcomes import Outcome, Unknown
from handlers.paypay.payment_steps import STEP
from handlers.paypay.payments import run_step
from handlers.paypay.sandbox import Sandbox
from handlers.paypay.sandbox_books import Payment, Refund, User
from handlers.paypay.sandbox_replies import Refusal, Reply
from handlers.paypay.tables import LINKED, PayPaySession
from handlers.paypay.tables_payments import PayPayPayment
from hub.capability import HandlerSpec
from hub.deliver.effects import Effects
from hub.errors import RefusedCommand
from schemas.paypay import PaymentResult, PaymentStep
from tests.support.paypay import OPTIONS, USER, settings_for
from tests.unit.paypay.payment_delivery import Ledger

START: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)
STALE_MAX: Final = 3
SETTINGS: Final = settings_for("http://127.0.0.1:1")


class World:
    """A shop, its hub's payments, and PayPay."""

    def __init__(self, chance: random.Random) -> None:
        self.now = START
        self.chance = chance
        self.sandbox = Sandbox(replace(OPTIONS, decides_s=2.0))
        self.client = Client(self)
        self.ledger = Ledger()
        self.told: list[tuple[str, PaymentResult]] = []
        self.reviews: dict[UUID, tuple[str, str]] = {}
        self.trouble = 0.0
        """How often a call of PayPay goes wrong."""
        self._engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        self._due: list[tuple[datetime, int, PaymentStep | Callable[[], object]]] = []
        self._number = itertools.count()

    async def open(self) -> UUID:
        """Make the tables, and a member who has agreed to direct debits: the session."""
        async with self._engine.begin() as conn:
            await conn.run_sync(PayPayPayment.metadata.create_all)
        end = START + timedelta(days=365)
        self.sandbox.books.keep(
            User(
                id=USER,
                reference_id="member-1",
                scopes=["direct_debit"],
                issued_at=int(START.timestamp()),
                expires_at=int(end.timestamp()),
                balance_jpy=100_000,
            )
        )
        session_id = uuid4()
        row = PayPaySession(
            id=session_id,
            member_id="member-1",
            device_type="PC",
            nonce="n",
            reference_id="member-1",
            scopes="direct_debit",
            redirect_url="https://shop.example.test/",
            status=LINKED,
            user_authorization_id=USER,
            authorization_expires_at=end,
            expires_at=end,
            created_at=START,
            updated_at=START,
        )
        async with AsyncSession(self._engine) as session:
            session.add(row)
            await session.commit()
        return session_id

    async def close(self) -> None:
        await self._engine.dispose()

    async def order(self, handler: HandlerSpec, body: BaseModel) -> Any:
        """A command; None where it is refused."""
        try:
            async with self._delivery() as ctx:
                return await handler.function(body, ctx)
        except RefusedCommand:
            return None

    async def look(self, payment_id: UUID) -> None:
        """A notification names the payment."""
        self.later(0.0, PaymentStep(payment_id=payment_id, operation="details", reason="notified"))
        await self.passes(0.0)

    async def passes(self, seconds: float) -> None:
        """Time passes, and what is due by then is done, in order."""
        until = self.now + timedelta(seconds=seconds)
        while self._due and self._due[0][0] <= until:
            due, _, step = heapq.heappop(self._due)
            self.now = max(self.now, due)
            if not isinstance(step, PaymentStep):
                step()
                continue
            async with self._delivery() as ctx:
                await run_step.function(step, ctx)
        self.now = until

    def later(self, delay_s: float, step: PaymentStep | Callable[[], object]) -> None:
        """Something for later: an operation, or what happens at PayPay."""
        heapq.heappush(self._due, (self.now + timedelta(seconds=delay_s), next(self._number), step))

    async def row(self, payment_id: UUID) -> PayPayPayment:
        async with AsyncSession(self._engine) as session:
            return (await session.scalars(select(PayPayPayment).where(PayPayPayment.id == payment_id))).one()

    def taken_jpy(self) -> int:
        """What PayPay has of users, and has not given back."""
        now = self.now.timestamp()
        payments = self.sandbox.books.all(Payment)
        stands = [one for one in payments if self.sandbox.payments.status(one, now) in ("COMPLETED", "REFUNDED")]
        return sum(one.amount_jpy for one in stands) - sum(one.amount_jpy for one in self.sandbox.books.all(Refund))

    @asynccontextmanager
    async def _delivery(self) -> AsyncIterator[Any]:
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            ctx = Delivery(self, session)
            yield ctx
            await session.commit()
            for delay_s, step in ctx.steps:
                self.later(delay_s, step)
            self.told += ctx.told
            self.reviews |= ctx.opened


class Delivery:
    """What the handlers of payments use of their context."""

    def __init__(self, world: World, session: AsyncSession) -> None:
        self.now, self.session, self.ledger, self.settings = world.now, session, world.ledger, SETTINGS
        self.event, self.effects = SimpleNamespace(id=uuid4()), Effects()
        self.client = world.client
        self.steps: list[tuple[float, PaymentStep]] = []
        self.told: list[tuple[str, PaymentResult]] = []
        self.opened: dict[UUID, tuple[str, str]] = {}
        self._world = world

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        yield self.session

    async def begin(self) -> None:
        self.session.expire_all()

    async def call(self, step: str, fn: Callable[..., Awaitable[Outcome]], request: Any, **more: Any) -> Outcome:
        outcome = await fn(request, more["key"])
        if self._world.chance.random() < self._world.trouble / 4 and step not in ("details", "refund_details"):
            # The process died after the call: of the next attempt nobody knows what became of it.
            return Unknown("cut off before its answer was written down")
        return outcome

    async def emit(self, type: str, payload: Any, *, key: str | None = None) -> None:
        if type == STEP:
            self.steps.append((0.0, payload))
        else:
            self.told.append((type.removeprefix("paypay.payment."), payload))

    async def after(self, delay_s: float, type: str, payload: PaymentStep, *, key: str | None = None) -> None:
        self.steps.append((delay_s, payload))

    def review(self, outcome: str, reason: str) -> None:
        self.effects.review = (outcome, reason)
        self.opened[self.event.id] = (str(outcome), reason)

    def resolve_review(self, event_id: UUID, note: str) -> None:
        self._world.reviews.pop(event_id, None)
        self.opened.pop(event_id, None)

    def new_id(self) -> UUID:
        return uuid4()

    def conclude(self, outcome: str) -> None: ...

    def tag(self, name: str, value: str) -> None: ...


class Client:
    """PayPay's answers, some of which are lost, too old or not to be read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: dict[str, Reply] = {}
        self._stale: dict[str, int] = {}
        self.is_down = False

    def lags(self, name: str, reads: int) -> None:
        """So many reads of this payment see it as it was at the last one."""
        self._stale[name] = reads

    async def create_code(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        page = "https://paypay.example.test/{}".format
        return self._send(Call.CREATE_CODE, lambda now: desk.create_code(request.body(), now, page))

    async def create_payment(self, request: Any, key: str) -> Outcome:
        return self._create(Call.CREATE_PAYMENT, request, is_authorization=False)

    async def preauthorize(self, request: Any, key: str) -> Outcome:
        return self._create(Call.PREAUTHORIZE, request, is_authorization=True)

    async def read_code_payment(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._read(Call.READ_CODE_PAYMENT, key, lambda now: desk.code_payment(request.merchant_payment_id, now))

    async def read_payment(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._read(Call.READ_PAYMENT, key, lambda now: desk.read(request.merchant_payment_id, now))

    async def delete_code(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._send(Call.DELETE_CODE, lambda now: desk.delete_code(request.code_id))

    async def cancel_payment(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._send(Call.CANCEL_PAYMENT, lambda now: desk.cancel(request.merchant_payment_id, now))

    async def capture_payment(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._send(Call.CAPTURE_PAYMENT, lambda now: desk.capture(request.body(), now))

    async def revert_payment(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._send(Call.REVERT_PAYMENT, lambda now: desk.revert(request.body(), now))

    async def refund_payment(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        return self._send(Call.REFUND_PAYMENT, lambda now: desk.refund(request.body(), now))

    async def read_refund(self, request: Any, key: str) -> Outcome:
        desk = self._world.sandbox.payments
        read = lambda now: desk.read_refund(request.merchant_refund_id, request.payment_id, now)  # noqa: E731 - short
        return self._read(Call.READ_REFUND, f"refund {key}", read)

    def _create(self, call: Call, request: Any, *, is_authorization: bool) -> Outcome:
        desk = self._world.sandbox.payments
        return self._send(call, lambda now: desk.create(request.body(), now, is_authorization=is_authorization))

    def _send(self, call: Call, act: Callable[[float], Reply]) -> Outcome:
        fault = self._fault(("lost-before", "lost-after", "late", "error-500"))
        if fault == "late":
            # It is still under way when nobody waits for it any more.
            self._world.later(self._world.chance.uniform(3, 40), lambda: self._reply(act))
        if fault in ("lost-before", "late"):
            return Unknown("no answer")
        if fault == "error-500":
            return self._judged(call, Reply(500, {"resultInfo": {"code": "INTERNAL_SERVER_ERROR", "codeId": "x"}}))
        reply = self._reply(act)
        return Unknown("no answer") if fault == "lost-after" else self._judged(call, reply)

    def _read(self, call: Call, key: str, act: Callable[[float], Reply]) -> Outcome:
        fault, reply = self._fault(("lost", "stale")), self._reply(act)
        if fault == "lost":
            return Unknown("no answer")
        if fault == "stale":
            self._stale[key] = self._world.chance.randint(1, STALE_MAX)
        if self._stale.get(key, 0) > 0 and key in self._before:
            # PayPay answers from before something happened, and not for long.
            self._stale[key] -= 1
            return self._judged(call, self._before[key])
        self._before[key] = reply
        return self._judged(call, reply)

    def _reply(self, act: Callable[[float], Reply]) -> Reply:
        try:
            return act(self._world.now.timestamp())
        except Refusal as refusal:
            return refusal.reply

    def _judged(self, call: Call, reply: Reply) -> Outcome:
        asked = Asked(call)
        answer = Answer(http_status=reply.http_status, body=json.dumps(reply.body).encode())
        return outcome_of(asked, facts_from(asked, answer))

    def _fault(self, faults: tuple[str, ...]) -> str | None:
        chance = self._world.chance
        if self.is_down:
            return faults[0]
        return chance.choice(faults) if chance.random() < self._world.trouble else None
