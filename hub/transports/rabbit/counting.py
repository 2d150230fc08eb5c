"""FastStream's own metrics for what goes past its subscribers and publishers: same names, same labels.

Batches are consumed and published on channels of the broker object's connection (docs/rabbitmq.md, "Speed"), where
its middlewares see nothing. They are attached all the same and count whatever does go through the broker object; this
counts the rest, per queue and exchange. Routing keys are no labels here: they may hold ids. Source: docs/metrics.md.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from faststream.prometheus.container import MetricsContainer
from faststream.prometheus.manager import MetricsManager
from faststream.prometheus.types import ProcessingStatus, PublishingStatus
from faststream.rabbit.prometheus import RabbitPrometheusMiddleware
from prometheus_client import REGISTRY

from hub import tracing
from hub.transports.base import Confirmed, Delivered, NotConfirmed, OnBatch, OutboundMessage, PublishResult

APP: Final = "hub"
BROKER: Final = "rabbitmq"
PREFIX: Final = "faststream"

_container: Final = MetricsContainer(REGISTRY, metrics_prefix=PREFIX, custom_label_names=())
_manager: Final = MetricsManager(_container, app_name=APP)


def middlewares() -> list[Any]:
    """FastStream's own, for the broker object: metrics into the same counters, and spans while traces are on."""
    found: list[Any] = [RabbitPrometheusMiddleware(registry=REGISTRY, app_name=APP, metrics_prefix=PREFIX)]
    provider = tracing.provider()
    if provider is not None:
        from faststream.rabbit.opentelemetry import RabbitTelemetryMiddleware  # noqa: PLC0415 - only where wanted

        found.append(RabbitTelemetryMiddleware(tracer_provider=provider))
    return found


def counted(queue: str, on_batch: OnBatch) -> OnBatch:
    """The same, counted as FastStream counts what a subscriber gets: a batch that is tried again counts again."""
    sizes = _container.received_messages_size_bytes.labels(app_name=APP, broker=BROKER, handler=queue)

    async def take(batch: Sequence[Delivered]) -> None:
        _manager.add_received_message(BROKER, queue, len(batch))
        for one in batch:
            sizes.observe(len(one.payload))
        with _processing(queue, len(batch)):
            await on_batch(batch)

    return take


@contextmanager
def _processing(queue: str, messages: int) -> Iterator[None]:
    started, status = time.perf_counter(), ProcessingStatus.error
    _manager.add_received_message_in_process(BROKER, queue, messages)
    try:
        yield
        status = ProcessingStatus.acked
    except Exception as error:
        _manager.add_received_processed_message_exception(BROKER, queue, type(error).__name__)
        raise
    finally:
        _manager.remove_received_message_in_process(BROKER, queue, messages)
        _manager.observe_received_processed_message_duration(time.perf_counter() - started, BROKER, queue)
        _manager.add_received_processed_message(BROKER, queue, status, messages)


async def counted_publishing(
    messages: Sequence[OutboundMessage], publishing: Awaitable[list[PublishResult]]
) -> list[PublishResult]:
    """The answers of one call, counted as FastStream counts what a publisher sends; all count as errors if it raises.

    The time is that of the whole call, and is noted once for each exchange in it.
    """
    started = time.perf_counter()
    try:
        answers = await publishing
    except Exception as error:
        for exchange in {message.exchange for message in messages}:
            _manager.add_published_message_exception(BROKER, exchange, type(error).__name__)
        _count([(message.exchange, PublishingStatus.error) for message in messages], time.perf_counter() - started)
        raise
    tried = [
        (message.exchange, PublishingStatus.success if isinstance(answer, Confirmed) else PublishingStatus.error)
        for message, answer in zip(messages, answers, strict=True)
        # What was held back behind another one was not published at all.
        if not isinstance(answer, NotConfirmed) or answer.was_tried
    ]
    _count(tried, time.perf_counter() - started)
    return answers


def _count(tried: Sequence[tuple[str, PublishingStatus]], duration_s: float) -> None:
    for (exchange, status), count in Counter(tried).items():
        _manager.add_published_message(BROKER, exchange, status, count)
    for exchange in {exchange for exchange, _ in tried}:
        _manager.observe_published_message_duration(duration_s, BROKER, exchange)
