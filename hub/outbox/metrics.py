"""What sending tells Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter(
    "hub_outbox_published_total",
    "Messages by destination and what became of them: confirmed, not_confirmed, unroutable, undeclared",
    ["destination", "result"],
)
PUBLISH_SECONDS = Histogram(
    "hub_outbox_publish_seconds",
    "From handing a batch to the broker to its last confirm",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
PAUSED = Gauge("hub_outbox_relay_paused", "1 while the relay waits for the broker or the database to come back")
RATE_LIMITED = Counter(
    "hub_outbox_rate_limited_total",
    "Looks at messages that had to stay because of their destination's rate",
    ["destination"],
)
