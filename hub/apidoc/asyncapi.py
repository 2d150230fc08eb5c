"""The AsyncAPI document: every message in and out, where it travels, and what its body must fit.

Queues and exchanges are described in RabbitMQ's words; on other brokers they have the same names. Made from
routing.yaml and the capabilities alone: it names no host and needs no database.
Source: AsyncAPI Specification 3.0.0 with the AMQP bindings 0.3.0; docs/messages.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from hub.apidoc.schemas import PublishedSchema
from hub.apidoc.traffic import Form, Traffic
from hub.routing.config import DestinationConfig
from hub.routing.patterns import is_literal, matches
from hub.routing.sources import QueueConfig, SourceConfig
from hub.transports.topology import QueueSpec, Topology, topology_of

ASYNCAPI: Final = "3.0.0"
TITLE: Final = "Hub messages"
ABOUT: Final = (
    "What the hub takes in and what it sends. Messages come at least once and in order per key: recognise repeats by "
    "the message id, which stays the same."
)
AMQP: Final = "0.3.0"
HTTP: Final = "0.3.0"
HEADERS: Final = "hub.MessageHeaders"
CLOUD_EVENT: Final = "hub.CloudEvent"
TRACEPARENT: Final = {
    "type": "string",
    "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
    "description": "W3C trace context: names the trace that this message belongs to.",
}
OWN_SCHEMAS: Final[Mapping[str, Any]] = {
    HEADERS: {
        "type": "object",
        "description": (
            "Headers of a message. Beside them travel the properties message_id (the same on every repeat), "
            "content_type, timestamp and delivery_mode 2. A forwarded message keeps the headers that it came with."
        ),
        "properties": {"traceparent": TRACEPARENT},
        "additionalProperties": True,
    },
    CLOUD_EVENT: {
        "type": "object",
        "description": "A CloudEvent 1.0 in structured mode; source names a declared source, extensions are headers.",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1},
            "type": {"type": "string", "minLength": 1},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"type": "string"},
            "dataschema": {"type": "string"},
            "subject": {"type": "string"},
            "traceparent": TRACEPARENT,
            "data": {},
            "data_base64": {"type": "string"},
        },
        "additionalProperties": True,
    },
}
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")
_FIELD: Final = re.compile(r"\{event\.(\w+)\}")


def asyncapi_document(traffic: Traffic, *, version: str) -> dict[str, Any]:
    """The whole document."""
    return _Writer(traffic).document(version)


class _Writer:
    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._topology = topology_of(traffic.config)
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}

    def document(self, version: str) -> dict[str, Any]:
        for name, source in self._traffic.config.sources.items():
            self._source(name, source)
        self._post_events()
        for name, destination in self._traffic.config.destinations.items():
            self._destination(name, destination)
        return {
            "asyncapi": ASYNCAPI,
            "info": {"title": TITLE, "version": version, "description": ABOUT},
            "defaultContentType": "application/json",
            "channels": self._channels,
            "operations": self._operations,
            "components": {"messages": self._messages, "schemas": _component_schemas(self._traffic)},
        }

    def _source(self, name: str, source: SourceConfig) -> None:
        forms = self._traffic.incoming(name)
        if source.queue is not None:
            self._source_queue(name, source.queue, forms)
        if source.webhook is not None:
            channel = f"source.{name}.webhook"
            self._channel(channel, source.webhook.path, f"The webhook of the source {name}.", forms, source=name)
            paths = ", ".join(source.webhook.aliases)
            self._operation(
                f"receive.{name}.webhook",
                "receive",
                channel,
                f"Proven by the scheme {source.webhook.auth.scheme}." + (f" Also at {paths}." if paths else ""),
                {"http": {"method": "POST", "bindingVersion": HTTP}},
            )

    def _source_queue(self, name: str, queue: QueueConfig, forms: Sequence[Form]) -> None:
        channel = f"source.{name}"
        spec = next(one for one in self._topology.queues if one.name == queue.name)
        about = f"The queue that the hub reads as the source {name}."
        self._channel(channel, queue.name, about, forms, source=name, bindings={"amqp": _queue_binding(spec)})
        self._operation(f"receive.{name}", "receive", channel, f"Accept what the queue {queue.name} holds.")
        if queue.exchange is not None:
            bound = " or ".join(queue.bind)
            about = f"Where to publish for the source {name}: routing keys that match {bound} reach its queue."
            binding = {"amqp": _exchange_binding(queue.exchange)}
            self._channel(f"{channel}.exchange", "{type}", about, forms, source=name, bindings=binding)

    def _post_events(self) -> None:
        sources = [name for name, source in self._traffic.config.sources.items() if source.post_events]
        if not sources:
            return
        self._messages["CloudEvent"] = {
            "name": "CloudEvent",
            "title": "An event in its envelope; structured, binary or a batch",
            "contentType": "application/cloudevents+json",
            "payload": {
                "allOf": [_schema(CLOUD_EVENT), {"type": "object", "properties": {"source": {"enum": sources}}}]
            },
        }
        self._channels["events"] = {
            "address": "/events",
            "description": f"POST /events, with an API key, for the sources {', '.join(sources)}.",
            "messages": {"CloudEvent": {"$ref": "#/components/messages/CloudEvent"}},
        }
        binding = {"http": {"method": "POST", "bindingVersion": HTTP}}
        self._operation("receive.events", "receive", "events", "Accept CloudEvents 1.0.", binding)

    def _destination(self, name: str, destination: DestinationConfig) -> None:
        forms = self._traffic.outgoing(name)
        channel, exchange = f"destination.{name}", destination.exchange_name
        address = _FIELD.sub(r"{\1}", destination.routing_key or "{event.type}")
        about = f"The destination {name}: the exchange {exchange}, addressed by routing key."
        self._channel(channel, address, about, forms, bindings={"amqp": _exchange_binding(exchange)})
        binding = {"amqp": {"deliveryMode": 2, "mandatory": True, "ack": True, "bindingVersion": AMQP}}
        self._operation(f"send.{name}", "send", channel, f"Send what routes publish to {name}.", binding)
        for queue, patterns in destination.bindings.items():
            self._bound_queue(queue, exchange, patterns, forms)

    def _bound_queue(self, queue: str, exchange: str, patterns: Sequence[str], forms: Sequence[Form]) -> None:
        channel = f"queue.{queue}"
        there = [form for form in forms if _may_reach(form, patterns)]
        if channel in self._channels:
            # Bound to several exchanges: what comes from each of them lies in it.
            self._channels[channel]["messages"] |= self._references(there, "")
            return
        about = f"A queue of the exchange {exchange}, bound by {' and '.join(patterns)}: read it here."
        binding = {"amqp": _queue_binding(_queue_of(self._topology, queue))}
        self._channel(channel, queue, about, there, bindings=binding)

    def _channel(
        self,
        name: str,
        address: str,
        about: str,
        forms: Sequence[Form],
        *,
        source: str = "",
        bindings: Mapping[str, Any] | None = None,
    ) -> None:
        messages = self._references(forms, source)
        channel: dict[str, Any] = {"address": address, "description": about, "messages": messages}
        parameters = {field: _parameter(field, forms) for field in re.findall(r"\{(\w+)\}", address)}
        if parameters:
            channel["parameters"] = parameters
        if bindings is not None:
            channel["bindings"] = dict(bindings)
        self._channels[name] = channel

    def _operation(
        self, name: str, action: str, channel: str, summary: str, bindings: Mapping[str, Any] | None = None
    ) -> None:
        place = f"#/channels/{channel}"
        operation: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": place},
            "summary": summary,
            "messages": [{"$ref": f"{place}/messages/{one}"} for one in self._channels[channel]["messages"]],
        }
        if bindings is not None:
            operation["bindings"] = dict(bindings)
        self._operations[name] = operation

    def _references(self, forms: Iterable[Form], source: str) -> dict[str, Any]:
        return {_key(form.type): {"$ref": f"#/components/messages/{self._message(form, source)}"} for form in forms}

    def _message(self, form: Form, source: str) -> str:
        """The name of the message in the components, made once for each type and body."""
        described = {
            "name": form.type,
            "title": self._title(form),
            "contentType": "application/json",
            "headers": _schema(HEADERS),
            "payload": _payload(form),
        }
        key = _key(form.type)
        if self._messages.setdefault(key, described) == described:
            return key
        # Another source sends another body under this type.
        key = f"{key}.{_key(source)}" if source else f"{key}.out"
        self._messages[key] = described
        return key

    def _title(self, form: Form) -> str:
        if not form.schemas:
            return "As its sender wrote it" if is_literal(form.type) else f"Any other message that fits {form.type}"
        return self._traffic.schemas.by_name[form.schemas[-1]].summary or form.type


def _payload(form: Form) -> dict[str, Any]:
    if not form.schemas:
        return {"description": "Not declared: forwarded byte for byte as it came."}
    schemas = [_schema(name) for name in form.schemas]
    return schemas[0] if len(schemas) == 1 else {"allOf": schemas}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _key(text: str) -> str:
    """A type as the name of a component, which may hold letters, digits, dots, dashes and underscores."""
    return _NOT_IN_A_NAME.sub("_", ".".join("any" if word in ("*", "#") else word for word in text.split(".")))


def _parameter(field: str, forms: Sequence[Form]) -> dict[str, Any]:
    if field == "type":
        types = sorted({form.type for form in forms})
        known = {"enum": types} if types and all(is_literal(one) for one in types) else {}
        return {"description": "The type of the message.", **known}
    return {"description": f"The event's {field}; empty where it has none."}


def _may_reach(form: Form, patterns: Sequence[str]) -> bool:
    """Whether a message of this form can lie in a queue that is bound by these patterns."""
    is_known = is_literal(form.routing_key) and "{" not in form.routing_key
    return not is_known or any(matches(pattern, form.routing_key) for pattern in patterns)


def _queue_of(topology: Topology, name: str) -> QueueSpec:
    return next(one for one in topology.queues if one.name == name)


def _queue_binding(spec: QueueSpec) -> dict[str, Any]:
    queue = {"name": spec.name, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}
    return {"is": "queue", "queue": queue, "bindingVersion": AMQP}


def _exchange_binding(name: str) -> dict[str, Any]:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False, "vhost": "/"}
    return {"is": "routingKey", "exchange": exchange, "bindingVersion": AMQP}


def _component_schemas(traffic: Traffic) -> dict[str, Any]:
    found: dict[str, Any] = dict(OWN_SCHEMAS)
    for published in traffic.schemas.by_name.values():
        found |= _hoisted(published)
    return found


def _hoisted(published: PublishedSchema) -> dict[str, Any]:
    """A schema and those inside it, side by side: the inner ones under its name and their own."""
    document = published.document()
    inner = document.pop("$defs", {})
    del document["$schema"], document["$id"]
    parts = {published.name: document} | {f"{published.name}.{name}": schema for name, schema in inner.items()}
    return {name: _moved(schema, published.name) for name, schema in parts.items()}


def _moved(value: Any, owner: str) -> Any:
    if isinstance(value, list):
        return [_moved(item, owner) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: f"#/components/schemas/{owner}.{item.removeprefix('#/$defs/')}"
        if name == "$ref" and isinstance(item, str)
        else _moved(item, owner)
        for name, item in value.items()
    }
