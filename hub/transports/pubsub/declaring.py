"""Topics and subscriptions: make what is missing, compare what is there, refuse what would lose messages in silence.

Source: docs/pubsub.md, "Declared or checked".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import structlog
from google.api_core.exceptions import AlreadyExists, Forbidden, GoogleAPICallError, NotFound
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.pubsub_v1 import types

from hub.errors import ConfigError, Problem
from hub.transports.base import PlanItem, PlanState, TransportUnavailableError
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.clients import CALL_S_MAX, Clients, first_of, reason_of, within
from hub.transports.pubsub.layout import Layout, SubscriptionPlan
from hub.transports.pubsub.reach import Reach

AT_ONCE: Final = 8
RETENTION_S: Final = 7 * 24 * 3_600
BARE: Final = (
    "it has no subscription, so what is published there would be confirmed and dropped: name its queues in "
    "routing.yaml (bind), or make a subscription for its readers"
)
FOREIGN_MISSING: Final = "routing.yaml reads it as it is (a queue without an exchange), and it is not there"

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)


class Declaring:
    """One comparison of a layout with a project. All methods raise TransportUnavailableError when Pub/Sub is away."""

    def __init__(self, address: PubSubAddress, clients: Clients, layout: Layout, reach: Reach) -> None:
        self._address = address
        self._clients = clients
        self._layout = layout
        self._reach = reach

    async def plan(self) -> list[PlanItem]:
        """Compare, and make nothing."""
        topics = await at_once(self._layout.topics, self._plan_topic)
        return [*topics, *await at_once(self._layout.subscriptions, self._look_at_subscription)]

    async def _plan_topic(self, name: str) -> PlanItem:
        item = await self._look_at_topic(name)
        would_be_read = bool(self._layout.readers(name))
        if not would_be_read and (item.state is PlanState.MISSING or await self._bare(name)):
            return _bare_item(name)
        return item

    async def run(self) -> None:
        """Topics first, then subscriptions, then whether everything that is published has a reader.

        Raises ConfigError with every difference.
        """
        items = await at_once(self._layout.topics, self._topic)
        items += await at_once(self._layout.subscriptions, self._subscription)
        if not _problems(items):
            items += [_bare_item(name) for name in await at_once(self._layout.topics, self._bare) if name]
        if problems := _problems(items):
            raise ConfigError(problems)

    async def _topic(self, name: str) -> PlanItem:
        item = await self._look_at_topic(name)
        if item.state is not PlanState.MISSING:
            return item
        publisher, path = self._clients.publisher, self._address.topic(name)
        return await self._make(item, path, lambda: publisher.create_topic(name=path, retry=None, timeout=CALL_S_MAX))

    async def _look_at_topic(self, name: str) -> PlanItem:
        path = self._address.topic(name)
        try:
            async with within(CALL_S_MAX):
                await self._clients.publisher.get_topic(topic=path, retry=None, timeout=CALL_S_MAX)
        except NotFound:
            return PlanItem(kind="topic", name=name, state=PlanState.MISSING)
        except GoogleAPICallError as error:
            return _unseen("topic", name, error)
        return PlanItem(kind="topic", name=name, state=PlanState.MATCHES)

    async def _subscription(self, plan: SubscriptionPlan) -> PlanItem:
        item = await self._look_at_subscription(plan)
        if plan.topic is None and item.detail == FOREIGN_MISSING:
            # Its owner may be late; the consumer waits for it.
            log.error("pubsub_subscription_missing", queue=plan.name)
            return PlanItem(kind=item.kind, name=item.name, state=PlanState.MATCHES)
        if item.state is not PlanState.MISSING:
            return item
        path, request = self._address.subscription(plan.name), self._wanted(plan)
        subscriber = self._clients.subscriber
        made = await self._make(
            item, path, lambda: subscriber.create_subscription(request=request, retry=None, timeout=CALL_S_MAX)
        )
        # Another process may have made it at the same time, and may have been told otherwise.
        return await self._look_at_subscription(plan) if made.state is PlanState.MATCHES else made

    async def _look_at_subscription(self, plan: SubscriptionPlan) -> PlanItem:
        path = self._address.subscription(plan.name)
        try:
            async with within(CALL_S_MAX):
                found = await self._clients.subscriber.get_subscription(
                    subscription=path, retry=None, timeout=CALL_S_MAX
                )
        except NotFound:
            if plan.topic is None:
                return PlanItem(kind="subscription", name=plan.name, state=PlanState.DIFFERS, detail=FOREIGN_MISSING)
            return PlanItem(kind="subscription", name=plan.name, state=PlanState.MISSING)
        except GoogleAPICallError as error:
            return _unseen("subscription", plan.name, error)
        said = "; ".join(differences(self._address, plan, found))
        state = PlanState.DIFFERS if said else PlanState.MATCHES
        return PlanItem(kind="subscription", name=plan.name, state=state, detail=said)

    def _wanted(self, plan: SubscriptionPlan) -> types.Subscription:
        assert plan.topic is not None
        return types.Subscription(
            name=self._address.subscription(plan.name),
            topic=self._address.topic(plan.topic),
            ack_deadline_seconds=self._address.ack_deadline_s,
            enable_message_ordering=True,
            enable_exactly_once_delivery=self._address.exactly_once,
            message_retention_duration=Duration(seconds=RETENTION_S),
            # Empty means never; unset means that 31 quiet days would delete it with everything in it.
            expiration_policy=types.ExpirationPolicy(),
        )

    async def _make(self, item: PlanItem, path: str, create: Callable[[], Awaitable[object]]) -> PlanItem:
        if not self._address.create:
            detail = f"{path} does not exist, and create=no forbids to make it"
            return PlanItem(kind=item.kind, name=item.name, state=PlanState.DIFFERS, detail=detail)
        try:
            async with within(CALL_S_MAX):
                await create()
        except AlreadyExists:
            pass
        except GoogleAPICallError as error:
            detail = f"{path} could not be made: {reason_of(error)}"
            return PlanItem(kind=item.kind, name=item.name, state=PlanState.DIFFERS, detail=detail)
        else:
            log.info("pubsub_created", kind=item.kind, name=path)
        return PlanItem(kind=item.kind, name=item.name, state=PlanState.MATCHES)

    async def _bare(self, topic: str) -> str | None:
        return topic if await self._reach.look(topic) == frozenset() else None


def differences(address: PubSubAddress, plan: SubscriptionPlan, found: types.Subscription) -> list[str]:
    """What is not as it should be, each with both sides."""
    said = unreadable(found)
    if plan.topic is None:
        if plan.needs_order and not found.enable_message_ordering:
            said.append("message ordering is off there, and routing.yaml reads the queue in order (`ordered: false`?)")
        return said
    pairs: list[tuple[str, object, object, str]] = [
        ("its topic", found.topic, address.topic(plan.topic), ""),
        ("message ordering", _on(found.enable_message_ordering), _on(True), ""),
        ("the ack deadline", f"{found.ack_deadline_seconds} s", f"{address.ack_deadline_s} s", " (ack_deadline_s)"),
        (
            "exactly-once delivery",
            _on(found.enable_exactly_once_delivery),
            _on(address.exactly_once),
            " (exactly_once)",
        ),
    ]
    return [
        *said,
        *(f"{what} is {there} there, expected {here}{of}" for what, there, here, of in pairs if there != here),
    ]


def unreadable(found: types.Subscription) -> list[str]:
    """Why nothing can be pulled from it."""
    problems = []
    if found.detached:
        problems.append("it is detached from its topic and gets nothing any more")
    if found.push_config.push_endpoint or found.bigquery_config.table or found.cloud_storage_config.bucket:
        problems.append("it delivers by itself (push, BigQuery or Cloud Storage), expected a pull subscription")
    return problems


def _unseen(kind: str, name: str, error: GoogleAPICallError) -> PlanItem:
    """Without the right to look, a publisher or a reader may still do its work; anything else is a mistake."""
    if isinstance(error, Forbidden):
        log.warning("pubsub_not_checked", kind=kind, name=name, error=reason_of(error))
        return PlanItem(kind=kind, name=name, state=PlanState.MATCHES, detail="not checked: the hub may not look")
    return PlanItem(kind=kind, name=name, state=PlanState.DIFFERS, detail=reason_of(error))


def _bare_item(topic: str) -> PlanItem:
    return PlanItem(kind="topic", name=topic, state=PlanState.DIFFERS, detail=BARE)


def _problems(items: Iterable[PlanItem]) -> list[Problem]:
    return [
        Problem(f"Google Pub/Sub: {item.kind} {item.name}: {item.detail}")
        for item in items
        if item.state is PlanState.DIFFERS
    ]


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"


async def at_once(things: Iterable[T], look: Callable[[T], Awaitable[R]]) -> list[R]:
    """One answer for each, in the order given, some at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(thing: T) -> R:
        async with room:
            return await look(thing)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(thing)) for thing in things]
    except* TransportUnavailableError as errors:
        raise first_of(errors) from errors
    return [task.result() for task in tasks]
