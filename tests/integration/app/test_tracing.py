"""Traces: what belongs together is one tree, from the acceptance to the last message; nothing while they are off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiormq
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import StatusCode

from hub import tracing
from hub.calls.outcome import NotFound, Outcome, Settled
from hub.capability import HandlerSpec, calls, handler
from hub.deliver.context import Context
from hub.errors import ConfigError, RetryableError
from hub.event import Event, new_traceparent
from hub.store import tables as t
from hub.store.store import Store
from hub.transports import topology_of
from tests.support.parts import assemble
from tests.support.rabbit import rabbit_address, raw_channel, remove
from tests.support.running import API_KEY, PROJECT, environment, running, until

SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SENDER = int(SENT[3:35], 16), int(SENT[36:52], 16)
EVENT = {"specversion": "1.0", "id": "e-1", "source": "loymax", "type": "purchases.confirm.modelUpdate"}
TRIES: dict[str, int] = {}


def tracer(sampler: Sampler | None = None) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler) if sampler is not None else TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    try:
        yield exporter
    finally:
        tracing.use(None)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    yield from tracer()


@pytest.fixture
def unsampled() -> Iterator[InMemorySpanExporter]:
    yield from tracer(ParentBased(ALWAYS_OFF))


def tree(spans: InMemorySpanExporter) -> Mapping[str, tuple[str, ReadableSpan]]:
    """Each span by its name, with the name of the one above it: ``sender`` for the message's own, empty for none."""
    finished = spans.get_finished_spans()
    names = {one.context.span_id: one.name for one in finished} | {SENDER: "sender"}
    return {one.name: (names.get(one.parent.span_id, "?") if one.parent else "", one) for one in finished}


