"""Which transport an address means."""

from __future__ import annotations

from hub.clock import Clock
from hub.errors import ConfigError
from hub.store.store import Store
from hub.transports.base import Transport
from hub.transports.local import LocalTransport

PREFETCH_DEFAULT = 500


def open_transport(address: str | None, store: Store, clock: Clock, prefetch: int = PREFETCH_DEFAULT) -> Transport:
    """The transport for ``HUB_BROKER_URL``; None means the embedded one. Nothing is connected yet.

    ``prefetch`` bounds the messages of one RabbitMQ queue that are in hand; Pub/Sub has a flow control of its own.
    Raises ConfigError for an address that no transport serves. The address may hold a password and is not shown.
    """
    if address is None:
        return LocalTransport(store, clock)
    scheme = address.partition("://")[0]
    if scheme == "pubsub":
        from hub.transports.pubsub import PubSubAddress, PubSubTransport  # noqa: PLC0415 - Google's library is large

        return PubSubTransport(PubSubAddress.parse(address), clock)
    if scheme in ("amqp", "amqps"):
        from hub.transports.rabbit import RabbitTransport  # noqa: PLC0415 - FastStream takes a while to import

        return RabbitTransport(address, store, prefetch=prefetch)
    raise ConfigError(f"HUB_BROKER_URL: no transport serves {scheme}://; unset it to use the embedded queues")
