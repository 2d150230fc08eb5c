"""The API's description: what routes say about themselves, as OpenAPI and as a page that needs nobody else."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from handlers.sepay.doors import all_routes
from handlers.sepay.settings import SepaySettings
from hub.api import HubApi
from hub.apidoc import Operation, Parameter, documented
from hub.apidoc.document import openapi_document
from hub.apidoc.page import render_page
from hub.apidoc.published import Published
from hub.apidoc.routes import documentation_routes, message_routes
from hub.capability import Capability
from hub.routing import load_text
from hub.settings import Settings

FOR_SEPAY = {"/api/sepay/oauth/token", "/api/seapay/callback/"}
"""Called by SePay, not by users: docs/providers/sepay.md describes them."""


class Tip(BaseModel):
    """A tip <of a guest>."""

    cents: int


class Problem(BaseModel):
    code: str


async def respond(_request: web.Request) -> web.Response:
    return web.Response()


def route(method: str = "POST", path: str = "/tips/{tip_id}/", **more: Any) -> web.RouteDef:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response()

    operation = Operation(
        **{"summary": "Give a tip", "tag": "Tips", "body": Tip, "reply": Tip, "problem": Problem, **more}
    )
    return web.RouteDef(method, path, documented(handle, operation), {})


def test_a_route_is_described_with_its_body_its_answers_and_its_parameters() -> None:
    described = route(
        parameters=(Parameter(name="tip_id", place="path", schema={"type": "integer"}),), errors={409: "too_late"}
    )

    document = openapi_document([described], version="1.2.3")

    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", "1.2.3")
    operation = document["paths"]["/tips/{tip_id}/"]["post"]
    schema = {"$ref": "#/components/schemas/Tip"}
    assert operation["requestBody"]["content"] == {"application/json": {"schema": schema}}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == schema
    assert operation["responses"]["409"]["description"] == "too_late"
    # What the server itself refuses is described as well.
    assert {"408", "413", "414", "415", "431"} <= operation["responses"].keys()
    # … in its own words, not in the operation's.
    assert operation["responses"]["413"]["content"] == {"application/problem+json": {"schema": {"type": "object"}}}
    assert operation["parameters"] == [
        {"name": "tip_id", "in": "path", "required": True, "schema": {"type": "integer"}}
    ]
    assert operation["security"] == [{"userToken": []}]


def test_a_list_an_image_and_an_open_door_are_told_apart() -> None:
    document = openapi_document(
        [
            route("GET", "/tips/", body=None, is_list=True),
            route("GET", "/tip.png", body=None, reply="image/png", security="none"),
        ],
        version="1",
    )

    tips, image = (document["paths"][path]["get"] for path in ("/tips/", "/tip.png"))
    assert tips["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array"
    assert image["responses"]["200"]["content"] == {"image/png": {}}
    assert (tips["security"], image["security"]) == ([{"userToken": []}], [])
    assert "requestBody" not in tips


def test_what_the_server_refuses_has_the_shape_of_an_operation_that_answers_alike() -> None:
    document = openapi_document([route(problem_media="application/problem+json", errors={400: "wrong"})], version="1")

    responses = document["paths"]["/tips/{tip_id}/"]["post"]["responses"]
    shape = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert [responses[status]["content"] for status in ("400", "408", "413", "414")] == [shape] * 4


def test_a_route_that_says_nothing_is_left_out() -> None:
    assert openapi_document([web.get("/healthz", respond)], version="1")["paths"] == {}


def test_the_page_escapes_what_it_shows_and_loads_nothing() -> None:
    page = render_page(openapi_document([route()], version="1"), document_path="/api/openapi.json")

    assert "A tip &lt;of a guest&gt;." in page
    assert "<of a guest>" not in page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="([^"#]+)"', page) == [
        "/api/openapi.json",
        "/api/asyncapi.json",
        "/api/schemas",
    ]


async def test_both_are_served_and_the_page_may_run_nothing() -> None:
    app = web.Application()
    app.add_routes(documentation_routes([route()]))
    async with TestClient(TestServer(app)) as client:
        page, document = await client.get("/api/docs"), await client.get("/api/openapi.json")

        assert (page.status, page.content_type) == (200, "text/html")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert list((await document.json())["paths"]) == ["/tips/{tip_id}/"]


async def test_what_nobody_asks_for_is_not_made_and_the_rest_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def noted(described: object, **given: Any) -> object:
        made.append(described)
        return openapi_document([route()], **given)

    monkeypatch.setattr("hub.apidoc.routes.openapi_document", noted)
    app = web.Application()
    app.add_routes(documentation_routes([route()]))
    assert made == []
    async with TestClient(TestServer(app)) as client:
        await asyncio.gather(client.get("/api/openapi.json"), client.get("/api/openapi.json"))
        await client.get("/api/docs")

    assert 1 <= len(made) <= 2, "two who ask at once may both have it made"


async def test_messages_are_described_as_the_wiring_is_at_each_request() -> None:
    now = [Published(load_text("version: 1", path=Path("routing.yaml"), environ={}).config, [])]
    app = web.Application()
    app.add_routes(message_routes(lambda: now[-1]))
    async with TestClient(TestServer(app)) as client:
        before = await (await client.get("/api/schemas")).json()
        now.append(Published(now[0].traffic.config, [Capability(name="tips", schemas={"Tip": Tip})]))
        after = await (await client.get("/api/schemas")).json()
        schema = await client.get("/api/schemas/tips.Tip.json")

        assert before == {"schemas": []}
        assert [one["path"] for one in after["schemas"]] == ["/api/schemas/tips.Tip.json"]
        assert (schema.content_type, (await schema.json())["$id"]) == (
            "application/schema+json",
            "urn:hub:schema:tips.Tip",
        )
        assert (await client.get("/api/schemas/tips.Nothing.json")).status == 404
        assert (await (await client.get("/api/asyncapi.json")).json())["asyncapi"] == "3.0.0"


def test_every_schema_of_the_shipped_api_is_one_and_every_reference_leads_somewhere() -> None:
    api = SimpleNamespace(settings_of=lambda _name: SepaySettings(sandbox=False), settings=Settings())
    routes = list(all_routes(cast(HubApi, api)))
    document = openapi_document(routes, version="1")

    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    referred = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(referred) <= set(schemas)
    described = {(path, method.upper()) for path, found in document["paths"].items() for method in found}
    ours = {(route.path, route.method) for route in routes if isinstance(route, web.RouteDef)}
    assert {path for path, _ in ours - described} == FOR_SEPAY
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
