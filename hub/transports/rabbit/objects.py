"""The hub's topology in RabbitMQ's words: what each exchange and queue is declared as.

Source: docs/rabbitmq.md, "What is declared"; RabbitMQ documentation, "Quorum Queues", "Dead Letter Exchanges",
"Single Active Consumer".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from faststream.rabbit import ExchangeType, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from hub.errors import ConfigError
from hub.transports.topology import Binding, QueueSpec, Topology

DEAD_LETTERS: Final = "hub.dead-letters"
"""The exchange, and its queue: what the broker takes out of a queue without an acknowledgement is kept there."""
DELIVERY_LIMIT: Final = 1_000
"""The hub never refuses a message, so only lost connections count against it: a restart hands out again what was in
hand. RabbitMQ 4 would take a message away after 20 of these."""
TO_EXCHANGE: Final = "exchange "
PARTITION_EXCHANGE_TYPE: Final = ExchangeType.X_CONSISTENT_HASH


@dataclass(frozen=True, slots=True)
class ExchangeBinding:
    """What ``source`` gets by this pattern goes on to the exchange ``target``."""

    source: str
    target: str
    pattern: str

    @property
    def on_record(self) -> Binding:
        """As the record of bindings holds it: no queue has a name with a space."""
        return Binding(self.source, f"{TO_EXCHANGE}{self.target}", self.pattern)


@dataclass(frozen=True, slots=True)
class Objects:
    """Everything to declare, in the order in which it must exist. ``foreign`` queues are only looked for."""

    exchanges: tuple[RabbitExchange, ...]
    queues: tuple[RabbitQueue, ...]
    foreign: tuple[str, ...]
    bindings: tuple[Binding, ...]
    exchange_bindings: tuple[ExchangeBinding, ...]

    @property
    def recorded(self) -> tuple[Binding, ...]:
        """Every binding, as it is kept on record."""
        return (*self.bindings, *(one.on_record for one in self.exchange_bindings))


def objects_of(topology: Topology) -> Objects:
    """Translate. Raises ConfigError for what RabbitMQ cannot do."""
    own = [queue for queue in topology.queues if not queue.is_foreign]
    partitioned = {queue.name: queue for queue in topology.queues if queue.partitions is not None}
    _refuse_foreign_partitions(partitioned.values())
    exchanges = [RabbitExchange(name, type=ExchangeType.TOPIC, durable=True) for name in topology.exchanges]
    queues = [queue for spec in own for queue in _queues_of(spec)]
    bindings = [one for one in topology.bindings if one.queue not in partitioned]
    exchange_bindings = []
    for one in topology.bindings:
        if one.queue in partitioned:
            exchange_bindings.append(ExchangeBinding(one.exchange, partition_exchange(one.queue), one.pattern))
    for spec in partitioned.values():
        exchanges.append(_partition_exchange(spec))
        # The routing key of such a binding is its weight: every partition gets the same share.
        bindings += [Binding(partition_exchange(spec.name), name, "1") for name in queue_names(spec)]
    if queues:
        exchanges.append(RabbitExchange(DEAD_LETTERS, type=ExchangeType.TOPIC, durable=True))
        queues.append(_rabbit_queue(DEAD_LETTERS, {"x-queue-type": "quorum"}))
        bindings.append(Binding(DEAD_LETTERS, DEAD_LETTERS, "#"))
    foreign = tuple(queue.name for queue in topology.queues if queue.is_foreign)
    return Objects(tuple(exchanges), tuple(queues), foreign, tuple(bindings), tuple(exchange_bindings))


def queue_names(spec: QueueSpec) -> list[str]:
    """The broker's queues that hold this one: itself, or its partitions."""
    if spec.partitions is None:
        return [spec.name]
    return [f"{spec.name}.{number}" for number in range(spec.partitions)]


def partition_exchange(queue: str) -> str:
    return f"{queue}.partitions"


def arguments_of(spec: QueueSpec) -> dict[str, Any]:
    """What the queue is declared with; ``arguments`` of routing.yaml have the last word."""
    arguments: dict[str, Any] = {"x-queue-type": spec.type}
    if spec.type != "stream":
        arguments["x-dead-letter-exchange"] = DEAD_LETTERS
    if spec.type == "quorum":
        arguments["x-delivery-limit"] = DELIVERY_LIMIT
    if spec.single_consumer or spec.partitions is not None:
        arguments["x-single-active-consumer"] = True
    arguments |= dict(spec.arguments)
    return {name: value for name, value in arguments.items() if value is not None}


def _queues_of(spec: QueueSpec) -> Iterator[RabbitQueue]:
    arguments = arguments_of(spec)
    for name in queue_names(spec):
        yield _rabbit_queue(name, arguments)


def _rabbit_queue(name: str, arguments: dict[str, Any]) -> RabbitQueue:
    rest = {key: value for key, value in arguments.items() if key != "x-queue-type"}
    queue: RabbitQueue = RabbitQueue(  # type: ignore[call-overload]  # its overloads want each kind written out
        name, queue_type=QueueType(arguments.get("x-queue-type", "classic")), durable=True, arguments=rest, robust=False
    )
    return queue


def _partition_exchange(spec: QueueSpec) -> RabbitExchange:
    assert spec.partition_path is not None
    by_header = spec.partition_path.startswith("headers.")
    arguments = {"hash-header": spec.partition_path[8:]} if by_header else {"hash-property": "message_id"}
    return RabbitExchange(
        partition_exchange(spec.name), type=PARTITION_EXCHANGE_TYPE, durable=True, arguments=arguments, robust=False
    )


def _refuse_foreign_partitions(partitioned: Any) -> None:
    for spec in partitioned:
        if spec.is_foreign:
            raise ConfigError(f"queue {spec.name}: partitions need an exchange, RabbitMQ spreads messages by one")
