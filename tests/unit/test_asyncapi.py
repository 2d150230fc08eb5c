"""The description of messages: valid AsyncAPI, true to the broker's topology, and true to what messages hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from faststream.rabbit import RabbitBroker
from faststream.specification import AsyncAPI
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import BaseModel, ConfigDict
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from hub.apidoc.published import Published
from hub.apidoc.traffic import Form
from hub.capability import Capability, handler
from hub.clock import SystemClock
from hub.deliver.context import Context
from hub.environment import Environment
from hub.event import Event
from hub.routing import Known, load_text
from hub.transports.rabbit.objects import DEAD_LETTERS, objects_of
from hub.transports.topology import topology_of
from hub.wiring import Wiring, load_wiring
from tests.support.running import PROJECT, environment

ASYNCAPI_SCHEMA = PROJECT / "tests/data/asyncapi/3.0.0.json"
UNTOLD = {"loymax", "paypal"}
"""Sources that send what nobody has described: it is forwarded as it came."""


class TipGiven(BaseModel):
    """A guest gave ``amount`` cents. More about it."""

    model_config = ConfigDict(frozen=True)

    tip_id: str
    amount: int


class TipBooked(BaseModel):
    tip_id: str
    note: str | None


@handler
async def book(tip: TipGiven, ctx: Context) -> None: ...


@handler
async def look(event: Event, ctx: Context) -> None: ...


ROUTING = """
version: 1
capabilities: [handlers.tips]
sources:
  till: { queue: { name: hub.till, exchange: till.events, bind: ["tip.#"] }, event: { type: routing_key } }
  web: { post_events: true, event: { type: tip.given, schema: tips.TipGiven } }
destinations:
  payroll:
    exchange: pay.events
    routing_key: "{event.source}.{event.type}"
    bind: { pay.all: "#", pay.tips: "*.tip.#" }
  copy: { queue: copy.tips }
  audit: { queue: audit.tips }
routes:
  - { name: book, match: [tip.given, tip.taken], handle: tips.book, publish: payroll }
  - { name: copy, match: "tip.#", source: till, publish: copy }
  - { name: tell, match: [tip.booked, "tip.lost"], source: internal, publish: copy }
  - { name: look, match: [tip.given, tip.noted], handle: tips.look, publish: audit }
