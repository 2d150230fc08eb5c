"""The layout in force. A hub that starts while Pub/Sub is away declares its first layout as soon as it can.

Source: docs/pubsub.md, "Declared or checked".
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from hub.clock import Clock
from hub.errors import ConfigError
from hub.signal import is_set_within
from hub.transports.base import TransportUnavailableError
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.clients import ClientsOnce
from hub.transports.pubsub.declaring import Declaring
from hub.transports.pubsub.layout import Layout
from hub.transports.pubsub.reach import Reach

PAUSE_S: Final = 2.0

log = structlog.get_logger(__name__)


class Standing:
    """What was declared last, and what is still to be declared."""

    def __init__(self, address: PubSubAddress, clients: ClientsOnce, reach: Reach) -> None:
        self._address = address
        self._clients = clients
        self._reach = reach
        self._lock = asyncio.Lock()
        self._awaited: Layout | None = None
        self._is_declared = False
        self.layout = Layout()
        self.refusal: str | None = None

    async def declare(self, layout: Layout) -> None:
        """Put a layout in force. The first one is remembered when Pub/Sub is away; a later one changes nothing then.

        Raises ConfigError, TransportUnavailableError.
        """
        async with self._lock:
            try:
                await self._run(layout)
            except TransportUnavailableError:
                self._awaited = None if self._is_declared else layout
                raise

    async def ready(self) -> Layout:
        """The layout in force, declared now if it had to wait.

        Raises TransportUnavailableError as long as it cannot be, for whatever reason: no message is at fault.
        """
        async with self._lock:
            if self._awaited is not None:
                try:
                    await self._run(self._awaited)
                except ConfigError as error:
                    if self.refusal is None:
                        log.error("pubsub_refused", problems=[str(problem) for problem in error.problems])
                    self.refusal = str(error.problems[0])
                    raise TransportUnavailableError(self.refusal) from error
            return self.layout

    async def ready_unless(self, stopping: asyncio.Event, clock: Clock) -> bool:
        """Wait until the layout is in force; False when ``stopping`` came first."""
        while not stopping.is_set():
            try:
                await self.ready()
            except TransportUnavailableError as error:
                log.warning("pubsub_awaited", error=str(error))
                await is_set_within(stopping, PAUSE_S * clock.jitter())
            else:
                return True
        return False

    async def _run(self, layout: Layout) -> None:
        await Declaring(self._address, await self._clients.get(), layout, self._reach).run()
        self.layout, self._awaited, self._is_declared, self.refusal = layout, None, True, None
