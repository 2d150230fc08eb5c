"""What nobody visits is never made, and what somebody visits is made once."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from hub.ingress.first_visit import FirstVisit


async def test_a_part_of_the_server_is_made_once_when_somebody_first_asks_for_it() -> None:
    made: list[str] = []

    async def say(request: web.Request) -> web.Response:
        return web.Response(text=request.match_info.get("name", "none"))

    @web.middleware
    async def sign(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Inner"] = "yes"
        return response

    async def make() -> web.Application:
        made.append("once")
        await asyncio.sleep(0)
        inner = web.Application(middlewares=[sign])
        inner.router.add_get("/", say)
        inner.router.add_get("/pages/{name}", say)
        return inner

    @web.middleware
    async def outer(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request)

    app = web.Application(middlewares=[outer])
    app.router.add_get("/consoles", say)
    app.router.register_resource(FirstVisit("/inner", make))
    async with TestClient(TestServer(app)) as client:
        assert ((await client.get("/consoles")).status, made) == (200, [])

        answers = await asyncio.gather(*(client.get(f"/inner/pages/{name}") for name in "abc"))

        assert [(await one.text(), one.headers.get("X-Inner")) for one in answers] == [(name, "yes") for name in "abc"]
        asked = [client.get("/inner/"), client.get("/inner/nothing"), client.post("/inner/"), client.get("/innermost")]
        assert [(await one).status for one in asked] == [200, 404, 405, 404]
    assert made == ["once"]
