"""FastStream's metrics: counted also for what goes past its subscribers and publishers."""

from __future__ import annotations

from collections.abc import Sequence

import aiormq
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from hub import tracing
from hub.transports import Delivered
from tests.integration.transports.rabbit_parts import Rabbit, consuming
from tests.support.patience import until

COMMON = {"app_name": "hub", "broker": "rabbitmq"}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"faststream_{name}", {**COMMON, **labels}) or 0.0


async def test_batches_are_counted_like_faststreams_own_messages(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    queue, exchange = rabbit("orders"), rabbit("shop")
    is_away: list[bool] = [True]
    taken: list[Delivered] = []

    async def take(batch: Sequence[Delivered]) -> None:
        if is_away:
            is_away.clear()
            raise ConnectionError
        taken.extend(batch)

    await transport.publish([rabbit.message(), rabbit.message(), rabbit.message("nobody.reads.this", key="other")])
    async with consuming(transport, queue, take):
        await until(lambda: len(taken) == 2)
        await until(lambda: value("received_processed_messages_total", handler=queue, status="acked") == 2)

    assert value("published_messages_total", destination=exchange, status="success") == 2
    assert value("published_messages_total", destination=exchange, status="error") == 1
    assert value("published_messages_duration_seconds_count", destination=exchange) == 1
    failed = value("received_processed_messages_total", handler=queue, status="error")
    # The batch that could not be stored came again: it counts as received twice.
    assert failed >= 1
    assert value("received_messages_total", handler=queue) == 2 + failed
    assert value("received_messages_size_bytes_sum", handler=queue) == 2 * (2 + failed)
    assert value("received_processed_messages_exceptions_total", handler=queue, exception_type="ConnectionError") == 1
    assert value("received_messages_in_process", handler=queue) == 0


async def test_what_goes_through_the_broker_object_is_counted_by_faststream_itself(rabbit: Rabbit) -> None:
    await rabbit.ready()
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    try:
        transport = rabbit.transport()
        assert await transport.healthy()
        await transport._out._broker.publish("{}", exchange=rabbit("shop"), routing_key="orders.paid")
    finally:
        tracing.use(None)

    destination = f"{rabbit('shop')}.orders.paid"
    assert value("published_messages_total", destination=destination, status="success") == 1
    assert f"{destination} publish" in {span.name for span in exporter.get_finished_spans()}


async def test_a_broker_that_is_away_counts_as_an_error(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = await rabbit.ready()

    async def refuse(*_: object, **__: object) -> None:
        raise aiormq.exceptions.AMQPConnectionError

    monkeypatch.setattr(transport._publisher, "publish", refuse)

    with pytest.raises(aiormq.exceptions.AMQPConnectionError):
        await transport.publish([rabbit.message()])

    assert value("published_messages_total", destination=rabbit("shop"), status="error") == 1
    assert (
        value("published_messages_exceptions_total", destination=rabbit("shop"), exception_type="AMQPConnectionError")
        == 1
    )


async def test_a_queue_counts_as_without_a_reader_only_while_it_is_wanted(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    queue = rabbit("orders")

    async def take(_batch: Sequence[Delivered]) -> None: ...

    def readers() -> float | None:
        return REGISTRY.get_sample_value("hub_rabbit_consumers", {"queue": queue})

    assert readers() is None
    rabbit.proxy.refuse()
    rabbit.proxy.cut()
    async with consuming(transport, queue, take):
        await until(lambda: readers() == 0)
        rabbit.proxy.accept()
        await until(lambda: readers() == 1)
    # A source that a reload has taken away must not ring for ever.
    assert readers() is None
