"""Which topic and subscription stands for which exchange and queue. No network here.

Exchange X is topic X. A queue X is subscription X: on the topic of the exchange that it is bound to, or, where it is
the only queue of its own exchange ``hub.X``, on topic X. Binding patterns are the hub's: Pub/Sub hands out everything.

Source: docs/pubsub.md, "Topics and subscriptions".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hub.errors import ConfigError, Problem
from hub.routing.patterns import PatternIndex
from hub.transports.topology import QueueSpec, Topology

OWN_EXCHANGE: Final = "hub."
"""What a queue's own exchange is called, before the queue's name (``DestinationConfig.exchange_name``)."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """One subscription. ``topic`` is None for one that is read as it is; ``patterns`` are empty for everything."""

    name: str
    topic: str | None
    patterns: tuple[str, ...]
    needs_order: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """What routing.yaml asks for, in the words of Pub/Sub."""

    topics: tuple[str, ...] = ()
    subscriptions: tuple[SubscriptionPlan, ...] = ()
    _topic_of: Mapping[str, str] = field(default_factory=dict)
    _readers: Mapping[str, tuple[tuple[str, ...], PatternIndex]] = field(default_factory=dict)
    _patterns: Mapping[str, PatternIndex] = field(default_factory=dict)

    @classmethod
    def of(cls, topology: Topology) -> Layout:
        """Translate. Raises ConfigError for what Pub/Sub cannot be, with every place."""
        topic_of = _topics_of_exchanges(topology)
        problems = [*_clashes(topic_of), *_bad_names(topology, topic_of)]
        plans: list[SubscriptionPlan] = []
        for queue in topology.queues:
            mine = [binding for binding in topology.bindings if binding.queue == queue.name]
            topics = sorted({topic_of[binding.exchange] for binding in mine})
            if len(topics) > 1:
                problems.append(_wrong(f"queue {queue.name}: bound to {' and '.join(topics)}, a subscription has one"))
                continue
            patterns = tuple(sorted({binding.pattern for binding in mine}))
            topic = None if queue.is_foreign else (topics or [queue.name])[0]
            plans.append(SubscriptionPlan(queue.name, topic, () if "#" in patterns else patterns, _needs_order(queue)))
        if problems:
            raise ConfigError(problems)
        topics = sorted({*topic_of.values(), *(plan.topic for plan in plans if plan.topic is not None)})
        return cls(tuple(topics), tuple(plans), topic_of, _by_topic(plans), _by_queue(plans))

    def topic_of(self, exchange: str, routing_key: str) -> str:
        """Where to publish. The nameless exchange reaches each queue that has a topic of its own, by its name."""
        return self._topic_of.get(exchange, exchange) if exchange else routing_key

    def readers(self, topic: str) -> tuple[str, ...]:
        """The queues whose subscriptions are on the topic."""
        return self._readers.get(topic, ((), _EVERYTHING))[0]

    def is_taken(self, topic: str, routing_key: str) -> bool:
        """Whether one of these queues takes a message with this routing key."""
        return bool(self._readers.get(topic, ((), _EVERYTHING))[1].match(routing_key))

    def takes(self, queue: str, routing_key: str) -> bool:
        """Whether the queue's own patterns let the message in; a queue that is not declared is read as it is."""
        return bool(self._patterns.get(queue, _EVERYTHING).match(routing_key))


_EVERYTHING = PatternIndex([("#",)])


def _topics_of_exchanges(topology: Topology) -> dict[str, str]:
    queues: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for binding in topology.bindings:
        queues[binding.exchange].add((binding.queue, binding.pattern))
    names: dict[str, str] = {}
    for exchange in topology.exchanges:
        own = exchange.removeprefix(OWN_EXCHANGE)
        is_own = own != exchange and queues[exchange] == {(own, "#")}
        names[exchange] = own if is_own else exchange
    return names


def _needs_order(queue: QueueSpec) -> bool:
    return queue.single_consumer or queue.partitions is not None or not queue.is_foreign


def _clashes(topic_of: Mapping[str, str]) -> list[Problem]:
    exchanges: defaultdict[str, list[str]] = defaultdict(list)
    for exchange, topic in topic_of.items():
        exchanges[topic].append(exchange)
    return [
        _wrong(f"topic {topic} would stand for both exchange {names[0]} and exchange {names[1]}: rename one")
        for topic, names in sorted(exchanges.items())
        if len(names) > 1
    ]


def _bad_names(topology: Topology, topic_of: Mapping[str, str]) -> list[Problem]:
    names = sorted({*topic_of.values(), *(queue.name for queue in topology.queues)})
    return [
        _wrong(
            f"{name!r} cannot be a topic or subscription: expected 3 to 255 letters, digits and ._~+%- that begin "
            "with a letter and not with goog"
        )
        for name in names
        if not _NAME.fullmatch(name) or name.startswith("goog")
    ]


def _by_topic(plans: Iterable[SubscriptionPlan]) -> dict[str, tuple[tuple[str, ...], PatternIndex]]:
    found: defaultdict[str, list[SubscriptionPlan]] = defaultdict(list)
    for plan in plans:
        if plan.topic is not None:
            found[plan.topic].append(plan)
    return {
        topic: (tuple(plan.name for plan in mine), PatternIndex([plan.patterns or ("#",) for plan in mine]))
        for topic, mine in found.items()
    }


def _by_queue(plans: Iterable[SubscriptionPlan]) -> dict[str, PatternIndex]:
    return {plan.name: PatternIndex([plan.patterns]) for plan in plans if plan.patterns}


def _wrong(message: str) -> Problem:
    return Problem(f"routing.yaml on Google Pub/Sub: {message}")
