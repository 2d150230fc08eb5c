"""Topics and subscriptions, and what is refused about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc  # type: ignore[import-untyped]

from tests.support.pubsub_server.subscriptions import PubsubMessage, Subscription

ATTRIBUTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX = 100, 256, 1024
KEY_BYTES_MAX = 1024
REQUEST_BYTES_MAX, REQUEST_MESSAGES_MAX = 10_000_000, 1_000


class RefusedError(Exception):
    """Answered with a status instead of a result."""

    def __init__(self, code: Any, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class State:
    """Everything that the server holds, by full resource name."""

    topics: dict[str, Any] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    published: list[Any] = field(default_factory=list)
    """Every message that was accepted, in order, also where no subscription took it."""
    created: list[str] = field(default_factory=list)
    _places: int = 0

    def topic(self, name: str) -> Any:
        if name not in self.topics:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")
        return self.topics[name]

    def subscription(self, name: str) -> Subscription:
        if name not in self.subscriptions:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")
        return self.subscriptions[name]

    def create_topic(self, config: Any) -> Any:
        if config.name in self.topics:
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"Topic already exists: {config.name}")
        self.topics[config.name] = config
        self.created.append(config.name)
        return config

    def create_subscription(self, config: Any) -> Any:
        if config.name in self.subscriptions:
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"Subscription already exists: {config.name}")
        self.topic(config.topic)
        if config.ack_deadline_seconds == 0:
            config.ack_deadline_seconds = 10
        if not 10 <= config.ack_deadline_seconds <= 600:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "ack_deadline_seconds must be from 10 to 600")
        self.subscriptions[config.name] = Subscription(config)
        self.created.append(config.name)
        return config

    def delete_topic(self, name: str) -> None:
        self.topic(name)
        del self.topics[name]
        for subscription in self.subscriptions.values():
            if subscription.config.topic == name:
                subscription.config.topic = "_deleted-topic_"

    def delete_subscription(self, name: str) -> None:
        self.subscription(name).changed.set()
        del self.subscriptions[name]

    def of_topic(self, topic: str) -> list[str]:
        return [one.config.name for one in self.subscriptions.values() if one.config.topic == topic]

    def publish(self, topic: str, messages: Any) -> list[str]:
        """Accept all or none. A topic without a subscription confirms and drops, as the real one does."""
        self.topic(topic)
        _check(messages)
        ids: list[str] = []
        for message in messages:
            self._places += 1
            stored = PubsubMessage()
            stored.CopyFrom(message)
            # Opaque to clients; as long as the real ones are.
            stored.message_id = str(9_000_000_000_000_000 + self._places)
            stored.publish_time.FromDatetime(datetime.now(UTC))
            self.published.append(stored)
            ids.append(stored.message_id)
            for name in self.of_topic(topic):
                self.subscriptions[name].add(self._places, stored)
        return ids


def _check(messages: Any) -> None:
    if not messages or len(messages) > REQUEST_MESSAGES_MAX:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "expected 1 to 1000 messages")
    if len({message.ordering_key for message in messages}) > 1:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "all messages of a request must have one ordering key")
    if sum(message.ByteSize() for message in messages) > REQUEST_BYTES_MAX:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the request is too large")
    for message in messages:
        _check_one(message)


def _check_one(message: Any) -> None:
    attributes = dict(message.attributes)
    if not message.data and not attributes:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "a message needs data or attributes")
    if len(message.ordering_key.encode()) > KEY_BYTES_MAX:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the ordering key is too long")
    if len(attributes) > ATTRIBUTES_MAX:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "too many attributes")
    for name, value in attributes.items():
        if not name or name.startswith("goog") or len(name.encode()) > NAME_BYTES_MAX:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"the attribute name {name!r} is not allowed")
        if len(value.encode()) > VALUE_BYTES_MAX:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"the attribute {name!r} is too long")
