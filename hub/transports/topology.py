"""The exchanges, queues and bindings that routing.yaml asks for, in words that every broker can translate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hub.routing.config import RoutingConfig
from hub.routing.sources import QUEUE_TYPE_DEFAULT, QueueConfig, QueueType

QueueArguments: TypeAlias = tuple[tuple[str, bool | int | str | None], ...]
"""Names and values, sorted by name; None takes away an argument that the transport would set."""


@dataclass(frozen=True, slots=True, order=True)
class QueueSpec:
    """One durable queue.

    ``single_consumer``: one consumer at a time, others stand by. ``partitions``: read as that many ordered parts, told
    apart by ``partition_path`` (``headers.NAME`` or ``message.message_id``). ``is_foreign``: somebody else's queue,
    read as it is and never made or changed; only the embedded broker makes it, since nobody else could. ``type`` and
    ``arguments`` are RabbitMQ's; other brokers have one kind of queue.
    """

    name: str
    single_consumer: bool = False
    partitions: int | None = None
    partition_path: str | None = None
    is_foreign: bool = False
    type: QueueType = QUEUE_TYPE_DEFAULT
    arguments: QueueArguments = ()


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """Messages of a topic exchange whose routing key matches the pattern go to the queue."""

    exchange: str
    queue: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything to declare, sorted by name. Every exchange is a durable topic exchange."""

    exchanges: tuple[str, ...]
    queues: tuple[QueueSpec, ...]
    bindings: tuple[Binding, ...]

    @classmethod
    def of(cls, queues: Iterable[QueueSpec], bindings: Iterable[Binding], exchanges: Iterable[str] = ()) -> Topology:
        """Put in order; the exchanges of bindings need not be named again."""
        bound = tuple(sorted(set(bindings)))
        names = {binding.exchange for binding in bound} | set(exchanges)
        return cls(tuple(sorted(names)), tuple(sorted(set(queues), key=lambda queue: queue.name)), bound)

    def beside(self, other: Topology) -> Topology:
        """Everything of both; where both name a queue, this one says what it is."""
        queues = {queue.name: queue for queue in (*other.queues, *self.queues)}
        return Topology.of(queues.values(), (*self.bindings, *other.bindings), (*self.exchanges, *other.exchanges))


def topology_of(config: RoutingConfig) -> Topology:
    """What the sources read and the destinations feed. A queue that is both has the source's properties."""
    queues: dict[str, QueueSpec] = {}
    bindings: list[Binding] = []
    exchanges: list[str] = []
    for destination in config.destinations.values():
        exchanges.append(destination.exchange_name)
        for queue, patterns in destination.bindings.items():
            spec = QueueSpec(queue, type=destination.type, arguments=_arguments(destination.arguments))
            queues.setdefault(queue, spec)
            bindings += [Binding(destination.exchange_name, queue, pattern) for pattern in patterns]
    for source in config.sources.values():
        if source.queue is None:
            continue
        queues[source.queue.name] = _source_queue(source.queue, is_fed=source.queue.name in queues)
        if source.queue.exchange is not None:
            bindings += [Binding(source.queue.exchange, source.queue.name, pattern) for pattern in source.queue.bind]
    return Topology.of(queues.values(), bindings, exchanges)


def _source_queue(queue: QueueConfig, *, is_fed: bool) -> QueueSpec:
    return QueueSpec(
        name=queue.name,
        single_consumer=queue.ordered and queue.partitions is None,
        partitions=queue.partitions,
        partition_path=queue.partition_path,
        is_foreign=queue.exchange is None and not is_fed,
        type=queue.type,
        arguments=_arguments(queue.arguments),
    )


def _arguments(given: Mapping[str, bool | int | str | None]) -> QueueArguments:
    return tuple(sorted(given.items()))
