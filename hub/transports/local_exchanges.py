"""The exchanges of the embedded broker: its bindings as rows, and which queues take a message by them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from hub.routing.patterns import PatternIndex
from hub.transports.base import (
    HELD_BACK,
    Confirmed,
    OutboundMessage,
    PlanItem,
    PlanState,
    PublishResult,
    Unroutable,
)
from hub.transports.local_queues import DEFAULT_EXCHANGE
from hub.transports.topology import Topology

Routed: TypeAlias = tuple[list[PublishResult], list[tuple[str, OutboundMessage]]]
"""The verdict on each message, and a copy for each queue that takes one."""


def rows_of(topology: Topology) -> set[tuple[str, str, str]]:
    """The bindings as rows; a queue stands in the nameless exchange under its own name."""
    rows = {(binding.exchange, binding.queue, binding.pattern) for binding in topology.bindings}
    return rows | {(DEFAULT_EXCHANGE, queue.name, queue.name) for queue in topology.queues}


def plan_item(exchange: str, queue: str, pattern: str, state: PlanState) -> PlanItem:
    """How a binding stands, as people see it: a queue's own is the queue."""
    if exchange == DEFAULT_EXCHANGE:
        return PlanItem(kind="queue", name=queue, state=state)
    return PlanItem(kind="binding", name=f"{exchange} → {queue} by {pattern}", state=state)


class Exchanges:
    """The bindings, ready to answer which queues take a message."""

    def __init__(self, rows: Sequence[tuple[str, str, str]], mark: str = "") -> None:
        self.rows = list(rows)
        self.mark = mark
        """By which the database knows these bindings from others; none, and they are read before they are used."""
        patterns: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._queues: set[str] = set()
        for exchange, queue, pattern in rows:
            if exchange == DEFAULT_EXCHANGE:
                self._queues.add(queue)
            else:
                patterns[exchange][queue].append(pattern)
        self._indexes = {
            exchange: (tuple(queues), PatternIndex(list(queues.values()))) for exchange, queues in patterns.items()
        }

    def queues_for(self, message: OutboundMessage) -> list[str]:
        """The queues that take it. The nameless exchange knows every queue by its own name, as in AMQP."""
        if message.exchange == DEFAULT_EXCHANGE:
            return [message.routing_key] if message.routing_key in self._queues else []
        queues, index = self._indexes.get(message.exchange, ((), _EMPTY))
        return [queues[number] for number in index.match(message.routing_key)]


_EMPTY = PatternIndex([])


def route(exchanges: Exchanges, messages: Iterable[OutboundMessage]) -> Routed:
    """The verdict on each message, and a copy for each queue that takes one. A key stops at its first obstacle."""
    results: list[PublishResult] = []
    copies: list[tuple[str, OutboundMessage]] = []
    halted: set[tuple[str, str]] = set()
    for message in messages:
        chain = (message.exchange, message.key)
        if chain in halted:
            results.append(HELD_BACK)
            continue
        queues = exchanges.queues_for(message)
        if not queues:
            halted.add(chain)
            results.append(Unroutable(_no_queue(message)))
            continue
        copies += [(queue, message) for queue in queues]
        results.append(Confirmed())
    return results, copies


def _no_queue(message: OutboundMessage) -> str:
    if message.exchange == DEFAULT_EXCHANGE:
        return f"there is no queue {message.routing_key!r}"
    return f"no queue is bound to exchange {message.exchange!r} for routing key {message.routing_key!r}"
