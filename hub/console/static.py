"""The console's few static files: read once, addressed by their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web

from hub.console.addresses import BASE

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"


class Statics:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._files = {one.name: one.read_bytes() for one in sorted(folder.iterdir()) if one.suffix in TYPES}

    def path(self, name: str) -> str:
        """Where a page finds this file."""
        version = hashlib.sha256(self._files[name]).hexdigest()[:12]
        return f"{BASE}/static/{name}?v={version}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The file itself. It needs no session: it says nothing about this hub."""
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound
        headers = {"Content-Type": TYPES[Path(name).suffix], "Cache-Control": FOR_EVER}
        return web.Response(body=self._files[name], headers=headers)
