"""Connections that send slowly, or nothing, or never read: their number is bounded, and others are served beside them.

The numbers are small so that the tests are quick; that nothing grows with the number of attempts is the point.
"""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import AsyncExitStack
from typing import Final

import pytest
from aiohttp import web

from hub.ingress.connections import CONNECTIONS_MIN, DESCRIPTORS_OWN, connections_that_fit
from tests.hostile.http.wire import GOOD, Wire, head, post, statuses, wired
from tests.integration.ingress.conftest import Harness, Start
from tests.support.patience import STILL_S_MAX, until

ROOM: Final = 8
CROWD: Final = 40
LARGE: Final = 6 * 1024 * 1024
"""More than the kernel takes off our hands for somebody who does not read."""
LOOKS: Final = 10
"""How often nothing more may have gone before that counts as the end."""


def opened(hub: Harness) -> float:
    return hub.metric("hub_http_connections")


def cut(hub: Harness, reason: str) -> float:
    return hub.metric("hub_http_connections_cut_total", reason=reason)


@pytest.mark.parametrize("said", [b"", head()[:-20]], ids=["nothing", "half a head"])
async def test_many_who_send_no_request_make_room_for_one_who_does(start: Start, said: bytes) -> None:
    hub = await start(connections_max=str(ROOM))
    before = len(os.listdir("/proc/self/fd"))

    async with AsyncExitStack() as stack:
        crowd = []
        for _ in range(CROWD):
            wire = await stack.enter_async_context(wired(hub))
            await wire.send(said)
            crowd.append(wire)
            assert opened(hub) <= ROOM
        await until(lambda: cut(hub, "crowded") >= CROWD - ROOM)
        # Their ends are ours as well; of the server's there are no more than fit.
        assert len(os.listdir("/proc/self/fd")) - before <= CROWD + ROOM

        assert (await hub.webhook()).status == 200
        # Those who have waited longest have gone.
        assert [await wire.rest() for wire in crowd[: CROWD - ROOM]] == [b""] * (CROWD - ROOM)

    await until(lambda: opened(hub) <= 1)
    assert len(hub.inbox.received) == 1


async def test_a_request_in_hand_is_not_cut_for_a_crowd(start: Start) -> None:
    # Half of them may have a body in hand.
    hub = await start(connections_max="4")
    hub.inbox.gate = asyncio.Event()

    async with wired(hub) as first, wired(hub) as second:
        for number, wire in enumerate((first, second)):
            await wire.send(post(body=b'{"id": %d}' % number))
        await hub.requests_in_hand(2)
        async with wired(hub) as third, wired(hub), wired(hub):
            assert await third.rest() == b""
            # The one more is told to come again, and not cut.
            assert (await hub.webhook(b'{"id": 2}')).status == 503
        hub.inbox.gate.set()

        assert statuses(await first.rest()) == statuses(await second.rest()) == [200]
    assert cut(hub, "crowded") == 2


async def test_heads_that_drip_are_cut_though_bytes_come(start: Start) -> None:
    hub = await start(idle_s_max="0.3")

    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired(hub)) for _ in range(5)]
        # One of them has been a good customer before.
        await wires[0].send(head(b"Content-Length: 9") + GOOD)
        assert statuses(await wires[0].until(b"true}")) == [200]
        await asyncio.gather(*(drip(wire, head(b"X-Note: " + b"a" * 5_000)) for wire in wires))

        assert (await hub.webhook(b'{"id": 2}')).status == 200
    assert len(hub.inbox.received) == 2
    assert statuses(wires[0].seen) == [200]


async def test_bodies_that_drip_are_refused_though_bytes_come(start: Start) -> None:
    hub = await start(body_s_max="0.3")

    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired(hub)) for _ in range(5)]
        for wire in wires:
            await wire.send(head(b"Content-Length: 1900"))
        await asyncio.gather(*(drip(wire, b" " * 1_800) for wire in wires))

        assert [statuses(await wire.rest()) for wire in wires] == [[408]] * 5
    assert hub.inbox.received == []
    assert hub.metric("hub_http_body_bytes_in_hand") == 0
    assert (await hub.webhook()).status == 200


