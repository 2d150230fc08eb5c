"""``GET /api/docs`` for people; ``/api/openapi.json``, ``/api/asyncapi.json`` and ``/api/schemas`` for programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final

from aiohttp import web

from hub.apidoc.document import openapi_document
from hub.apidoc.page import render_page
from hub.apidoc.published import Published, as_json
from hub.apidoc.version import hub_version

DOCS_PATH: Final = "/api/docs"
DOCUMENT_PATH: Final = "/api/openapi.json"
ASYNCAPI_PATH: Final = "/api/asyncapi.json"
SCHEMAS_PATH: Final = "/api/schemas"
SCHEMA_TYPE: Final = "application/schema+json"
CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def documentation_routes(described: Sequence[web.AbstractRouteDef]) -> Iterable[web.RouteDef]:
    """Two routes that describe these; both answers are made once, when the first is asked for."""

    @cache
    def made() -> tuple[bytes, bytes]:
        document = openapi_document(described, version=hub_version())
        as_page = render_page(document, document_path=DOCUMENT_PATH)
        return json.dumps(document, ensure_ascii=False, indent=2).encode(), as_page.encode()

    # In a thread: this takes a third of the time of a whole start, and the loop has webhooks to answer.
    async def show_document(_request: web.Request) -> web.Response:
        as_bytes, _ = await asyncio.to_thread(made)
        return web.Response(body=as_bytes, content_type="application/json")

    async def show_page(_request: web.Request) -> web.Response:
        _, as_page = await asyncio.to_thread(made)
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(body=as_page, content_type="text/html", charset="utf-8", headers=headers)

    yield web.get(DOCUMENT_PATH, show_document)
    yield web.get(DOCS_PATH, show_page)


def message_routes(published: Callable[[], Published]) -> Iterable[web.RouteDef]:
    """The routes that describe the messages of the wiring as it is at each request: a reload may change it."""

    async def show_document(_request: web.Request) -> web.Response:
        return _json(published().asyncapi, "application/json")

    async def list_schemas(_request: web.Request) -> web.Response:
        schemas = published().traffic.schemas.by_name.values()
        listed = [
            {"name": one.name, "path": f"{SCHEMAS_PATH}/{one.name}.json", "title": one.summary} for one in schemas
        ]
        return _json({"schemas": listed}, "application/json")

    async def show_schema(request: web.Request) -> web.Response:
        schema = published().schemas.get(request.match_info["name"])
        if schema is None:
            raise web.HTTPNotFound
        return _json(schema, SCHEMA_TYPE)

    yield web.get(ASYNCAPI_PATH, show_document)
    yield web.get(SCHEMAS_PATH, list_schemas)
    yield web.get(f"{SCHEMAS_PATH}/{{name}}.json", show_schema)


def _json(document: object, content_type: str) -> web.Response:
    return web.Response(body=as_json(document).encode(), content_type=content_type)
