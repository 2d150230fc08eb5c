"""What a handler of payments uses of its context, without a hub: books that add up, and everything that it asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID, uuid4

from handlers.paypay.settings import PayPaySettings
from hub.deliver.effects import Effects
from hub.ledger import Move
from schemas.paypay import PaymentResult, PaymentStep
from tests.support.paypay import settings_for

NOW: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)
"""Noon in Japan."""


class Ledger:
    """Entries by reference, and what they make of the accounts."""

    def __init__(self) -> None:
        self.entries: dict[str, Sequence[Move]] = {}

    async def find(self, reference: str) -> Sequence[Move] | None:
        return self.entries.get(reference)

    async def post(self, reference: str, kind: str, moves: Sequence[Move]) -> None:
        assert reference not in self.entries
        self.entries[reference] = moves

    async def reverse(self, original: str, *, reference: str, note: str = "") -> None:
        back = [Move(debit=one.credit, credit=one.debit, amount=one.amount) for one in self.entries[original]]
        await self.post(reference, "reversal", back)

    @property
    def balances(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for move in (one for moves in self.entries.values() for one in moves):
            for account, sign in ((move.debit, 1), (move.credit, -1)):
                name = account.code.rpartition(":")[2]
                found[name] += move.amount.amount_minor * (sign if account.side == "debit" else -sign)
        return {name: amount for name, amount in found.items() if amount}


class Delivery:
    """What a handler of payments uses of its context, one event after the other."""

    def __init__(self) -> None:
        self.now = NOW
        self.ledger = Ledger()
        self.settings: PayPaySettings = settings_for("http://127.0.0.1:1")
        self.session = SimpleNamespace(scalars=self._nothing, scalar=self._none, get=self._none)
        self.told: list[tuple[str, Any]] = []
        self.timers: list[tuple[float, PaymentStep]] = []
        self.reviews: dict[UUID, tuple[str, str]] = {}
        self.begin()

    def begin(self) -> None:
        """The next event."""
        self.event, self.effects = SimpleNamespace(id=uuid4()), Effects()

    def conclude(self, outcome: str) -> None: ...

    def review(self, outcome: str, reason: str) -> None:
        self.effects.review = (outcome, reason)
        self.reviews[self.event.id] = (outcome, reason)

    def resolve_review(self, event_id: UUID, note: str) -> None:
        del self.reviews[event_id]

    async def emit(self, type: str, payload: Any, *, key: str | None = None) -> None:
        self.told.append((type, payload))

    async def after(self, delay_s: float, type: str, payload: PaymentStep, *, key: str | None = None) -> None:
        self.timers.append((delay_s, payload))

    @property
    def results(self) -> list[tuple[str, int]]:
        return [
            (type.removeprefix("paypay.payment."), told.amount_jpy)
            for type, told in self.told
            if isinstance(told, PaymentResult)
        ]

    async def _nothing(self, *_: object) -> Any:
        return SimpleNamespace(all=list)

    async def _none(self, *_: object) -> Any:
        return None
