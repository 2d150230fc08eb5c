"""Errors of the hub's own endpoints, as RFC 9457 problems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

CONTENT_TYPE = "application/problem+json"


def problem(
    status: int,
    detail: str = "",
    *,
    title: str = "",
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> web.Response:
    """A problem response. ``detail`` says what to correct; never what the hub knows about itself.

    ``members`` are extensions, such as ``field`` for the place of the mistake.
    """
    body: dict[str, object] = {"type": "about:blank", "title": title or phrase(status), "status": status}
    if detail:
        body["detail"] = detail
    body.update({name: value for name, value in members.items() if value is not None})
    return web.Response(
        status=status,
        body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def phrase(status: int) -> str:
    """The standard phrase for a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
