"""Who is asking, and how often: one user's haste must not slow the others down.

Source: docs/providers/sepay-orders.md, "HTTP API".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from hub.errors import RefusedCommand
from hub.ingress.tokens import User

if TYPE_CHECKING:
    from hub.api import HubApi

WINDOW_S: Final = 60
USERS_MAX: Final = 100_000
"""How many users are counted within a window; beyond them the counting begins anew."""


class Callers:
    """The users of this process, each with the number of requests in the current minute."""

    def __init__(self, api: HubApi) -> None:
        self._api = api
        self._window = 0
        self._counts: dict[str, int] = {}

    def user(self, request: web.Request) -> User:
        """The user whose token came with the request. Raises RefusedError, RefusedCommand (too_many_requests)."""
        user = self._api.user(request)
        limit = self._api.settings_of("sepay").requests_per_minute_max
        window = int(self._api.clock.now().timestamp()) // WINDOW_S
        if window != self._window or len(self._counts) >= USERS_MAX:
            self._window, self._counts = window, {}
        count = self._counts[user.id] = self._counts.get(user.id, 0) + 1
        if limit and count > limit:
            raise RefusedCommand("too_many_requests", "Too many requests, please try again in a minute")
        return user
