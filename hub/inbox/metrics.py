"""What the inbox tells Prometheus."""

from prometheus_client import Counter

ACCEPTED = Counter(
    "hub_inbox_messages_total", "Authenticated messages by source and what became of them", ["source", "kind"]
)
OVERLOADED = Counter("hub_inbox_overloaded_total", "Messages turned away because too many were waiting")
