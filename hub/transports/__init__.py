"""Transports: how messages leave and reach the hub, behind one interface.

Begin with ``base.py`` (the interface and its promises); ``local.py`` is the embedded broker. A new transport starts by
passing the contract suite, see docs/extending-transports.md.
"""

from hub.transports.base import (
    Ability,
    Confirmed,
    Delivered,
    NotConfirmed,
    OnBatch,
    OnProven,
    OutboundMessage,
    PlanItem,
    Planner,
    PlanState,
    PublishResult,
    QueuedMessage,
    QueueInfo,
    QueueReader,
    Transport,
    TransportUnavailableError,
    Unroutable,
)
from hub.transports.local import LocalTransport
from hub.transports.local_queues import LocalQueues
from hub.transports.opening import open_transport
from hub.transports.topology import Binding, QueueSpec, Topology, topology_of

__all__ = [
    "Ability",
    "Binding",
    "Confirmed",
    "Delivered",
    "LocalQueues",
    "LocalTransport",
    "NotConfirmed",
    "OnBatch",
    "OnProven",
    "OutboundMessage",
    "PlanItem",
    "PlanState",
    "Planner",
    "PublishResult",
    "QueueInfo",
    "QueueReader",
    "QueueSpec",
    "QueuedMessage",
    "Topology",
    "Transport",
    "TransportUnavailableError",
    "Unroutable",
    "open_transport",
    "topology_of",
]
