"""A part of the server that is made when somebody first asks for it: what nobody visits costs no memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web
from yarl import URL


class FirstVisit(web.AbstractResource):
    """Everything under ``prefix`` is answered by the application that ``make`` makes, once.

    Its middlewares run where the server has some of its own: aiohttp decides that before the first request.
    """

    def __init__(self, prefix: str, make: Callable[[], Awaitable[web.Application]]) -> None:
        super().__init__()
        self._prefix = prefix
        self._make = make
        self._making = asyncio.Lock()
        self._made: web.PrefixedSubAppResource | None = None

    @property
    def canonical(self) -> str:
        return self._prefix

    async def resolve(self, request: web.Request) -> Any:
        """The route of the application that takes this request."""
        async with self._making:
            if self._made is None:
                app = await self._make()
                self._made = web.PrefixedSubAppResource(self._prefix, app)
                app.freeze()
        return await self._made.resolve(request)

    def url_for(self, **_: str) -> URL:
        raise RuntimeError(f"what is under {self._prefix} has no address by name")

    def add_prefix(self, prefix: str) -> None:
        raise RuntimeError(f"{self._prefix} stands where it is")

    def get_info(self) -> Any:
        return {"prefix": self._prefix}

    def raw_match(self, path: str) -> bool:
        return False

    def __len__(self) -> int:
        return 0 if self._made is None else len(self._made)

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(()) if self._made is None else iter(self._made)
