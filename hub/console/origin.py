"""What a request says of where it comes from, and the cookie by which a session is known."""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from hub.console.addresses import is_loopback
from hub.ingress.deps import DOOR
from hub.ingress.webhooks import sender

COOKIE: Final = "hub_console"


def cookie_name(request: web.BaseRequest, name: str = COOKIE) -> str:
    """The name of a cookie, the session's unless another is given. The prefix makes browsers refuse one that another
    host has set, or that went bare.
    """
    return f"__Host-{name}" if is_secure(request) else name


def is_secure(request: web.BaseRequest) -> bool:
    """Whether the cookie must travel encrypted: everywhere but on this machine itself."""
    return not is_loopback(_host_of(f"//{request.host}"))


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _place_of(address: str) -> str | None:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return None


def is_from_here(request: web.BaseRequest) -> bool:
    """Whether a page of the console itself sent this; browsers say so of every POST, other programs need not."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    is_ours = origin is None or _place_of(origin) == request.host.lower()
    return is_ours and site in ("same-origin", "none")


def is_same(given: object, expected: str) -> bool:
    """Whether a form carries this token; how long the answer takes says nothing of it."""
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def address_of(request: web.Request) -> str:
    """Where somebody sits, as far as proxies that are trusted tell."""
    return sender(request, request.config_dict[DOOR])
