"""What RabbitMQ tells Prometheus."""

from prometheus_client import Counter, Gauge

CONSUMERS = Gauge("hub_rabbit_consumers", "Consumers that the broker is known to have, by queue", ["queue"])
RESTORED = Counter(
    "hub_rabbit_consumers_restored_total", "Consumers set up again after the broker had lost them, by queue", ["queue"]
)
DELIVERED = Counter("hub_rabbit_delivered_total", "Messages handed out and acknowledged, by queue", ["queue"])
RETURNED = Counter("hub_rabbit_returned_total", "Messages that no queue took, before the topology was declared again")
CONNECTED = Gauge("hub_rabbit_connected", "1 while the connection is there, by its purpose", ["purpose"])
