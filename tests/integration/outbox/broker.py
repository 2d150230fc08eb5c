"""A broker that does what a script says, and remembers what a consumer would have seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from hub.transports import (
    Ability,
    Confirmed,
    NotConfirmed,
    OnBatch,
    OnProven,
    OutboundMessage,
    PublishResult,
    Topology,
    TransportUnavailableError,
    Unroutable,
)
from hub.transports.base import CONSUME_BATCH_MAX, HELD_BACK, PUBLISH_TIMEOUT_S

Fate = Literal["confirm", "nack", "lose_confirm", "unroutable", "down", "raise", "crash", "hang"]
"""``lose_confirm``: it arrives, and the hub is not told. ``down`` and the last three strike the whole call there."""


class Crash(BaseException):
    """The process ends here: nothing may catch it."""


class ScriptedBroker:
    """A transport in memory. With ``halts`` it stops a key at its first obstacle; without, it pipelines blindly."""

    def __init__(self, *, halts: bool = True) -> None:
        self.abilities = frozenset({Ability.HALTS_KEY} if halts else set())
        self.arrived: list[OutboundMessage] = []
        self.calls: list[list[OutboundMessage]] = []
        self.fate: Callable[[OutboundMessage], Fate] = lambda message: "confirm"
        self.before: Callable[[], Awaitable[None]] | None = None
        self.at_the_end: Callable[[], None] | None = None

    def ids(self, key: str | None = None) -> list[str]:
        """What a consumer saw, of one key or in all."""
        return [message.message_id for message in self.arrived if key is None or message.key == key]

    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        raise NotImplementedError

    async def publish(
        self, messages: Sequence[OutboundMessage], *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[PublishResult]:
        self.calls.append(list(messages))
        if self.before is not None:
            await self.before()
        results: list[PublishResult] = []
        halted: set[tuple[str, str]] = set()
        for message in messages:
            chain = (message.exchange, message.key)
            if chain in halted and Ability.HALTS_KEY in self.abilities:
                results.append(HELD_BACK)
                continue
            result = await self._meet(message, self.fate(message))
            if not isinstance(result, Confirmed):
                halted.add(chain)
            results.append(result)
        if self.at_the_end is not None:
            self.at_the_end()
        return results

    async def _meet(self, message: OutboundMessage, fate: Fate) -> PublishResult:
        match fate:
            case "confirm":
                self.arrived.append(message)
                return Confirmed()
            case "lose_confirm":
                self.arrived.append(message)
                return NotConfirmed("no answer")
            case "nack":
                return NotConfirmed("refused: the queue is full")
            case "unroutable":
                return Unroutable("no queue is bound")
            case "down":
                raise TransportUnavailableError("connection lost")
            case "raise":
                raise ValueError("cannot put this into words")
            case "crash":
                raise Crash
            case "hang":
                await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = CONSUME_BATCH_MAX,
        on_proven: OnProven | None = None,
    ) -> None:
        raise NotImplementedError

    async def healthy(self) -> bool:
        return True

    async def state(self) -> str:
        return "in memory"

    async def close(self) -> None:
        return
