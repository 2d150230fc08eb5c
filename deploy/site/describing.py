"""The business API and the messages as pages, from the same documents that the hub itself serves."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from hub.api import HubApi
from hub.apidoc.document import openapi_document
from hub.apidoc.published import as_json
from hub.apidoc.version import hub_version
from hub.cli.opening import placeholders
from hub.clock import SystemClock
from hub.environment import Environment
from hub.ingress.described import OWN_ROUTES
from hub.settings import load_settings, read_settings
from hub.wiring import Wiring, load_wiring

ROUTING: Final = Path(__file__).resolve().parents[2] / "routing.yaml"
WHO: Final = {"userToken": "a user's token", "apiKey": "an API key"}
Rows = Iterable[Sequence[str]]


def api_page() -> Iterator[tuple[str, str]]:
    """Every operation of the hub's and the capabilities' APIs, and the OpenAPI document."""
    document = openapi()
    yield "reference/openapi.json", as_json(document)
    parts = [
        "# HTTP API\n",
        "Of the hub and the capabilities that `routing.yaml` names. The same as a document for programs: "
        "[openapi.json](openapi.json); a running hub serves both, at `/api/docs` and `/api/openapi.json`. Every path "
        "is answered with and without a slash at its end.\n",
    ]
    by_tag: dict[str, list[str]] = defaultdict(list)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag[operation["tags"][0]].append(_operation(method.upper(), path, operation))
    for tag, described in by_tag.items():
        parts += [f"## {tag}\n", *described]
    parts.append("## Bodies\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_body(f"### {name}", schema, f"#{name.lower()}"))
    yield "reference/api.md", "\n".join(parts)


def message_pages() -> Iterator[tuple[str, str]]:
    """Where messages travel (AsyncAPI), and each message with its fields (JSON Schema)."""
    published = wiring().published
    document = published.asyncapi
    yield "reference/asyncapi.json", as_json(document)
    for name, schema in published.schemas.items():
        yield f"reference/schemas/{name}.json", as_json(schema)
    yield (
        "reference/messages.md",
        "\n".join(
            [*_channels(document), *_messages(published.schemas, _directions(published.traffic.schemas.by_name))]
        ),
    )


@cache
def wiring() -> Wiring:
    """The project's own routing.yaml; secrets are not needed."""
    environment = Environment({"HUB_ROUTING": str(ROUTING)})
    filled = Environment({"HUB_ROUTING": str(ROUTING), **placeholders(ROUTING, environment)})
    return load_wiring(ROUTING, filled, SystemClock())


def openapi() -> Mapping[str, Any]:
    """The document of all routes, of a hub that is not started."""
    environ = {"HUB_ROUTING": str(ROUTING)}
    members = wiring().capabilities.members
    settings = {one.name: read_settings(one.settings, environ) for one in members if one.settings is not None}
    api = cast(HubApi, SimpleNamespace(settings=load_settings(environ), settings_of=settings.get))
    routes = [*OWN_ROUTES, *(route for one in members if one.http is not None for route in one.http(api))]
    return openapi_document(routes, version=hub_version())


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    needs = " or ".join(WHO[name] for one in operation["security"] for name in one) or "nothing"
    parts = [f"### `{method} {path}`\n", f"{operation['summary'].rstrip('.')}. Needs {needs}.\n"]
    if text := operation.get("description"):
        parts.append(f"{text}\n")
    taken = [
        (f"`{one['name']}`", one["in"], _type(one["schema"], ""), _cell(one.get("description", "")))
        for one in operation["parameters"]
    ]
    if taken:
        parts.append(_table(("parameter", "in", "type", ""), taken))
    if "requestBody" in operation:
        parts.append(f"Takes {_contents(operation['requestBody'])}.\n")
    answers = [
        (f"`{status}`", _cell(one["description"]), _contents(one)) for status, one in operation["responses"].items()
    ]
    return "\n".join([*parts, _table(("status", "when", "body"), answers)])


