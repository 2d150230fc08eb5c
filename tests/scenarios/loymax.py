"""Plays the Loymax loyalty system against a running hub, by every way in, and reads the queues that are fed from it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import Verdict
from hub.inbox.received import Accepted, Received
from hub.inbox.rows import store_drafts
from hub.store.store import Store
from hub.transports import Confirmed, OutboundMessage
from tests.support.running import API_KEY, RunningHub

DATA: Final = Path(__file__).parents[1] / "data/loymax"
SMART_COMMUNICATIONS: Final = "smc.customerEvents"
OTHER: Final = "loymax.other"
CYRILLIC: Final = "\u0441ustomer.card.changeCategory"
"""As Loymax's documentation prints it: the first letter is U+0441."""
DESIGNATED: Final[Mapping[str, str]] = {
    "customer.registration.begin": "loymax.registration",
    "customer.registration.finish": "loymax.registration",
    "customer.card.link": "loymax.cards",
    "customer.card.changeState": "loymax.cards",
    "customer.card.changeBlockState": "loymax.cards",
    "customer.card.changeDeleteState": "loymax.cards",
    "customer.card.changeCategory": "loymax.cards",
    "purchases.confirm.modelUpdate": "loymax.purchases",
    "purchases.refundModelUpdate": "loymax.purchases",
    "customer.profile.merge": "loymax.profile",
    "customer.attribute.update": "loymax.profile",
    "customer.subscription.update": "loymax.profile",
}
"""Routing key → the queue that is meant for it, beside the one of the downstream platform."""
QUEUES: Final = sorted({SMART_COMMUNICATIONS, OTHER, *DESIGNATED.values()})


@dataclass(frozen=True, slots=True)
class Sample:
    """One event as Loymax prints it: ``sent_as`` is its routing key, ``known_as`` the same in ASCII."""

    name: str
    sent_as: str
    payload: bytes

    @property
    def known_as(self) -> str:
        return self.sent_as.replace(CYRILLIC, "customer.card.changeCategory")


SAMPLES: Final = [
    Sample(one["file"], one["routing_key_as_documented"], (DATA / one["file"]).read_bytes())
    for one in json.loads((DATA / "index.json").read_bytes())
]
UNRELATED: Final = [
    Sample("offer", "offer.edit", b'{"offerId": 7, "eventCode": "OnOfferEdit"}\n'),
    Sample("audience", "targetAudience.calculated", b'{"targetAudienceId": 12, "count": 20481}'),
    # Nearly one of the twelve, and about a customer: only the exact keys may pass.
    Sample("nearly", "customer.card.changeBlockState.v2", b'{"customerInfo": {"customerId": 18}}'),
    Sample("shorter", "customer.card", b'{"customerInfo": {"customerId": 18}}'),
]

Way: TypeAlias = "Callable[[RunningHub, Sample, str], Awaitable[None]]"


async def post_structured(hub: RunningHub, sample: Sample, message_id: str) -> None:
    """``POST /events`` with the envelope around the exact bytes."""
    names = {"specversion": "1.0", "source": "loymax", "type": sample.sent_as, "id": message_id}
    body = json.dumps(names).encode()[:-1] + b', "data": ' + sample.payload + b"}"
    await _post(hub, body, {"Content-Type": "application/cloudevents+json"})


async def post_binary(hub: RunningHub, sample: Sample, message_id: str) -> None:
    """``POST /events`` with the attributes in headers and the payload as the body."""
    headers = {"ce-specversion": "1.0", "ce-source": "loymax", "ce-type": quote(sample.sent_as), "ce-id": message_id}
    await _post(hub, sample.payload, {"Content-Type": "application/json", **headers})


async def store_beside(hub: RunningHub, sample: Sample, message_id: str) -> None:
    """Into the inbox by another process, as a command does while the daemon runs."""
    store = Store.open(hub.hub.settings.database, pool_size=1)
    received = Received(
        source="loymax",
        body=sample.payload,
        routing_key=sample.sent_as,
        message_id=message_id,
        verdict=Verdict.TRUSTED,
    )
    draft = hub.hub.wiring.drafter.draft(received)

    async def work(conn: AsyncConnection) -> None:
        await store_drafts(conn, [draft], route_ids=hub.hub.rules.route_ids, now=hub.hub.clock.now())

    try:
        await store.write(work)
    finally:
        await store.close()


async def publish(hub: RunningHub, sample: Sample, message_id: str) -> None:
    """Into the exchange that Loymax publishes to; the hub reads the queue that is bound to it."""
    assert await hub.hub.transport.publish([message_of(sample, message_id)]) == [Confirmed()]


def message_of(sample: Sample, message_id: str) -> OutboundMessage:
    """What Loymax publishes."""
    return OutboundMessage(
        message_id=message_id,
        exchange="loymax.events",
        routing_key=sample.sent_as,
        content_type="application/json",
        payload=sample.payload,
        headers={},
        key=message_id,
    )


WAYS: Final[Mapping[str, Way]] = {
    "structured": post_structured,
    "binary": post_binary,
    "inbox": store_beside,
    "queue": publish,
}


async def accept(hub: RunningHub, type_: str, body: Mapping[str, Any] | bytes, message_id: str = "") -> Accepted:
    """Straight to the hub's own door; without an id the message has none."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await hub.hub.acceptor.accept(
        Received(source="loymax", body=payload, routing_key=type_, message_id=message_id, verdict=Verdict.TRUSTED)
    )


async def _post(hub: RunningHub, body: bytes, headers: Mapping[str, str]) -> None:
    status, answer = await hub.post("/events", body, Authorization=f"Bearer {API_KEY}", **headers)
    assert (status, answer[0]["kind"]) == (202, "event"), answer
