"""The two asynchronous clients on one channel, and what their errors mean to the hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import google.auth
import grpc.aio  # type: ignore[import-untyped]
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    ServiceUnavailable,
    Unauthenticated,
)
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from hub.errors import ConfigError
from hub.transports.base import TransportUnavailableError
from hub.transports.pubsub.address import PubSubAddress

EMULATOR_VARIABLE: Final = "PUBSUB_EMULATOR_HOST"
ENDPOINT_DEFAULT: Final = "pubsub.googleapis.com:443"
SCOPES: Final = ("https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/cloud-platform")
CALL_S_MAX: Final = 10.0
CREDENTIALS_S_MAX: Final = 30.0
CLOSE_S_MAX: Final = 2.0
REASON_CHARS_MAX: Final = 300
CHANNEL_OPTIONS: Final = (
    # A message may have 10 MB and an answer many messages; the library's own limit would be 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A connection that has gone silent is noticed after this time and not after minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Clients:
    """What talks to Pub/Sub. Both clients have one channel each, which reconnects by itself."""

    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient
    channels: tuple[Any, ...]

    async def close(self) -> None:
        """Close the channels; calls that are out are cancelled."""
        for channel in self.channels:
            await channel.close(CLOSE_S_MAX)


class ClientsOnce:
    """Opens the clients when they are first needed: a channel belongs to the running loop."""

    def __init__(self, address: PubSubAddress) -> None:
        self._address = address
        self._lock = asyncio.Lock()
        self._clients: Clients | None = None

    async def get(self) -> Clients:
        """The clients. Raises ConfigError without usable credentials."""
        async with self._lock:
            if self._clients is None:
                self._clients = await _open(self._address)
            return self._clients

    async def close(self) -> None:
        async with self._lock:
            if self._clients is not None:
                await self._clients.close()
                self._clients = None


async def _open(address: PubSubAddress) -> Clients:
    emulator = os.environ.get(EMULATOR_VARIABLE)
    if emulator:
        channels = tuple(grpc.aio.insecure_channel(emulator, options=CHANNEL_OPTIONS) for _ in range(2))
    else:
        host, credentials = address.endpoint or ENDPOINT_DEFAULT, await _credentials()
        channels = tuple(
            PublisherGrpcAsyncIOTransport.create_channel(host, credentials=credentials, options=CHANNEL_OPTIONS)
            for _ in range(2)
        )
    publishing, subscribing = channels
    return Clients(
        PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=publishing)),
        SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=subscribing)),
        channels,
    )


async def _credentials() -> Credentials:
    """The standard chain. It reads files and asks the metadata server, so it runs in a thread."""
    try:
        async with asyncio.timeout(CREDENTIALS_S_MAX):
            credentials, _ = await asyncio.to_thread(google.auth.default, scopes=SCOPES)
    except DefaultCredentialsError as error:
        raise ConfigError(
            "HUB_BROKER_URL: no Google credentials: expected GOOGLE_APPLICATION_CREDENTIALS, gcloud's application "
            f"default credentials, the service account of the machine, or {EMULATOR_VARIABLE}"
        ) from error
    except TimeoutError as error:
        raise TransportUnavailableError("Google's credentials could not be read in time") from error
    assert isinstance(credentials, Credentials)
    return credentials


AWAY: Final = (ServiceUnavailable, DeadlineExceeded, Unauthenticated, GoogleAuthError, TimeoutError)
"""The broker as a whole: it cannot be reached, does not answer, or does not know who we are."""


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise TransportUnavailableError where the broker as a whole is not there; other refusals pass."""
    try:
        yield
    except AWAY as error:
        raise TransportUnavailableError(f"Google Pub/Sub: {reason_of(error)}") from error


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """One call: bounded, with the broker's absence as TransportUnavailableError."""
    with broker_errors():
        async with asyncio.timeout(seconds):
            yield


def reason_of(error: BaseException) -> str:
    """An error in words, bounded."""
    if isinstance(error, GoogleAPICallError):
        code = error.grpc_status_code.name if error.grpc_status_code is not None else str(error.code)
        return f"{code}: {error.message}"[:REASON_CHARS_MAX]
    return f"{type(error).__name__}: {error}"[:REASON_CHARS_MAX].rstrip(": ")


def first_of(errors: BaseExceptionGroup[TransportUnavailableError]) -> TransportUnavailableError:
    """One error of a task group, in place of the group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TransportUnavailableError)
    return error
