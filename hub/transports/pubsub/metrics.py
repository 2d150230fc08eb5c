"""What Pub/Sub tells Prometheus. Labels are names of routing.yaml, never ids."""

from prometheus_client import Counter, Gauge

EXCLUDED = Counter(
    "hub_pubsub_excluded_total", "Messages acknowledged unread because no binding of the queue names them", ["queue"]
)
STREAMS_OPENED = Counter("hub_pubsub_streams_opened_total", "Streaming pulls opened, the first one included", ["queue"])
ACKNOWLEDGED = Counter(
    "hub_pubsub_acknowledged_total",
    "Acknowledgements by what the broker said: confirmed, stale (the message comes again), given_up",
    ["queue", "result"],
)
IN_HAND = Gauge("hub_pubsub_in_hand", "Messages received and not yet acknowledged", ["queue"])
BARE_TOPICS = Gauge("hub_pubsub_topic_without_subscription", "1 while nobody would get what is published", ["topic"])
