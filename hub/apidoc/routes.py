"""``GET /api/docs`` for people and ``GET /api/openapi.json`` for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from aiohttp import web

from hub.apidoc.document import openapi_document
from hub.apidoc.page import render_page

DOCS_PATH: Final = "/api/docs"
DOCUMENT_PATH: Final = "/api/openapi.json"
CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def documentation_routes(described: Sequence[web.AbstractRouteDef]) -> Iterable[web.RouteDef]:
    """Two routes that describe these; both answers are made once, when the hub starts."""
    document = openapi_document(described, version=_version())
    as_json = json.dumps(document, ensure_ascii=False, indent=2).encode()
    as_page = render_page(document, document_path=DOCUMENT_PATH).encode()

    async def show_document(_request: web.Request) -> web.Response:
        return web.Response(body=as_json, content_type="application/json")

    async def show_page(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(body=as_page, content_type="text/html", charset="utf-8", headers=headers)

    yield web.get(DOCUMENT_PATH, show_document)
    yield web.get(DOCS_PATH, show_page)


def _version() -> str:
    try:
        return version("hub")
    except PackageNotFoundError:
        return "0"
