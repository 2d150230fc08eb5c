"""What the way in counts and measures. Labels are names from routing.yaml, never anything that a sender chose."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hub.ingress.bodies import Room

ACK_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class SourceMetrics:
    """The metrics of one source's webhook, whose labels are looked up once."""

    def __init__(self, metrics: IngressMetrics, source: str) -> None:
        self._result = cache(partial(metrics.webhooks.labels, source))
        self._status = cache(lambda status: metrics.answers.labels(source, str(status)))
        self._ack = metrics.ack.labels(source)

    def count(self, result: str, status: int, seconds: float) -> None:
        """One request and its answer."""
        self._result(result).inc()
        self._status(status).inc()
        if status < 300:
            self._ack.observe(seconds)


class IngressMetrics:
    """Prometheus metrics of the HTTP endpoints.

    ``result`` is what the inbox answered (event, duplicate, conflict, unreadable), or why it was not asked:
    unauthorized, too_large, slow, compressed, broken, headers, method, overloaded, unproven_limit, unavailable,
    error.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        room: Room,
        in_hand: Callable[[], int],
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        self.webhooks = Counter(
            "hub_webhook_requests_total",
            "Requests to a source's webhook, by how they ended.",
            ("source", "result"),
            registry=registry,
        )
        self.answers = Counter(
            "hub_webhook_answers_total",
            "Answers to requests to a source's webhook, by HTTP status.",
            ("source", "status"),
            registry=registry,
        )
        self.posted = Counter(
            "hub_posted_events_total",
            "Events that came through POST /events, by how they ended.",
            ("source", "result"),
            registry=registry,
        )
        self.ack = Histogram(
            "hub_ingress_ack_seconds",
            "From the first byte of the request to the answer that acknowledges it.",
            ("source",),
            buckets=ACK_BUCKETS_S,
            registry=registry,
        )
        self.requests = Histogram(
            "hub_http_request_seconds",
            "From the head of a request to its answer, for routes that are no webhook of a source.",
            ("method", "route", "status"),
            buckets=ACK_BUCKETS_S,
            registry=registry,
        )
        self.problems = Counter(
            "hub_http_problems_total", "Requests that ended in an error, by status.", ("status",), registry=registry
        )
        self.of_source = cache(partial(SourceMetrics, self))
        """Sources are names of routing.yaml: few, and never a sender's choice."""
        requests = Gauge("hub_http_requests_in_hand", "Requests that are being answered.", registry=registry)
        requests.set_function(in_hand)
        size = Gauge("hub_http_body_bytes_in_hand", "Bytes of request bodies in memory.", registry=registry)
        size.set_function(lambda: room.bytes)
        self.cut = Counter(
            "hub_http_connections_cut_total",
            "Connections that were cut: one more came than fit, or an answer was not taken.",
            ("reason",),
            registry=registry,
        )
        opened = Gauge("hub_http_connections", "Open connections.", registry=registry)
        opened.set_function(connections)
