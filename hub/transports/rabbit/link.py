"""One connection to RabbitMQ, owned by a FastStream broker: it reconnects; channels are ours and end with it.

The channels are aiormq's own, not aio-pika's robust ones: those declare and consume again behind our back, and a queue
that has meanwhile become another one would keep the whole connection from coming back.
Source: docs/rabbitmq.md, "Connections".
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, cast

import aio_pika
import aiormq
import structlog
from aiormq.exceptions import AMQPError, AuthenticationError, ConnectionNotAllowed, ProbableAuthenticationError
from faststream.rabbit import RabbitBroker
from pamqp.exceptions import PAMQPException
from yarl import URL

from hub.errors import ConfigError
from hub.transports.base import TransportUnavailableError
from hub.transports.rabbit import metrics
from hub.transports.rabbit.counting import middlewares

CONNECT_S_MAX: Final = 5.0
RPC_S_MAX: Final = 5.0
"""How long the broker may take to answer one question on a channel."""
CLOSE_S_MAX: Final = 2.0
RECONNECT_S: Final = 1.0
RENEW_S: Final = 10.0
HEARTBEAT_S: Final = 15
"""Unless the address says otherwise; a silent connection is also found by our own questions."""
PORTS: Final = {"amqp": 5672, "amqps": 5671}

AMQP_ERRORS: Final = (AMQPError, OSError, RuntimeError, PAMQPException, TimeoutError)
"""What a broken connection or channel raises; RuntimeError is aiormq's word for a channel that is closed."""
REFUSALS: Final = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)

log = structlog.get_logger(__name__)


class Link:
    """A connection for one purpose, ``in`` or ``out``: a broker that blocks publishers must not stop the acks."""

    def __init__(self, address: str, purpose: str) -> None:
        url = parsed(address)
        self.place = place_of(url)
        self.purpose = purpose
        self._broker = RabbitBroker(
            url,
            client_properties=cast(Any, {"connection_name": f"hub {purpose} {socket.gethostname()}"}),
            timeout=CONNECT_S_MAX,
            reconnect_interval=RECONNECT_S,
            logger=None,
            middlewares=middlewares(),
            on_close=[self._on_close],
        )
        self.closed_with: BaseException | None = None
        """What ended the last connection, in the broker's words where it gave any."""
        self._connecting = asyncio.Lock()
        self._robust: aio_pika.RobustConnection | None = None
        self._down_since: float | None = None
        self._is_closed = False
        self.is_settled = False
        """Past the start: a broker that refuses the login now is one to wait for, not a mistake to stop for."""

    async def channel(self, *, confirms: bool = False) -> aiormq.Channel:
        """A new channel. Raises TransportUnavailableError, at the start ConfigError when the login is refused."""
        connection = await self._connection()
        async with translated(self.place), asyncio.timeout(RPC_S_MAX):
            channel = await connection.channel(publisher_confirms=confirms, on_return_raises=False)
        return cast(aiormq.Channel, channel)

    async def discard(self, channel: aiormq.Channel) -> None:
        """Close a channel, or leave it to its connection where the broker does not answer."""
        if not channel.is_closed:
            with suppress(TransportUnavailableError):
                async with translated(self.place), asyncio.timeout(CLOSE_S_MAX):
                    await channel.close()

    def cut(self) -> None:
        """Give up a connection that has gone silent, long before its heartbeats would; it is made again."""
        reader = getattr(self._aiormq(), "_reader_task", None)
        if reader is not None:
            log.warning("broker_silent", purpose=self.purpose)
            # As aiormq itself does when heartbeats stay away: a polite end would wait for somebody who does not answer.
            reader.cancel()

    def guarded(self) -> AbstractAsyncContextManager[None]:
        """Around whatever waits for the broker; see ``translated``."""
        return translated(self.place)

    @property
    def is_up(self) -> bool:
        """Whether the connection is there, as far as this side knows."""
        connection = self._aiormq()
        return connection is not None and not connection.is_closed

    async def close(self) -> None:
        self._is_closed = True
        metrics.CONNECTED.labels(purpose=self.purpose).set(0)
        with suppress(TransportUnavailableError):
            async with translated(self.place), asyncio.timeout(CLOSE_S_MAX):
                await self._broker.stop()

    def _on_close(self, _connection: object, error: BaseException | None) -> None:
        self.closed_with = error
        metrics.CONNECTED.labels(purpose=self.purpose).set(0)

    async def _connection(self) -> aiormq.Connection:
        if self._is_closed:
            raise TransportUnavailableError(f"the connection to {self.place} was closed by the hub")
        async with self._connecting:
            if self._robust is not None and self._is_stuck():
                await self._give_up()
            if self._robust is None:
                self._robust = await self._connect()
        connection = self._aiormq()
        is_up = connection is not None and not connection.is_closed
        metrics.CONNECTED.labels(purpose=self.purpose).set(is_up)
        if not is_up or connection is None:
            raise TransportUnavailableError(f"RabbitMQ at {self.place} cannot be reached")
        self._down_since = None
        return connection

    def _is_stuck(self) -> bool:
        """Whether reconnecting has brought nothing for so long that a new beginning is the better chance."""
        if self.is_up:
            return False
        now = asyncio.get_running_loop().time()
        self._down_since = self._down_since or now
        return now - self._down_since > RENEW_S

    async def _give_up(self) -> None:
        log.warning("broker_connection_renewed", purpose=self.purpose)
        self._robust, self._down_since = None, None
        with suppress(TransportUnavailableError):
            async with translated(self.place), asyncio.timeout(CLOSE_S_MAX):
                await self._broker.stop()

    async def _connect(self) -> aio_pika.RobustConnection:
        try:
            # Longer than the time-out that aio-pika has been given: one that is cut off here would go on by itself.
            async with translated(self.place), asyncio.timeout(CONNECT_S_MAX + RPC_S_MAX):
                return await self._broker.connect()
        except TransportUnavailableError as error:
            if isinstance(error.__cause__, REFUSALS):
                words = f"{self.place} refuses the login or its virtual host"
                if self.is_settled:
                    raise TransportUnavailableError(words) from error.__cause__
                raise ConfigError(f"HUB_BROKER_URL: {words}") from None
            raise

    def _aiormq(self) -> aiormq.Connection | None:
        if self._robust is None or self._robust.transport is None:
            return None
        return cast(aiormq.Connection, self._robust.transport.connection)