async def drip(wire: Wire, data: bytes) -> None:
    """Send byte by byte until the server has had enough."""
    ended = asyncio.create_task(wire.rest())
    for place in range(len(data)):
        if ended.done():
            break
        await wire.send(data[place : place + 1])
        await asyncio.sleep(0.01)
    else:
        pytest.fail("all of it was listened to")
    await ended


async def test_an_answer_that_nobody_reads_is_given_up(start: Start) -> None:
    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * LARGE)

    async def flowing(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(LARGE // 65_536):
            await response.write(b"x" * 65_536)
        return response

    hub = await start([web.get("/api/large", large), web.get("/api/flowing", flowing)], idle_s_max="0.3")
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired(hub, buffer_bytes=1_024)) for _ in range(4)]
        for wire, path in zip(wires, (b"large", b"large", b"flowing", b"flowing"), strict=True):
            await wire.send(head(start=b"GET /api/" + path + b" HTTP/1.1"))
        await until(lambda: cut(hub, "stalled") == 4)

        assert (await hub.webhook()).status == 200
    await until(lambda: hub.metric("hub_http_requests_in_hand") == 0)
    await until(lambda: opened(hub) <= 1)


async def test_an_answer_that_is_read_slowly_arrives_whole(start: Start) -> None:
    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * LARGE)

    hub = await start([web.get("/api/large", large)], idle_s_max="0.3")
    async with wired(hub) as wire:
        await wire.send(head(b"Connection: close", start=b"GET /api/large HTTP/1.1"))
        read = 0
        while chunk := await wire.reader.read(1024 * 1024):
            read += len(chunk)
            # All together it takes longer than anybody may be silent.
            await asyncio.sleep(0.01)

    assert read > LARGE
    assert cut(hub, "stalled") == 0


async def test_requests_without_end_behind_one_that_waits_fill_no_memory(hub: Harness) -> None:
    hub.inbox.gate = asyncio.Event()
    async with wired(hub) as wire:
        await wire.send(head(b"Content-Length: 9") + GOOD)
        await hub.requests_in_hand(1)
        more = head(start=b"GET /healthz HTTP/1.1") * 1_000
        wire.writer.write(more * (2 * LARGE // len(more)))
        # Sooner or later the server does not read on, and what is sent stays with its sender.
        assert await left_with(wire) > 0
        assert hub.metric("hub_http_requests_in_hand") == 1

        hub.inbox.gate.set()
        assert statuses(await wire.until(b"ok"))[:2] == [200, 200]
    await until(lambda: opened(hub) <= 1)
    assert (await hub.webhook()).status == 200


async def left_with(wire: Wire) -> int:
    """What its sender keeps once nothing more of it goes. Whoever would read it has a turn before each look."""
    kept, looks = -1, 0
    async with asyncio.timeout(STILL_S_MAX):
        while looks < LOOKS:
            before, kept = kept, wire.writer.transport.get_write_buffer_size()
            looks = looks + 1 if kept == before else 0
            await asyncio.sleep(0.01)
    return kept


async def test_senders_who_reset_in_the_middle_leave_nothing_behind(hub: Harness) -> None:
    whole = head(b"Content-Length: 9") + GOOD
    for end in range(0, len(whole), 7):
        async with wired(hub) as wire:
            await wire.send(whole[:end])
    await until(lambda: opened(hub) <= 1)

    assert hub.inbox.received == []
    assert hub.metric("hub_http_requests_in_hand") == hub.metric("hub_http_body_bytes_in_hand") == 0
    assert (await hub.webhook()).status == 200


@pytest.mark.parametrize(
    ("descriptors", "most"),
    [(1_024, 1_024 - DESCRIPTORS_OWN), (100, CONNECTIONS_MIN), (65_536, 2_000), (resource.RLIM_INFINITY, 2_000)],
)
def test_there_are_no_more_connections_than_the_process_has_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))

    assert connections_that_fit(2_000) == most