def _contents(body: Mapping[str, Any]) -> str:
    kinds = body.get("content", {}).items()
    return ", ".join(_type(one["schema"], "") if "schema" in one else f"`{kind}`" for kind, one in kinds)


def _channels(document: Mapping[str, Any]) -> Iterator[str]:
    yield "# Messages in and out\n"
    yield (
        "Made from `routing.yaml` and the capabilities. For programs: [asyncapi.json](asyncapi.json) (AsyncAPI 3.0), "
        "and each schema below. What they promise is on the page [Messages](../messages.md).\n"
    )
    does: dict[str, set[str]] = defaultdict(set)
    for operation in document["operations"].values():
        does[operation["channel"]["$ref"].rpartition("/")[2]].add(operation["action"])
    yield "## Where they travel\n"
    rows = [
        (_address(name, one), " and ".join(f"{word}s" for word in sorted(does[name])) or "–", _cell(one["description"]))
        for name, one in document["channels"].items()
    ]
    yield _table(("address", "the hub", ""), rows)


def _address(name: str, channel: Mapping[str, Any]) -> str:
    exchange = channel.get("bindings", {}).get("amqp", {}).get("exchange")
    return f"exchange `{exchange['name']}`" if exchange else f"`{_cell(channel.get('address') or name)}`"


def _messages(schemas: Mapping[str, Mapping[str, Any]], directions: Mapping[str, str]) -> Iterator[str]:
    by_owner: dict[str, list[str]] = defaultdict(list)
    for name, schema in schemas.items():
        about = (
            f"\n{'Written' if directions[name] == 'out' else 'Read'} by the hub. [JSON Schema](schemas/{name}.json)\n"
        )
        by_owner[name.partition(".")[0]].append(_body(f"### {name}", schema, "", about))
    for owner, described in sorted(by_owner.items()):
        yield f"## {owner}\n"
        yield from described


def _directions(by_name: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: one.direction for name, one in by_name.items()}


def _body(heading: str, schema: Mapping[str, Any], anchor: str, about: str = "") -> str:
    inner: Mapping[str, Any] = schema.get("$defs", {})
    parts = [f"{heading}\n", _words(schema.get("description", "")), about, _fields(schema)]
    for name, one in inner.items():
        parts += [f"\n*{name}*: {_words(one.get('description', '')) or '–'}\n", _fields(one)]
    return "\n".join(part for part in parts if part)


def _fields(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{name}`", _type(one, ""), "yes" if name in required else "", _cell(one.get("description", "")))
        for name, one in schema.get("properties", {}).items()
    ]
    if rows:
        return _table(("field", "type", "always", ""), rows)
    return f"\n{_type(schema, '')}\n" if "enum" in schema or "type" in schema else ""


def _type(schema: Mapping[str, Any], nothing: str) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        # Models of one name in several modules are told apart by these.
        short = name.rpartition("__")[2]
        return f"[{short}](#{name.lower()})" if "components" in schema["$ref"] else f"*{short}*"
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(_type(one, nothing) for one in schema[word])
    if "const" in schema:
        return f"`{json.dumps(schema['const'], ensure_ascii=False)}`"
    if "enum" in schema:
        return ", ".join(f"`{_cell(str(one))}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), nothing)}"
    kind = schema.get("type", "anything")
    more = [str(schema[name]) for name in ("format",) if name in schema]
    bounds = [f"{sign} {schema[name]}" for name, sign in _BOUNDS if name in schema]
    return ", ".join([str(kind), *more, *bounds])


_BOUNDS: Final = (
    ("minimum", "≥"),
    ("exclusiveMinimum", ">"),
    ("maximum", "≤"),
    ("exclusiveMaximum", "<"),
    ("maxLength", "length ≤"),
)


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return _words(text).replace("|", "\\|")


def _words(text: str) -> str:
    """A text on one line; what looks like a tag is none, and what looks like a link stays words."""
    plain = " ".join(text.split()).replace("<", "&lt;")
    return re.sub(r"\[([^\]]*)\](?=\()", r"\\[\1\\]", plain)