async def test_one_message_is_one_tree_from_its_acceptance_to_what_it_led_to(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    body = {
        **EVENT,
        "data": json.loads((PROJECT / "tests/data/loymax/purchase_confirm.json").read_text()),
        "traceparent": SENT,
    }
    async with running(environment(tmp_path)) as hub:
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/cloudevents+json"}
        status, _ = await hub.post("/events", json.dumps(body).encode(), **headers)
        await hub.settled()
        sent = await hub.queue("loyalty.platform")

    found = {name: above for name, (above, one) in tree(spans).items() if one.context.trace_id == TRACE}
    assert status in (200, 202)
    assert found["accept loymax"] == "sender"
    assert found["deliver apply-purchase"] == found["deliver purchases-to-their-queue"] == "accept loymax"
    assert found["publish hub.loymax.purchases"] == "deliver purchases-to-their-queue"
    assert found["publish loyalty.events"] == "deliver apply-purchase"
    assert {row.headers["traceparent"][:36] for row in sent} == {SENT[:36]}
    applied = tree(spans)["deliver apply-purchase"][1]
    assert applied.attributes is not None
    assert (applied.attributes["hub.ending"], applied.attributes["hub.attempt"]) == ("done", 1)


RELAYED = """
version: 1
sources:
  till:
    queue: {{ name: {name}.in, exchange: {name}.till, bind: ["#"] }}
    post_events: true
    event: {{ type: routing_key }}
destinations: {{ elsewhere: {{ queue: {name}.out }} }}
routes: [{{ name: pass-on, match: "#", publish: elsewhere }}]
"""


async def test_a_trace_goes_on_through_rabbitmq_in_and_out(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    broker, name = await rabbit_address(), f"hub-trace-{new_traceparent()[3:15]}"
    routing = tmp_path / "routing.yaml"
    routing.write_text(RELAYED.format(name=name))
    by_broker = f"00-{'b' * 32}-{'c' * 16}-01"
    environ = environment(tmp_path, HUB_ROUTING=str(routing), HUB_BROKER_URL=broker, HUB_CONSOLE="off")
    async with running(environ) as hub, raw_channel(broker) as channel:
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/cloudevents+json"}
        event = {
            "specversion": "1.0",
            "id": "e-1",
            "source": "till",
            "type": "tip.given",
            "data": {},
            "traceparent": SENT,
        }
        status, _ = await hub.post("/events", json.dumps(event).encode(), **headers)
        await channel.basic_publish(
            b"{}",
            exchange=f"{name}.till",
            routing_key="tip.given",
            properties=aiormq.spec.Basic.Properties(headers={"traceparent": by_broker}, message_id="e-2"),
        )
        arrived: list[Mapping[str, Any]] = []

        async def both_have_arrived() -> bool:
            got = await channel.basic_get(f"{name}.out", no_ack=True)
            if isinstance(got.delivery, aiormq.spec.Basic.GetOk):
                arrived.append(got.header.properties.headers or {})
            return len(arrived) == 2

        await until(both_have_arrived, "both messages to come out at the broker")
        topology = topology_of(hub.hub.wiring.config)
    await remove(broker, [topology])

    assert status in (200, 202)
    finished = spans.get_finished_spans()
    for sent in (SENT, by_broker):
        mine = [one for one in finished if one.context.trace_id == int(sent[3:35], 16)]
        names = {one.context.span_id: one.name for one in mine} | {int(sent[36:52], 16): "sender"}
        above = {one.name: names.get(one.parent.span_id) for one in mine if one.parent}
        assert above == {
            "accept till": "sender",
            "deliver pass-on": "accept till",
            f"publish hub.{name}.out": "deliver pass-on",
        }
        [carried] = [one["traceparent"] for one in arrived if str(one["traceparent"]).startswith(sent[:36])]
        assert names[int(carried[36:52], 16)] == "deliver pass-on"
        assert carried.endswith("-01")


@handler
async def begin(event: Event, ctx: Context) -> None:
    await ctx.emit("asked", {})


@calls("bank")
async def ask(event: Event, ctx: Context) -> None:
    async def send(_request: object, _key: str) -> Outcome:
        TRIES["bank"] = TRIES.get("bank", 0) + 1
        if TRIES["bank"] == 1:
            raise RetryableError("again", delay_s=0.01)
        return Settled({})

    async def lookup(_request: object, _key: str) -> NotFound:
        return NotFound()

    await ctx.call("pay", send, {}, lookup=lookup)


HANDLERS: Mapping[str, HandlerSpec] = {"begin": begin, "ask": ask}
ROUTES = """
routes:
  - { name: begin, match: begun, handle: test.begin }
  - { name: ask, match: asked, handle: test.ask, retry: { attempts: 3, first: 10ms } }
"""


async def test_what_a_handler_emits_and_calls_is_below_it_attempt_by_attempt(
    store: Store, spans: InMemorySpanExporter
) -> None:
    TRIES.clear()
    async with assemble(store, ROUTES, HANDLERS) as parts:
        await parts.send("begun", traceparent=SENT)
        await parts.settle()

    finished = spans.get_finished_spans()
    begun = next(one for one in finished if one.name == "deliver begin")
    asked = [one for one in finished if one.name == "deliver ask"]
    paid = [one for one in finished if one.name == "call bank pay"]
    assert [one.parent.span_id for one in asked if one.parent] == [begun.context.span_id] * 2
    assert [one.status.status_code for one in asked] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [one.parent.span_id for one in paid if one.parent] == [one.context.span_id for one in asked]
    assert len({one.context.span_id for one in finished}) == len(finished)
    assert {one.context.trace_id for one in finished} == {TRACE}


async def test_what_the_sampler_leaves_out_is_left_out_as_a_whole(
    store: Store, unsampled: InMemorySpanExporter
) -> None:
    TRIES.clear()
    async with assemble(store, ROUTES, HANDLERS) as parts:
        await parts.send("begun")
        await parts.settle()
        stored = [row.traceparent for row in await parts.rows(t.inbox)]
        # A sender that has decided for it is followed.
        await parts.send("begun", traceparent=SENT)
        await parts.settle()

    assert {one[-2:] for one in stored} == {"00"}
    assert {one.context.trace_id for one in unsampled.get_finished_spans()} == {TRACE}


def test_a_share_of_our_own_traces_is_taken() -> None:
    sampler = TraceIdRatioBased(0.25)

    taken = [
        sampler.should_sample(None, int(new_traceparent()[3:35], 16), "x").decision.value > 0 for _ in range(2_000)
    ]

    assert 400 < sum(taken) < 600


def test_traces_are_off_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = []
    monkeypatch.setattr("hub.tracing.spans.use", used.append)

    for environ in (
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
    ):
        tracing.start(environ)
    assert used == []

    for environ in ({"OTEL_TRACES_EXPORTER": "console"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}):
        tracing.start(environ)
        used.pop().shutdown()  # type: ignore[attr-defined]

    with pytest.raises(ConfigError, match="no exporter 'smoke' is installed"):
        tracing.start({"OTEL_TRACES_EXPORTER": "smoke"})