@asynccontextmanager
async def translated(place: str) -> AsyncIterator[None]:
    """Turn what a lost connection raises into TransportUnavailableError.

    That includes a CancelledError that nobody asked for: a closing connection cancels whoever waits for its answer.
    """
    task = asyncio.current_task()
    asked = task.cancelling() if task is not None else 0
    try:
        yield
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling() > asked:
            raise
        raise TransportUnavailableError(f"the connection to {place} was lost") from error
    except TimeoutError as error:
        raise TransportUnavailableError(f"RabbitMQ at {place} does not answer") from error
    except AMQP_ERRORS as error:
        raise TransportUnavailableError(f"RabbitMQ at {place}: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """The broker's own words, without the class that aiormq puts around them."""
    words = str(error.args[0]) if error.args and isinstance(error.args[0], str) else str(error)
    return f"{type(error).__name__}: {words}"[:300]


def parsed(address: str) -> URL:
    """The address with a heartbeat. Raises ConfigError, which never shows the address: it may hold a password."""
    try:
        url = URL(address)
        if url.scheme not in PORTS or not url.host or url.port == 0:
            raise ValueError
    except ValueError:
        raise ConfigError("HUB_BROKER_URL: expected amqp://USER:PASSWORD@HOST:PORT/VHOST") from None
    return url if "heartbeat" in url.query else url.update_query(heartbeat=HEARTBEAT_S)


def place_of(url: URL) -> str:
    """Host, port and virtual host: what may be shown."""
    return f"{url.host}:{url.port or PORTS[url.scheme]}{url.path if len(url.path) > 1 else '/'}"
