"""Declaring exchanges, queues and bindings, and comparing them with what the broker has.

RabbitMQ compares by itself: a declaration that does not fit closes the channel and names the difference. What is
refused that way is told with both sides. Source: docs/rabbitmq.md, "When the broker has something else".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import aiormq
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionCommandInvalid,
)
from faststream.rabbit import RabbitExchange, RabbitQueue

from hub.errors import ConfigError, Problem
from hub.transports.base import PlanItem, PlanState, TransportUnavailableError
from hub.transports.rabbit.link import RPC_S_MAX, Link, words_of
from hub.transports.rabbit.objects import PARTITION_EXCHANGE_TYPE, TO_EXCHANGE, ExchangeBinding, Objects
from hub.transports.topology import Binding

_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<arg>[^']+)' for .*: received (?P<wanted>.+) but current is (?P<found>.+)"
)
_VALUE: Final = re.compile(r"^the value ('.*') of type '.*'$")

Ask = Callable[[aiormq.Channel], Awaitable[Any]]


class Declarer:
    """Asks and declares on a channel of its own, which the broker closes at each refusal. Close it in the end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: aiormq.Channel | None = None

    async def close(self) -> None:
        if self._channel is not None:
            await self._link.discard(self._channel)

    async def apply(self, objects: Objects) -> list[str]:
        """Make everything exist; the answer names the foreign queues that do not.

        Raises ConfigError with every difference and both its sides.
        """
        problems = [await self._declare_exchange(one) for one in objects.exchanges]
        problems += [await self._declare_queue(one) for one in objects.queues]
        found = [problem for problem in problems if problem is not None]
        if found:
            raise ConfigError([Problem(one) for one in found])
        for exchange_binding in objects.exchange_bindings:
            await self._required(partial(_bind_exchange, exchange_binding))
        for binding in objects.bindings:
            await self._required(partial(_bind, binding))
        return [name for name in objects.foreign if not await self.exists(name)]

    async def missing(self, objects: Objects) -> list[str]:
        """Which of the hub's own queues do not exist."""
        return [one.name for one in objects.queues if not await self.exists(one.name)]

    async def unbind(self, binding: Binding) -> None:
        """Take a binding away; one whose queue or exchange is gone is gone as well."""
        await self._asked(partial(_unbind, binding))

    async def plan(self, objects: Objects) -> list[PlanItem]:
        """Compare, and make nothing."""
        items = [await self._plan_exchange(one) for one in objects.exchanges]
        items += [await self._plan_queue(one) for one in objects.queues]
        for name in objects.foreign:
            state = PlanState.MATCHES if await self.exists(name) else PlanState.DIFFERS
            detail = "" if state is PlanState.MATCHES else "somebody else's queue, and it is not there"
            items.append(PlanItem(kind="queue", name=name, state=state, detail=detail))
        return items

    async def exists(self, queue: str) -> bool:
        """Whether there is a queue of that name."""
        error = await self._asked(lambda channel: channel.queue_declare(queue, passive=True, timeout=RPC_S_MAX))
        # Locked: somebody reads it alone; it is there.
        return error is None or isinstance(error, ChannelLockedResource)

    async def _plan_exchange(self, exchange: RabbitExchange) -> PlanItem:
        error = await self._asked(
            lambda channel: channel.exchange_declare(exchange.name, passive=True, timeout=RPC_S_MAX)
        )
        if isinstance(error, ChannelNotFoundEntity):
            return PlanItem(kind="exchange", name=exchange.name, state=PlanState.MISSING)
        return _item("exchange", exchange.name, await self._declare_exchange(exchange))

    async def _plan_queue(self, queue: RabbitQueue) -> PlanItem:
        if not await self.exists(queue.name):
            return PlanItem(kind="queue", name=queue.name, state=PlanState.MISSING, detail=_shown(queue.arguments))
        return _item("queue", queue.name, await self._declare_queue(queue))

    async def _declare_exchange(self, exchange: RabbitExchange) -> str | None:
        kind = exchange.type.value
        try:
            error = await self._asked(
                lambda channel: channel.exchange_declare(
                    exchange.name,
                    exchange_type=kind,
                    durable=True,
                    arguments=exchange.arguments,
                    timeout=RPC_S_MAX,
                )
            )
        except TransportUnavailableError:
            # An unknown type costs the whole connection.
            if exchange.type is PARTITION_EXCHANGE_TYPE and await self._was_told_off():
                raise ConfigError(
                    f"exchange {exchange.name}: partitions need RabbitMQ's plugin rabbitmq_consistent_hash_exchange"
                ) from None
            raise
        return None if error is None else _difference("exchange", exchange.name, f"a durable {kind} exchange", error)

    async def _declare_queue(self, queue: RabbitQueue) -> str | None:
        error = await self._asked(
            lambda channel: channel.queue_declare(
                queue.name, durable=True, arguments=dict(queue.arguments or {}), timeout=RPC_S_MAX
            )
        )
        if error is None:
            return None
        return _difference("queue", queue.name, f"a durable queue with {_shown(queue.arguments)}", error)

    async def _was_told_off(self) -> bool:
        """Whether the broker has closed the connection over what was asked; its word may come a moment later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RPC_S_MAX):
                while self._link.closed_with is None:  # noqa: ASYNC110 - aio-pika only calls back
                    await asyncio.sleep(0.01)
        return isinstance(self._link.closed_with, ConnectionCommandInvalid)

    async def _required(self, ask: Ask) -> None:
        error = await self._asked(ask)
        if error is not None:
            raise ConfigError(f"RabbitMQ at {self._link.place} refuses a binding: {words_of(error)}")

    async def _asked(self, ask: Ask) -> ChannelClosed | None:
        """Ask on an open channel; the broker's refusal is the answer. Raises TransportUnavailableError."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._link.channel()
            self._link.closed_with = None
        try:
            async with self._link.guarded():
                await ask(self._channel)
        except TransportUnavailableError as error:
            # A channel that went with its connection is no answer.
            if isinstance(error.__cause__, ChannelClosed) and self._link.is_up:
                return error.__cause__
            raise
        return None


