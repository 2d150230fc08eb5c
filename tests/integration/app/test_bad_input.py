"""Everything that a sender can get wrong, sent to one running hub: each gets its answer, and the hub goes on."""

from __future__ import annotations

import asyncio
import io
import json

from hub.operate.parked import list_parked
from hub.store import tables as t
from tests.integration.app.shop import ADMIN, HEADERS, WEBHOOK, booked, everything_is_done, order, send
from tests.support.patience import STILL_S_MAX
from tests.support.running import RunningHub, until

TEN_MEGABYTES = 10 * 1024 * 1024
UNREADABLE = {
    "not UTF-8": (b'{"type": "shop.order", "id": "\xff"}', "line 1, column 31"),
    "a key twice": (b'{"type": "shop.order",\n "id": "a",\n "id": "b"}', "line 3, column 2"),
    "NaN": (b'{"type": "shop.order", "id": NaN}', "line 1, column 30"),
    "infinity": (b'{"type": "shop.order", "id": -Infinity}', "line 1, column 30"),
    "too deep": (b'{"type": "shop.order", "id": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested deeper than"),
    "half a character": (b'{"type": "shop.order", "id": "\\ud800"}', "line 1, column 31"),
    "a huge number": (b'{"type": "shop.order", "id": 1e999999}', "line 1, column 30"),
    "cut": (b'{"type": "shop.order", "id', "line 1, column 24"),
    "nothing": (b"", "line 1, column 1"),
    "no type": (b'{"id": "a"}', "type"),
    "a type of spaces": (b'{"id": "a", "type": "a b"}', "type"),
}


async def test_what_cannot_be_read_is_parked_with_its_place_and_the_next_order_is_booked(hub: RunningHub) -> None:
    for name, (body, _) in UNREADABLE.items():
        assert (name, await send(hub.http, hub.url, body)) == (name, 400)

    assert await send(hub.http, hub.url, order("good")) == 200

    await until(lambda: is_booked(hub, "good"))
    kept = {row.payload: row for row in await hub.rows(t.inbox) if row.problem}
    reasons = {one.event_id: one.reason for one in await list_parked(hub.hub.store)}
    assert len(reasons) == len(kept) == len(UNREADABLE)
    for name, (body, place) in UNREADABLE.items():
        assert place in reasons[kept[body].id], name
        assert str(body[:100]) not in reasons[kept[body].id]


async def test_posted_events_that_cannot_be_read_are_told_with_their_place(hub: RunningHub) -> None:
    for name, (body, place) in UNREADABLE.items():
        envelope = b'{"specversion": "1.0", "source": "shop", "type": "t", "id": "1", "data": ' + body + b"}"
        status, _ = await hub.post("/events", envelope, **ADMIN, **{"Content-Type": "application/cloudevents+json"})
        assert name in ("no type", "a type of spaces", "nothing") or status == 400, name

        binary = {"ce-specversion": "1.0", "ce-source": "shop", "ce-type": "t", "ce-id": name.replace(" ", "-")}
        headers = {**ADMIN, "Content-Type": "application/json", **binary}
        status, [answer] = await hub.post("/events", body, **headers)
        assert (name, status, answer["kind"]) == (name, 202, "unreadable")
        assert place in answer["problem"]


async def test_ten_megabytes_are_refused_and_not_kept(hub: RunningHub) -> None:
    body = json.dumps(order("large") | {"note": "x" * TEN_MEGABYTES}).encode()

    assert await send(hub.http, hub.url, body) == 413
    async with hub.http.post(f"{hub.url}/events", data=io.BytesIO(body), headers=ADMIN) as response:
        assert response.status == 413

    assert await send(hub.http, hub.url, order("good")) == 200
    await until(lambda: is_booked(hub, "good"))
    assert [row.dedupe_id for row in await hub.rows(t.inbox)] == ["good"]


async def test_a_header_that_breaks_the_line_is_refused_and_nothing_is_kept(hub: RunningHub) -> None:
    for header in (b"x-note: one\rx-other: two", b"x-note: one\n two", b"x-note: a\x00b", b"x no te: a"):
        status = await raw_request(hub, header)
        assert (header, status) == (header, 400)

    assert await hub.rows(t.inbox) == []
    assert await send(hub.http, hub.url, order("good")) == 200


async def test_senders_who_leave_or_dawdle_harm_nobody(hub: RunningHub) -> None:
    host, port = hub.url.removeprefix("http://").split(":")
    lost = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
    for number, (_, writer) in enumerate(lost):
        head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nAuthorization: {HEADERS['Authorization']}\r\n"
        writer.write(head.encode() + b"Content-Length: 1000\r\n\r\n" + b"{" * number)
        await writer.drain()

    assert await send(hub.http, hub.url, order("good")) == 200

    for _, writer in lost:
        writer.transport.abort()
    await until(lambda: is_booked(hub, "good"))
    assert [row.dedupe_id for row in await hub.rows(t.inbox)] == ["good"]


async def test_text_of_every_script_and_the_character_nul_go_through(hub: RunningHub) -> None:
    id = "đơn hàng 注文 заказ \U0001f6d2"
    assert await send(hub.http, hub.url, order(id)) == 200
    assert await send(hub.http, hub.url, b'{"type": "shop.order", "id": "with \\u0000 nul", "key": "\\u0000"}') == 200

    await until(lambda: is_booked(hub, id))
    await until(lambda: nothing_is_left(hub))


async def raw_request(hub: RunningHub, header: bytes) -> int:
    """A webhook whose head is written byte by byte, as no honest client would."""
    host, port = hub.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(order("never")).encode()
    head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nAuthorization: {HEADERS['Authorization']}\r\n".encode()
    writer.write(head + header + f"\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    async with asyncio.timeout(STILL_S_MAX):
        answer = await reader.read()
    writer.close()
    return int(answer.split(b" ")[1])


async def is_booked(hub: RunningHub, id: str) -> bool:
    return id in await booked(hub.hub.store)


async def nothing_is_left(hub: RunningHub) -> bool:
    return await everything_is_done(hub.hub.store)