"""


@pytest.fixture(scope="module")
def wiring(tmp_path_factory: pytest.TempPathFactory) -> Wiring:
    environ = environment(tmp_path_factory.mktemp("home"))
    return load_wiring(PROJECT / "routing.yaml", Environment(environ), SystemClock())


@pytest.fixture(scope="module")
def document(wiring: Wiring) -> Mapping[str, Any]:
    return wiring.published.asyncapi


@pytest.fixture
def tips() -> Published:
    capability = Capability(
        name="tips",
        handlers={"book": book, "look": look},
        schemas={"TipGiven": TipGiven},
        emits={"tip.booked": TipBooked},
        publishes={"book": {"tip.booked": TipBooked}},
        reads={"look": {"tip.noted": TipBooked}},
    )
    known = Known(handlers={"tips.book", "tips.look"}, schemas={"tips.TipGiven"}, schemes=set())
    loaded = load_text(ROUTING, path=Path("routing.yaml"), environ={}, known=known)
    return Published(loaded.config, [capability])


def test_what_comes_in_and_goes_out_is_read_from_rules_and_capabilities(tips: Published) -> None:
    traffic = tips.traffic

    given = ("tips.TipGiven",)
    assert traffic.incoming("till") == [
        Form("tip.#", "tip.#"),
        Form("tip.given", "tip.given", given),
        Form("tip.noted", "tip.noted", ("tips.TipBooked",)),
        Form("tip.taken", "tip.taken", given),
    ]
    assert traffic.incoming("web") == [Form("tip.given", "tip.given", given)]
    # A handler that says what it publishes is believed; one that says nothing may publish anything.
    assert traffic.outgoing("payroll") == [Form("tip.booked", "{source}.tip.booked", ("tips.TipBooked",))]
    assert traffic.outgoing("audit") == [Form("#", "#")]
    assert traffic.outgoing("copy") == [
        Form("tip.#", "tip.#"),
        Form("tip.booked", "tip.booked", ("tips.TipBooked",)),
        Form("tip.lost", "tip.lost"),
    ]


def test_a_schema_stands_alone_and_says_what_may_be_absent(tips: Published) -> None:
    read, written = tips.schemas["tips.TipGiven"], tips.schemas["tips.TipBooked"]

    assert read["$id"] == "urn:hub:schema:tips.TipGiven"
    assert read["description"] == "A guest gave `amount` cents. More about it."
    assert tips.traffic.schemas.by_name["tips.TipGiven"].summary == "A guest gave `amount` cents."
    assert read["required"] == ["tip_id", "amount"]
    # Messages are written without the members that have no value.
    assert written["required"] == ["tip_id"]


def test_a_queue_lists_what_its_patterns_let_in(tips: Published) -> None:
    channels = tips.asyncapi["channels"]

    assert set(channels["queue.pay.tips"]["messages"]) == set(channels["queue.pay.all"]["messages"]) == {"tip.booked"}
    assert channels["destination.payroll"]["address"] == "{source}.{type}"
    assert channels["destination.payroll"]["parameters"]["type"]["enum"] == ["tip.booked"]
    assert channels["source.till.exchange"]["bindings"]["amqp"]["exchange"]["name"] == "till.events"
    assert "enum" not in channels["source.till.exchange"]["parameters"]["type"]


def test_the_document_is_valid_asyncapi(document: Mapping[str, Any], tips: Published) -> None:
    validator = Draft7Validator(json.loads(ASYNCAPI_SCHEMA.read_text()))
    broken = json.loads(json.dumps(document))
    broken["channels"]["destination.loyalty"]["bindings"]["amqp"]["is"] = "nonsense"

    assert [error.message for error in validator.iter_errors(document)] == []
    assert [error.message for error in validator.iter_errors(tips.asyncapi)] == []
    assert not validator.is_valid(broken)
    # FastStream's own model of the document reads it without losing anything that it knows.
    read = ApplicationSchema.model_validate(document)
    assert set(read.channels) == set(document["channels"])


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: Mapping[str, Any]) -> None:
    for reference in set(references(document)):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in found, reference
            found = found[step]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_message_but_loymaxs_own_says_what_is_in_it(wiring: Wiring) -> None:
    traffic = wiring.published.traffic
    untold = [
        (source, form.type)
        for source in wiring.config.sources
        for form in traffic.incoming(source)
        if not form.schemas and source not in UNTOLD
    ]
    loymax = {form.type for form in traffic.incoming("loymax")}
    untold += [
        (name, form.type)
        for name in wiring.config.destinations
        for form in traffic.outgoing(name)
        if not form.schemas and form.type not in loymax
    ]

    assert untold == []


def test_every_example_of_a_rule_fits_its_published_schema(wiring: Wiring, document: Mapping[str, Any]) -> None:
    judge, messages = judge_of(document), document["components"]["messages"]
    tried, wrong = 0, []
    for route in wiring.config.routes:
        for example in route.examples:
            type_, source = example.type or route.match[0], example.source or route.source[0]
            # A command over HTTP is described by the HTTP API, and an instant of a schedule has no body.
            if example.matches and type_ in messages and (source in wiring.config.sources or source == "internal"):
                tried += 1
                data = json.loads((PROJECT / example.file).read_text())
                wrong += [f"{example.file} as {type_}: {error.message}" for error in judge(type_, data)]

    assert wrong == []
    assert tried > 20


def test_a_message_that_lacks_something_does_not_fit(document: Mapping[str, Any]) -> None:
    judge = judge_of(document)
    command = json.loads((PROJECT / "tests/examples/order_by_message.json").read_text())
    del command["request_id"]

    assert [error.message for error in judge("sepay.order.requested", command)] == [
        "'request_id' is a required property"
    ]


def test_queues_and_exchanges_are_those_that_faststream_describes(wiring: Wiring, document: Mapping[str, Any]) -> None:
    objects = objects_of(topology_of(wiring.config))
    broker = RabbitBroker()
    for number, queue in enumerate(objects.queues):
        broker.subscriber(queue)(listener(number))
    for exchange in objects.exchanges:
        broker.publisher(exchange=exchange, routing_key="#")
    theirs = AsyncAPI(broker, schema_version="3.0.0").to_specification().to_jsonable()

    ours, seen = bindings(document), bindings(theirs)
    # FastStream knows no more than what is declared; the hub's own queue for dead letters carries no message of ours.
    assert ours == {one for one in seen if DEAD_LETTERS not in one}
    assert len(ours) > 15


def listener(number: int) -> Any:
    async def listen(message: str) -> None: ...

    listen.__name__ = f"listen_{number}"
    return listen


def bindings(document: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """What the channels of a document say about queues and exchanges."""
    found: set[tuple[Any, ...]] = set()
    for channel in document["channels"].values():
        amqp = channel.get("bindings", {}).get("amqp", {})
        for kind in ("queue", "exchange"):
            if amqp.get("is") == {"queue": "queue", "exchange": "routingKey"}[kind]:
                one = amqp[kind]
                found.add((kind, one["name"], one.get("type"), one["durable"], one["autoDelete"], one["vhost"]))
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)


def judge_of(document: Mapping[str, Any]) -> Any:
    """A function that finds what is wrong with a body of a type, by the document alone."""
    root = DRAFT202012.create_resource(dict(document))
    registry: Registry[Any] = Registry().with_resource("doc:", root)

    def judge(type_: str, data: object) -> list[Any]:
        payload = document["components"]["messages"][type_]["payload"]
        schema = json.loads(json.dumps(payload).replace('"#/', '"doc:#/'))
        validator = Draft202012Validator(schema, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)
        return list(validator.iter_errors(data))

    return judge
