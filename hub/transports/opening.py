"""Which transport an address means."""

from __future__ import annotations

from hub.clock import Clock
from hub.errors import ConfigError
from hub.store.store import Store
from hub.transports.base import Transport
from hub.transports.local import LocalTransport


def open_transport(address: str | None, store: Store, clock: Clock) -> Transport:
    """The transport for ``HUB_BROKER_URL``; None means the embedded one. Nothing is connected yet.

    Raises ConfigError for an address that no transport serves. The address may hold a password and is not shown.
    """
    if address is None:
        return LocalTransport(store, clock)
    scheme = address.partition("://")[0]
    if scheme == "pubsub":
        from hub.transports.pubsub import PubSubAddress, PubSubTransport  # noqa: PLC0415 - Google's library is large

        return PubSubTransport(PubSubAddress.parse(address), clock)
    raise ConfigError(f"HUB_BROKER_URL: no transport serves {scheme}://; unset it to use the embedded queues")
