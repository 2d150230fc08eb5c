"""What delivering tells Prometheus."""

from prometheus_client import Counter, Gauge

ATTEMPTS = Counter("hub_delivery_attempts_total", "Attempts by route and how they ended", ["route", "ending"])
OUTCOMES = Counter(
    "hub_delivery_outcomes_total",
    "Deliveries and commands that are done, by what their handler concluded",
    ["route", "outcome"],
)
CALLS_IN_FLIGHT = Gauge("hub_calls_in_flight", "Deliveries that are talking to a provider")
OPEN = Gauge("hub_deliveries_open", "Deliveries that are not finished, by state", ["state"])
UNSENT = Gauge("hub_outbox_unsent", "Messages that are not sent, by state", ["state"])
OLDEST_S = Gauge("hub_delivery_backlog_age_seconds", "How long the oldest ready delivery has been waiting")
