"""Looking into subscriptions, and acknowledging by hand: what ``hub queue`` uses.

Pub/Sub has no way to look without taking: messages are pulled, kept for the moment of the reading, and given back. A
consumer that reads the same subscription does not get them in that moment.

Source: docs/pubsub.md, "Looking into queues".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, NotFound
from google.pubsub_v1 import types

from hub.errors import UsageError
from hub.routing.fields import nearest
from hub.transports.base import QueuedMessage, QueueInfo, TransportUnavailableError
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.clients import CALL_S_MAX, ClientsOnce, reason_of, within
from hub.transports.pubsub.declaring import at_once, unreadable
from hub.transports.pubsub.leases import Leases
from hub.transports.pubsub.messages import from_pubsub, tag_of

PULL_S_MAX: Final = 2.0
"""How long an empty subscription is waited for before it counts as empty."""
PULL_MESSAGES_MAX: Final = 500
COUNT_MAX: Final = 1_000


class PubSubQueues:
    """The subscriptions of a project, read without consuming them."""

    def __init__(self, address: PubSubAddress, clients: ClientsOnce) -> None:
        self._address = address
        self._clients = clients
        self._seen: dict[str, dict[int, int]] = {}

    async def queue_list(self) -> list[QueueInfo]:
        """Every subscription of the project, with what can be counted by taking it for a moment.

        The count is None above ``COUNT_MAX``, and where taking would count as a delivery attempt (a dead-letter topic)
        or is not possible (push): Cloud Monitoring knows it then.
        """
        return await at_once(await self._subscriptions(), self._counted)

    async def _counted(self, subscription: types.Subscription) -> QueueInfo:
        name = subscription.name.rpartition("/")[2]
        times: list[datetime] = []
        is_countable = not (subscription.dead_letter_policy.dead_letter_topic or unreadable(subscription))
        if is_countable:
            async with self._taking(name) as taken:
                async for one in taken:
                    times.append(one.message.publish_time.ToDatetime(tzinfo=UTC))
                    if len(times) > COUNT_MAX:
                        break
        is_known = is_countable and len(times) <= COUNT_MAX
        return QueueInfo(
            name=name, messages=len(times) if is_known else None, oldest_at=min(times, default=None), is_declared=True
        )

    async def queue_read(self, name: str, *, limit: int, after_id: int = 0) -> list[QueuedMessage]:
        """Messages that this object has not shown yet, as many as Pub/Sub hands out now; they are given back.

        ``id`` numbers them in the order in which they were first shown. Raises UsageError for an unknown queue.
        """
        seen = self._seen.setdefault(name, {})
        found: list[QueuedMessage] = []
        async with self._taking(name) as taken:
            async for one in taken:
                number = seen.setdefault(tag_of(one.message.message_id), len(seen) + 1)
                if number > after_id:
                    found.append(_queued(number, one))
                if len(found) >= limit:
                    break
        return sorted(found, key=lambda message: message.id)

    async def queue_ack(self, name: str, message_ids: Sequence[str]) -> list[str]:
        """Remove exactly these. The answer lists those that were there; what another consumer has in hand is not.

        Raises UsageError for a queue that is not known.
        """
        wanted = dict.fromkeys(message_ids)
        ack_ids: dict[str, str] = {}
        async with self._taking(name) as taken:
            async for one in taken:
                message_id = _id_of(one)
                if message_id in wanted:
                    ack_ids[one.ack_id] = message_id
                if set(ack_ids.values()) == set(wanted):
                    break
            said = await (await self._leases(name)).acknowledge(list(ack_ids))
        done = {ack_ids[ack_id] for ack_id in said.done}
        return [message_id for message_id in wanted if message_id in done]

    @asynccontextmanager
    async def _taking(self, name: str) -> AsyncIterator[AsyncIterator[Any]]:
        """Pull until nothing more comes; give everything back in the end, latest first."""
        held: list[str] = []
        try:
            yield self._pulled(name, held)
        finally:
            if held:
                await (await self._leases(name)).extend(held[::-1], 0)

    async def _pulled(self, name: str, held: list[str]) -> AsyncIterator[Any]:
        subscriber = (await self._clients.get()).subscriber
        path = self._address.subscription(name)
        while True:
            try:
                async with within(CALL_S_MAX):
                    response = await subscriber.pull(
                        subscription=path, max_messages=PULL_MESSAGES_MAX, retry=None, timeout=PULL_S_MAX
                    )
            except TransportUnavailableError as error:
                if isinstance(error.__cause__, DeadlineExceeded):
                    return  # nothing came in that time
                raise
            except NotFound:
                await self._raise_unknown(name)
            except GoogleAPICallError as error:
                raise UsageError(f"queue {name!r} cannot be read: {reason_of(error)}") from error
            received = types.PullResponse.pb(response).received_messages
            if not received:
                return
            held += [one.ack_id for one in received]
            for one in received:
                yield one

    async def _leases(self, name: str) -> Leases:
        return Leases((await self._clients.get()).subscriber, self._address.subscription(name))

    async def _subscriptions(self) -> list[types.Subscription]:
        subscriber = (await self._clients.get()).subscriber
        try:
            async with within(CALL_S_MAX):
                pages = await subscriber.list_subscriptions(
                    project=f"projects/{self._address.project}", retry=None, timeout=CALL_S_MAX
                )
                return sorted([one async for one in pages], key=lambda one: one.name)
        except GoogleAPICallError as error:
            raise UsageError(f"the subscriptions cannot be listed: {reason_of(error)}") from error

    async def _raise_unknown(self, name: str) -> None:
        names = [one.name.rpartition("/")[2] for one in await self._subscriptions()]
        raise UsageError(f"there is no queue {name!r}; {nearest(name, names)}")


def _id_of(received: Any) -> str:
    """The sender's id, or Pub/Sub's own where it gave none."""
    return from_pubsub(received).message_id or str(received.message.message_id)


def _queued(number: int, received: Any) -> QueuedMessage:
    delivered = from_pubsub(received)
    return QueuedMessage(
        id=number,
        message_id=_id_of(received),
        routing_key=delivered.routing_key,
        content_type=delivered.content_type,
        payload=delivered.payload,
        headers=delivered.headers,
        published_at=received.message.publish_time.ToDatetime(tzinfo=UTC),
        deliveries=received.delivery_attempt,
    )
