"""What flow control tells Prometheus. Labels are names of routing.yaml and of handlers."""

from prometheus_client import Counter, Gauge, Histogram

PAUSED = Gauge(
    "hub_paused",
    "1 while it stands still, by cause: person, handler, busy, circuit",
    ["kind", "name", "cause"],
)
PROVIDER_IN_FLIGHT = Gauge("hub_provider_calls_in_flight", "Calls to a provider that are under way", ["provider"])
PROVIDER_WAITING = Gauge("hub_provider_calls_waiting", "Calls that wait for their turn", ["provider"])
PROVIDER_CALLS = Counter(
    "hub_provider_calls_total",
    "Calls by how they ended: answered, unknown, unreachable, busy, and turned_away for those that were not made",
    ["provider", "result"],
)
PROVIDER_WAIT_SECONDS = Histogram(
    "hub_provider_turn_seconds",
    "How long a call waited for its turn",
    ["provider"],
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30),
)
