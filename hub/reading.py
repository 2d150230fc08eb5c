"""The queues that a process reads: those that its sources name, each for as long as one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from hub.inbox.accept import GroupCommit
from hub.inbox.consumer import QueueConsumer
from hub.loops import Loops
from hub.routing.sources import QueueConfig, SourceConfig
from hub.transports import Transport


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads a queue, as its source declared it, until ``stopping`` is set."""

    queue: QueueConfig
    stopping: asyncio.Event


class Reading:
    """The readers of these queues, each one of the ``loops``."""

    def __init__(
        self, loops: Loops, transport: Transport, acceptor: GroupCommit, pace: Callable[[], Awaitable[None]]
    ) -> None:
        """``pace`` is awaited before each batch."""
        self._loops = loops
        self._transport = transport
        self._acceptor = acceptor
        self._pace = pace
        self._readers: dict[tuple[str, str], _Reader] = {}

    def follow(self, sources: Mapping[str, SourceConfig]) -> None:
        """Read the queues that the sources name, and no longer those that they have stopped naming."""
        wanted = {(name, one.queue.name): one.queue for name, one in sources.items() if one.queue is not None}
        for key, reader in list(self._readers.items()):
            # A queue that is declared otherwise (as other partitions) is read anew: it may be other queues by now.
            if wanted.get(key) != reader.queue:
                del self._readers[key]
                reader.stopping.set()
        for key in sorted(wanted.keys() - self._readers.keys()):
            stopping = asyncio.Event()
            self._readers[key] = _Reader(wanted[key], stopping)
            consumer = QueueConsumer(*key, self._transport, self._acceptor, pace=self._pace)
            # Two readers of one queue would lose its order.
            self._loops.spawn_next(f"queue {key[1]} of {key[0]}", partial(consumer.run, stopping), until=stopping)

    def stop(self) -> None:
        """Read no further; the loops end when what is in hand is stored."""
        for reader in self._readers.values():
            reader.stopping.set()
