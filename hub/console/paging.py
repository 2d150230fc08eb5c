"""Addresses of further pages: the query that was asked, with some of it said otherwise."""

from __future__ import annotations

from aiohttp import web


def with_query(request: web.Request, **changed: object) -> str:
    """The path of this page with some parameters changed; None takes one away."""
    query = {name: value for name, value in request.query.items() if value and name not in changed}
    query |= {name: str(value) for name, value in changed.items() if value is not None}
    return str(request.rel_url.with_query(query))
