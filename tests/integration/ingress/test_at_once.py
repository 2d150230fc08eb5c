"""Webhooks that are answered without a task of their own, and what is left to the usual way."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from hub.errors import StoreUnavailableError
from hub.ingress.schemes import SchemeRegistry
from hub.routing.sources import Reply, ReplyConfig
from tests.integration.ingress.conftest import SECRET, SOURCES, FakeInbox, Harness, SoonInbox, Start, sources
from tests.support.patience import until

BODY = b'{"id": 1}'


@pytest.fixture
def kind_of_inbox() -> type[FakeInbox]:
    """Only what can call back."""
    return SoonInbox


def request(number: int, *, path: str = "/webhooks/bank", key: str = SECRET, more: str = "") -> bytes:
    body = b'{"id": %d}' % number
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Apikey {key}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def soon(hub: Harness) -> int:
    """How many went the short way."""
    return hub.inbox.soon


async def test_a_request_that_came_whole_goes_the_short_way_and_hears_the_same(hub: Harness) -> None:
    whole = await hub.webhook()
    other = await hub.webhook(path="/webhooks/bank?a=1")

    assert soon(hub) == 1
    assert (whole.status, whole.body) == (other.status, other.body)
    assert {name.lower() for name in whole.headers} == {name.lower() for name in other.headers}
    assert [whole.headers[name] for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options")] == [
        other.headers[name] for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options")
    ]
    assert "Server" not in whole.headers


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(1, more="Expect: 100-continue\r\n"), b"HTTP/1.1 100"),
        (request(1, more="Content-Encoding: gzip\r\n"), b"HTTP/1.1 415"),
        (request(1, more="Connection: close\r\n"), b"HTTP/1.1 200"),
        (request(1).replace(b"HTTP/1.1", b"HTTP/1.0"), b"HTTP/1.0 200"),
        (request(1).replace(b"POST", b"PUT", 1), b"HTTP/1.1 405"),
        (request(1, path="/webhooks/%62ank"), b"HTTP/1.1 200"),
        (request(1, more=f"X-Much: {'x' * 5_000}\r\n" * 7), b"HTTP/1.1 431"),
        (request(1, more="Connection: upgrade\r\nUpgrade: websocket\r\n"), b"HTTP/1.1 200"),
        (
            request(1).replace(
                b'Content-Length: 9\r\n\r\n{"id": 1}', b'Transfer-Encoding: chunked\r\n\r\n9\r\n{"id": 1}'
            )
            + b"\r\n0\r\n\r\n",
            b"HTTP/1.1 200",
        ),
    ],
    ids=["expect", "packed", "close", "http/1.0", "method", "path", "head", "upgrade", "chunks"],
)
async def test_what_asks_for_more_goes_the_usual_way(hub: Harness, data: bytes, status: bytes) -> None:
    answer = await hub.raw(data, end=b"\r\n\r\n")

    assert answer.startswith(status)
    assert soon(hub) == 0


async def test_a_body_that_comes_later_goes_the_usual_way(hub: Harness) -> None:
    reader, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
    writer.write(request(1)[:-4])
    await hub.requests_in_hand(1)
    writer.write(request(1)[-4:])

    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    assert soon(hub) == 0


async def test_requests_that_come_together_are_answered_in_their_order(hub: Harness) -> None:
    reader, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
    hub.inbox.gate = asyncio.Event()

    # One alone goes the short way; those behind it must wait until it is answered.
    writer.write(request(1))
    await hub.requests_in_hand(1)
    writer.write(request(2, key="wrong") + request(3))
    await asyncio.sleep(0.05)
    hub.inbox.gate.set()
    answers = [await reader.readuntil(b"\r\n\r\n") for _ in range(1)]
    answers += [(await reader.readuntil(b"HTTP/1.1 ")), await reader.readuntil(b"\r\n")]

    assert answers[0].startswith(b"HTTP/1.1 200")
    assert answers[2].startswith(b"401")
    await until(lambda: len(hub.inbox.received) == 2)
    writer.close()
    assert [one.body for one in hub.inbox.received] == [b'{"id": 1}', b'{"id": 3}']
    assert soon(hub) == 1


async def test_a_connection_serves_one_request_after_another_on_both_ways(hub: Harness) -> None:
    reader, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)

    for number, path in enumerate(("/webhooks/bank", "/webhooks/bank?x=1", "/webhooks/bank", "/webhooks/bank")):
        writer.write(request(number, path=path))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()

    assert len(hub.inbox.received) == 4
    assert soon(hub) == 3


async def test_a_sender_that_goes_away_takes_nothing_back(hub: Harness) -> None:
    hub.inbox.gate = asyncio.Event()
    _, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
    writer.write(request(1))
    await hub.requests_in_hand(1)

    writer.transport.abort()
    await until(lambda: hub.metric("hub_http_connections") == 0)
    hub.inbox.gate.set()

    await hub.requests_in_hand(0)
    assert [one.body for one in hub.inbox.received] == [BODY]


async def test_a_stop_waits_for_the_answer_and_then_closes(hub: Harness) -> None:
    hub.inbox.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
    writer.write(request(1))
    await hub.requests_in_hand(1)

    stopping = asyncio.create_task(hub.serving.stop(5.0))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    hub.inbox.gate.set()

    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    await stopping
    writer.close()


async def test_an_idle_connection_ends_in_its_time_and_not_while_it_waits(start: Start) -> None:
    hub = await start(idle_s_max="1")
    hub.inbox.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
    writer.write(request(1))
    await hub.requests_in_hand(1)

    # Longer than the connection may lie idle: it does not, it waits for its answer.
    await asyncio.sleep(1.5)
    hub.inbox.gate.set()

    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 200")
    writer.close()


async def test_what_cannot_be_stored_is_to_come_again_and_gives_its_room_back(hub: Harness) -> None:
    hub.inbox.error = StoreUnavailableError("the database is away", delay_s=2.0)

    refused = await hub.webhook()
    hub.inbox.error = None

    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert (await hub.webhook()).status == 200
    assert soon(hub) == 2
    assert hub.metric("hub_http_body_bytes_in_hand") == 0
    assert hub.metric("hub_http_requests_in_hand") == 0
    assert hub.metric("hub_http_problems_total", status="503") == 1


def replies(hub: Harness, **reply: Any) -> None:
    """The bank is answered so from now on."""
    hub.table.replace(sources({"bank": {**SOURCES["bank"], "reply": ReplyConfig(**reply)}}), SchemeRegistry())


@pytest.mark.parametrize("said", ["ok", "unreadable", "unauthorized", "unavailable"])
async def test_an_answer_that_cannot_be_made_ends_the_connection_and_gives_the_room_back(
    hub: Harness, said: str
) -> None:
    replies(hub, **{said: Reply.model_construct(status=200 if said == "ok" else 503, body={"version": object()})})
    hub.inbox.kind = "unreadable" if said == "unreadable" else None
    hub.inbox.error = StoreUnavailableError("the database is away", delay_s=2.0) if said == "unavailable" else None

    answer = await hub.raw(request(1, key="wrong" if said == "unauthorized" else SECRET))

    assert answer.startswith(b"HTTP/1.1 503 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert b"Connection: close" in head
    assert body.endswith(b'"status": 503}')
    assert hub.metric("hub_http_body_bytes_in_hand") == 0
    assert hub.metric("hub_http_requests_in_hand") == 0
    assert hub.metric("hub_http_problems_total", status="503") == 1
    await until(lambda: hub.metric("hub_http_connections") == 0)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none_on_either_way(hub: Harness, status: int) -> None:
    said = {"ok" if status < 300 else "unreadable": [status, {"success": True}]}
    replies(hub, **said)
    hub.inbox.kind = None if status < 300 else "unreadable"

    answers = []
    for path in ("/webhooks/bank", "/webhooks/bank?a=1"):
        reader, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
        writer.write(request(1, path=path))
        answers.append(await reader.readuntil(b"\r\n\r\n"))
        # What else had been sent of it would come before the next one.
        writer.write(request(2, more="Connection: close\r\n"))
        assert (await reader.read()).startswith(b"HTTP/1.1 ")
        writer.close()

    assert soon(hub) == 1
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert not any(name in answer.lower() for name in (b"\r\ncontent-length", b"\r\ncontent-type"))
    whole, other = (sorted(one for one in answer.split(b"\r\n") if b"Date" not in one) for answer in answers)
    assert whole == other


async def test_numbers_of_an_answer_keep_every_digit_on_either_way(hub: Harness) -> None:
    replies(hub, ok=Reply(status=200, body={"version": Decimal("1.50")}))

    assert [(await hub.webhook(path=path)).body for path in ("/webhooks/bank", "/webhooks/bank?a=1")] == [
        b'{"version": 1.50}'
    ] * 2
