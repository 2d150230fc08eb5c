"""A publisher of the outside world: past every proxy, and back after each loss."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiormq
from pamqp import commands as spec

from hub.transports import TransportUnavailableError
from hub.transports.rabbit.link import translated

ANSWER_S_MAX = 3.0
"""How long it waits for a confirmation before it gives the message up: some of those are there all the same."""


class Publisher:
    """One channel with confirms, made when it is needed and again when it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._connection: aiormq.abc.AbstractConnection | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, exchange: str, routing_key: str, message_id: str, body: bytes) -> bool:
        """Once; whether the broker has confirmed that a queue holds it."""
        properties = spec.Basic.Properties(content_type="application/json", delivery_mode=2, message_id=message_id)
        try:
            async with translated("the broker"), asyncio.timeout(ANSWER_S_MAX):
                channel = await self._open()
                answer = await channel.basic_publish(
                    body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=True
                )
        except TransportUnavailableError:
            await self.close()
            return False
        # Returned: no queue takes it just now.
        return isinstance(answer, spec.Basic.Ack)

    async def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(TransportUnavailableError):
                async with translated("the broker"), asyncio.timeout(ANSWER_S_MAX):
                    await connection.close()

    async def _open(self) -> aiormq.abc.AbstractChannel:
        async with self._connecting:
            if self._channel is None or self._channel.is_closed:
                self._connection = await aiormq.connect(self._url)
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=False)
            return self._channel
