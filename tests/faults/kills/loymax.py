"""Loymax: events of members by queue and by HTTP, each member's one after the other, as fast as the hubs take them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.kills.senders import Lines, Pace
from tests.faults.publishing import Publisher
from tests.simulation.deeds import _operation
from tests.simulation.world import BATCH, Told, cloud_batch

FLOW: Final = "loymax"
EXCHANGE: Final = "loymax.events"
BY_QUEUE: Final = 16
BY_HTTP: Final = 6
MEMBERS_EACH: Final = 6
BATCH_MAX: Final = 12
BACKLOG_MAX: Final = 1_500
"""Events that are accepted and not told yet: more prove nothing."""
BACKLOG_LOOK_S: Final = 0.05
AGAIN_S: Final = 0.05
REPEATED_SHARE: Final = 0.02
CEASED: Final = 10_000_000
"""From this number on: members who are there only to be merged into another one."""
OTHERS: Final = (
    "customer.attribute.update",
    "customer.card.changeBlockState",
    "customer.registration.begin",
    "customer.subscription.update",
)
PURCHASE, REFUND, MERGE, OFFER = (
    "purchases.confirm.modelUpdate",
    "purchases.refundModelUpdate",
    "customer.profile.merge",
    "offer.edit",
)
FORWARDED: Final = (*OTHERS, PURCHASE, REFUND, MERGE)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was sent. ``number`` counts those of its member; 0 where it belongs to nobody."""

    id: str
    kind: str
    member: int
    number: int
    body: bytes = field(repr=False)


@dataclass
class Loymax:
    """Everything that Loymax has sent, and its senders."""

    lines: Lines
    broker: str
    pace: Pace
    told: Told
    chance: Random
    backlog: Callable[[], int]
    """How many accepted events the downstream queues do not have yet."""
    events: list[Event] = field(default_factory=list)
    """Those that were accepted, in the order in which that became known."""
    _last: dict[int, int] = field(default_factory=dict)
    _purchases: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Send all of it."""
        publishers = [Publisher(self.broker) for _ in range(BY_QUEUE)]
        try:
            async with asyncio.TaskGroup() as group:
                for sender in range(BY_QUEUE + BY_HTTP):
                    members = range(100 + sender * MEMBERS_EACH, 100 + (sender + 1) * MEMBERS_EACH)
                    send = self._by_queue(publishers[sender]) if sender < BY_QUEUE else self._by_http
                    group.create_task(self._go_on(members, send, 1 if sender < BY_QUEUE else BATCH_MAX))
        finally:
            for publisher in publishers:
                await publisher.close()

    async def _go_on(self, members: range, send: Callable[[list[Event]], Awaitable[None]], at_once: int) -> None:
        while (number := await self.pace.piece(FLOW)) is not None:
            batch = self._made(number, self.chance.choice(members))
            for _ in range(self.chance.randrange(at_once)):
                if (number := self.pace.piece_now(FLOW)) is not None:
                    batch += self._made(number, self.chance.choice(members))
            while self.backlog() > BACKLOG_MAX:  # noqa: ASYNC110 - it is at the consumers
                await asyncio.sleep(BACKLOG_LOOK_S)
            await send(batch)
            self.events += batch

    def _by_queue(self, publisher: Publisher) -> Callable[[list[Event]], Awaitable[None]]:
        async def send(batch: list[Event]) -> None:
            for event in batch:
                self.told.sent[FLOW] += 1
                while not await publisher.publish(EXCHANGE, event.kind, event.id, event.body):  # noqa: ASYNC110
                    await asyncio.sleep(AGAIN_S)
                self.told.accepted.append((FLOW, event.body))
                if self.chance.random() < REPEATED_SHARE:
                    await publisher.publish(EXCHANGE, event.kind, event.id, event.body)

        return send

    async def _by_http(self, batch: list[Event]) -> None:
        body = cloud_batch(FLOW, [(event.kind, event.id, event.body) for event in batch])
        await self.lines.deliver(FLOW, "/events", body, BATCH, [event.body for event in batch])

    def _made(self, number: int, member: int) -> list[Event]:
        draw = self.chance.random()
        bought = self._purchases.get(member)
        if draw < 0.25:
            kind, body = PURCHASE, self._purchase(number, member)
        elif draw < 0.28 and bought is not None:
            kind, body = REFUND, _operation("refundOperationInfo", f"{number}", member - 100, 300, 100, is_refund=True)
            body["refundedPurchaseViewModel"] = {
                "refundedPurchaseId": bought,
                "refundedPurchaseExternalId": f"x{bought}",
            }
        elif draw < 0.30:
            return self._merged(CEASED + number, member)
        elif draw < 0.35:
            kind, body = OFFER, {"offerId": number, "eventCode": "OnOfferEdit"}
        else:
            kind, body = self.chance.choice(OTHERS), {"customerInfo": {"customerId": member}, "number": number}
        return [self._event(number, kind, 0 if kind == OFFER else member, body)]

    def _merged(self, ceased: int, member: int) -> list[Event]:
        """Somebody buys once, and then is another member."""
        merge = {
            "fromCustomerInfo": {"customerId": ceased}, "toCustomerInfo": {"customerId": member}, "eventCode": "Merge",
        }  # fmt: skip
        return [
            self._event(ceased, PURCHASE, ceased, self._purchase(ceased, ceased)),
            self._event(ceased + CEASED, MERGE, member, merge),
        ]

    def _purchase(self, number: int, member: int) -> dict[str, Any]:
        reward, spent = 100 * self.chance.randint(1, 90), 0
        if member in self._purchases and self.chance.random() < 0.3:
            spent = 100 * self.chance.randint(1, 30)
        self.told.purchases[f"{number}"] = (f"{member}", reward, spent)
        self._purchases[member] = number
        return _operation("purchaseOperationInfo", f"{number}", member - 100, reward, spent, is_refund=False)

    def _event(self, number: int, kind: str, member: int, body: Mapping[str, Any]) -> Event:
        data = json.dumps(body).encode()
        if not member:
            return Event(f"l-{number}", kind, 0, 0, data)
        self._last[member] = self._last.get(member, 0) + 1
        return Event(f"l-{number}", kind, member, self._last[member], data)