async def _bind(one: Binding, channel: aiormq.Channel) -> None:
    await channel.queue_bind(one.queue, one.exchange, one.pattern, timeout=RPC_S_MAX)


async def _unbind(one: Binding, channel: aiormq.Channel) -> None:
    if one.queue.startswith(TO_EXCHANGE):
        target = one.queue.removeprefix(TO_EXCHANGE)
        await channel.exchange_unbind(target, one.exchange, one.pattern, timeout=RPC_S_MAX)
    else:
        await channel.queue_unbind(one.queue, one.exchange, one.pattern, timeout=RPC_S_MAX)


async def _bind_exchange(one: ExchangeBinding, channel: aiormq.Channel) -> None:
    await channel.exchange_bind(one.target, one.source, one.pattern, timeout=RPC_S_MAX)


def _item(kind: str, name: str, problem: str | None) -> PlanItem:
    state = PlanState.MATCHES if problem is None else PlanState.DIFFERS
    return PlanItem(kind=kind, name=name, state=state, detail=problem or "")


def _difference(kind: str, name: str, wanted: str, error: ChannelClosed) -> str:
    """One sentence with both sides."""
    text = words_of(error)
    if isinstance(error, ChannelPreconditionFailed) and (parts := _INEQUIVALENT.search(text)):
        argument, ours, theirs = (_value(parts[group]) for group in ("arg", "wanted", "found"))
        return (
            f"{kind} {name}: the broker has it with {argument} = {theirs}, routing.yaml asks for {argument} = {ours} "
            f"({wanted}); change routing.yaml, or empty and delete the {kind}"
        )
    if isinstance(error, ChannelAccessRefused):
        return f"{kind} {name}: the hub's user may not declare it (wanted: {wanted}): {text}"
    return f"{kind} {name}: the broker refuses {wanted}: {text}"


def _value(text: str) -> str:
    found = _VALUE.match(text.strip())
    return found[1] if found else text.strip()


def _shown(arguments: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted((arguments or {}).items())) or "no arguments"
