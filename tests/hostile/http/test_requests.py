"""Requests that try to be two, or another one, or none: refused or closed, no 5xx, never taken twice or in half."""

from __future__ import annotations

import gzip
from typing import Final

import pytest
from aiohttp import web

from tests.hostile.http.wire import GOOD, head, post, statuses, wired
from tests.integration.ingress.conftest import Harness, Start

CHUNKED: Final = b"Transfer-Encoding: chunked"
CLOSE: Final = b"Connection: close"
ONE_CHUNK: Final = b"9\r\n" + GOOD + b"\r\n0\r\n\r\n"
LENGTH: Final = b"Content-Length: 9"
SMUGGLED: Final = head(b"Content-Length: 9", CLOSE) + GOOD
BOMB: Final = gzip.compress(b"0" * 2_000_000)

REFUSED: Final[dict[str, bytes]] = {
    # Where does the body end? Whoever stands in front may see it elsewhere.
    "length and chunks": head(LENGTH, CHUNKED, CLOSE) + ONE_CHUNK,
    "chunks and length": head(CHUNKED, LENGTH, CLOSE) + ONE_CHUNK,
    "two lengths": head(LENGTH, b"Content-Length: 3", CLOSE) + GOOD,
    "two equal lengths": head(LENGTH, LENGTH, CLOSE) + GOOD,
    "two lengths in one": head(b"Content-Length: 9, 9", CLOSE) + GOOD,
    "a length with a sign": head(b"Content-Length: +9", CLOSE) + GOOD,
    "a length below zero": head(b"Content-Length: -9", CLOSE) + GOOD,
    "a length in hex": head(b"Content-Length: 0x9", CLOSE) + GOOD,
    "a length with a gap": head(b"Content-Length: 9 9", CLOSE) + GOOD,
    "a length beyond 64 bits": head(b"Content-Length: 18446744073709551625", CLOSE) + GOOD,
    "a length of digits of another script": head("Content-Length: ٩".encode(), CLOSE) + GOOD,
    "no length": head(b"Content-Length:", CLOSE) + GOOD,
    "an unknown coding": head(b"Transfer-Encoding: xchunked", CLOSE) + ONE_CHUNK,
    "a coding after the chunks": head(b"Transfer-Encoding: chunked, gzip", CLOSE) + ONE_CHUNK,
    "chunks with a vertical tab": head(b"Transfer-Encoding: \x0bchunked", CLOSE) + ONE_CHUNK,
    "codings in two headers": head(CHUNKED, b"Transfer-Encoding: identity", CLOSE) + ONE_CHUNK,
    "chunk size no number": head(CHUNKED, CLOSE) + b"zz\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "chunk size below zero": head(CHUNKED, CLOSE) + b"-9\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": head(CHUNKED, CLOSE) + b"10000000000000009\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "chunk longer than its size": head(CHUNKED, CLOSE) + b"5\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "chunk lines that end in LF": head(CHUNKED, CLOSE) + b"9\n" + GOOD + b"\n0\n\n",
    "chunks beyond the cap": head(CHUNKED, CLOSE) + b"1\r\n \r\n" * 2_100 + b"0\r\n\r\n",
    "a body beyond the cap": head(b"Content-Length: 2001", CLOSE) + b" " * 2_001,
    "a body far beyond the cap": head(b"Content-Length: 99999999999", CLOSE),
    "a bomb": post(b"Content-Encoding: gzip", body=BOMB[:1_900]),
    "a bomb as a coding": head(b"Transfer-Encoding: gzip, chunked", CLOSE) + b"9\r\n" + BOMB[:9] + b"\r\n0\r\n\r\n",
    # Where does a header end?
    "a folded header": post(b"X-Note: a\r\n Authorization: b"),
    "a header without a colon": post(b"X-Note"),
    "a space before the colon": post(b"X-Note : a"),
    "no name": post(b": a"),
    "a name of another script": post("X-Nôte: a".encode()),
    "a name with a line break": post(b"X\nNote: a"),
    "NUL in a name": post(b"X\x00Note: a"),
    "NUL in a value": post(b"X-Note: a\x00b"),
    "a bare CR": post(b"X-Note: a\rX-Other: b"),
    "lines that end in CR": head(LENGTH, CLOSE, end=b"\r") + GOOD,
    "a bell in a value": post(b"X-Note: a\x07"),
    "headers beyond number": post(*(b"X-%d: a" % number for number in range(120))),
    "headers beyond size": post(*(b"X-%d: " % number + b"a" * 8_000 for number in range(5))),
    "a header beyond size": post(b"X-Note: " + b"a" * 9_000),
    "a name beyond size": post(b"X" * 9_000 + b": a"),
    # Whom is it for?
    "no host": head(LENGTH, CLOSE, host=None) + GOOD,
    "two hosts": post(b"Host: other.example"),
    "an expectation of something else": post(b"Expect: 200-miracle"),
    # Which HTTP?
    "HTTP/0.9": b"GET /healthz\r\n",
    "HTTP/9.9": head(LENGTH, start=b"POST /webhooks/bank HTTP/9.9") + GOOD,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "HTTP/1.1 in small letters": head(LENGTH, start=b"POST /webhooks/bank http/1.1") + GOOD,
    "RTSP": head(LENGTH, start=b"DESCRIBE rtsp://hub.example/webhooks/bank RTSP/1.0") + GOOD,
    "a hello of TLS": bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 190,
    "a hello of SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing but zeros": b"\x00" * 200,
    "a method in small letters": head(LENGTH, start=b"post /webhooks/bank HTTP/1.1") + GOOD,
    "an unknown method": head(LENGTH, start=b"STEAL /webhooks/bank HTTP/1.1") + GOOD,
    "a method without end": b"A" * 20_000,
    "CONNECT": b"CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n",
    "CONNECT to a path": head(LENGTH, CLOSE, start=b"CONNECT /webhooks/bank HTTP/1.1") + GOOD,
    "TRACE": head(CLOSE, start=b"TRACE /webhooks/bank HTTP/1.1"),
    "a method in a header": head(LENGTH, b"X-HTTP-Method-Override: POST", CLOSE, start=b"PUT /webhooks/bank HTTP/1.1")
    + GOOD,
    "OPTIONS of all": head(CLOSE, start=b"OPTIONS * HTTP/1.1"),
    "POST to all": head(LENGTH, CLOSE, start=b"POST * HTTP/1.1") + GOOD,
    "a path without a slash": head(LENGTH, CLOSE, start=b"POST webhooks/bank HTTP/1.1") + GOOD,
    "a path that never ends": head(LENGTH, CLOSE, start=b"POST /webhooks/bank?" + b"a" * 9_000 + b" HTTP/1.1") + GOOD,
    "an address that is none": head(LENGTH, CLOSE, start=b"POST http://[::1/webhooks/bank HTTP/1.1") + GOOD,
    "an address with a port that is none": head(LENGTH, CLOSE, start=b"POST http://h:99999999/webhooks/bank HTTP/1.1")
    + GOOD,
    "an address without a host": head(LENGTH, CLOSE, start=b"POST http:///webhooks/bank HTTP/1.1") + GOOD,
    "a path with bytes that are no text": head(LENGTH, CLOSE, start=b"POST /webhooks/b\xffank HTTP/1.1") + GOOD,
    "a path with a tab": head(LENGTH, CLOSE, start=b"POST /webhooks/bank\t HTTP/1.1") + GOOD,
    "a path with NUL": head(LENGTH, CLOSE, start=b"POST /webhooks/bank\x00 HTTP/1.1") + GOOD,
    "a path with NUL, encoded": head(LENGTH, CLOSE, start=b"POST /webhooks/bank%00 HTTP/1.1") + GOOD,
    "a body for HTTP/1.0 in chunks": head(LENGTH, CHUNKED, start=b"POST /webhooks/bank HTTP/1.0") + ONE_CHUNK,
}
TAKEN: Final[dict[str, bytes]] = {
    # Odd, and allowed: RFC 9112 wants them understood. Each is one event.
    "chunks": head(CHUNKED, CLOSE) + ONE_CHUNK,
    "chunks with an extension": head(CHUNKED, CLOSE) + b"9;a=b\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "chunks with a trailer": head(CHUNKED, CLOSE) + b"9\r\n" + GOOD + b"\r\n0\r\nX-Note: a\r\n\r\n",
    "an absolute address": head(LENGTH, CLOSE, start=b"POST http://other.example/webhooks/bank HTTP/1.1") + GOOD,
    "a letter of the path, encoded": head(LENGTH, CLOSE, start=b"POST /webhooks/%62ank HTTP/1.1") + GOOD,
    "an upgrade that is not made": post(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    "two spaces": head(LENGTH, CLOSE, start=b"POST  /webhooks/bank  HTTP/1.1") + GOOD,
    "HTTP/1.0": head(LENGTH, start=b"POST /webhooks/bank HTTP/1.0") + GOOD,
    "line breaks before the request": b"\r\n\r\n" + post(),
}
PATHS: Final = (
    *(b"//webhooks/bank", b"/webhooks//bank", b"/./webhooks/bank", b"/webhooks/../webhooks/bank"),
    *(b"/webhooks/%2e%2e/webhooks/bank", b"/webhooks%2fbank", b"/webhooks%2Fbank", b"/webhooks/bank%20"),
    *(b"/webhooks/bank%0d%0aX-Admin:%20yes", b"/webhooks/bank;a=b", b"/webhooks/bank/..", b"/webhooks/bank//"),
    *(b"/webhooks/%c0%af", b"/webhooks/%ff%fe", b"/webhooks/%", b"/webhooks/%zz", b"/webhooks/%ed%a0%80"),
    *(b"/WEBHOOKS/BANK", b"/webhooks\\bank", b"/" + b"%2e%2e/" * 200 + b"etc/passwd", b"/" + b"a/" * 900),
)


async def test_what_is_no_clean_request_is_refused_or_closed_and_never_taken(start: Start) -> None:
    hub = await start(idle_s_max="0.5", body_s_max="0.5")
    wrong = {}
    for name, data in REFUSED.items():
        async with wired(hub) as wire:
            await wire.send(data)
            answer = await wire.rest()
        found = statuses(answer)
        # The answer tells neither what serves here nor what was sent.
        is_silent = b"\r\nServer:" not in answer and b"aiohttp" not in answer and b"hub.example" not in answer
        if not all(400 <= status < 500 for status in found) or len(found) > 1 or not is_silent or hub.inbox.received:
            wrong[name] = (answer[:300], len(hub.inbox.received))
            hub.inbox.received.clear()

    assert wrong == {}
    assert (await hub.webhook()).status == 200
    assert hub.metric("hub_http_body_bytes_in_hand") == hub.metric("hub_http_requests_in_hand") == 0


async def test_what_is_odd_but_allowed_is_taken_once_and_whole(hub: Harness) -> None:
    for name, data in TAKEN.items():
        hub.inbox.received.clear()
        async with wired(hub) as wire:
            await wire.send(data)
            answer = await wire.rest()
        assert (name, statuses(answer)) == (name, [200])
        assert (name, [one.body for one in hub.inbox.received]) == (name, [GOOD])


@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_a_path_that_is_written_otherwise_is_another_path(hub: Harness, method: bytes) -> None:
    for path in PATHS:
        async with wired(hub) as wire:
            await wire.send(head(LENGTH, CLOSE, start=method + b" " + path + b" HTTP/1.1") + GOOD)
            answer = await wire.rest()
        assert (path, statuses(answer)) == (path, [404])

    assert hub.inbox.received == []


async def test_of_requests_behind_each_other_those_are_taken_that_are_answered(hub: Harness) -> None:
    bodies = [b'{"id": %d}' % number for number in range(1, 5)]
    requests = [head(b"Content-Length: %d" % len(body)) + body for body in bodies]
    broken = head(b"Content-Length: 9", b"Content-Length: 3") + GOOD

    async with wired(hub) as wire:
        await wire.send(b"".join(requests[:2]) + broken + b"".join(requests[2:]))
        answer = await wire.rest()

    # What came in one piece with the broken one may be refused with it.
    *taken, last = statuses(answer)
    assert (taken, last) == ([200] * len(hub.inbox.received), 400)
    assert [one.body for one in hub.inbox.received] == bodies[: len(taken)]

    hub.inbox.received.clear()
    async with wired(hub) as wire:
        await wire.send(b"".join(requests) + post(body=b"{}"))
        answer = await wire.rest()
    assert statuses(answer) == [200] * 5
    assert [one.body for one in hub.inbox.received] == [*bodies, b"{}"]


async def test_a_request_inside_a_refused_body_is_not_heard(hub: Harness) -> None:
    refused = [
        head(b"Content-Length: %d" % len(SMUGGLED), proof=b"Authorization: Apikey guessed") + SMUGGLED,
        head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
        head(b"Content-Length: %d" % len(SMUGGLED), start=b"GET /webhooks/bank HTTP/1.1") + SMUGGLED,
        head(b"Content-Length: %d" % len(SMUGGLED), start=b"POST /nowhere HTTP/1.1") + SMUGGLED,
        head(b"Content-Length: 3000") + SMUGGLED * 10,
        head(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0", start=b"GET /nowhere HTTP/1.1"),
    ]
    for data in refused:
        async with wired(hub) as wire:
            await wire.send(data + head(CLOSE, start=b"GET /healthz HTTP/1.1"))
            answer = await wire.rest()
        # Either the connection ends with the refusal, or what comes behind the body is understood as what it is.
        assert statuses(answer)[0] >= 400, data[:80]
        assert statuses(answer)[1:] in ([], [200]), data[:80]

    assert hub.inbox.received == []


async def test_who_asks_before_sending_is_told_to_go_on_or_why_not(hub: Harness) -> None:
    expects = b"Expect: 100-continue"
    async with wired(hub) as wire:
        await wire.send(head(LENGTH, expects, CLOSE))
        await wire.until(b"\r\n\r\n")
        await wire.send(GOOD)
        taken = await wire.rest()
    async with wired(hub) as wire:
        await wire.send(head(b"Content-Length: 99999999", expects))
        refused = await wire.rest()

    assert statuses(taken) == [100, 200]
    assert statuses(refused)[-1] == 413
    assert len(hub.inbox.received) == 1


async def test_who_ends_his_half_has_sent_all_or_nothing(hub: Harness) -> None:
    async with wired(hub) as wire:
        await wire.send(head(LENGTH) + GOOD[:5])
        wire.writer.write_eof()
        assert await wire.rest() == b""
    assert hub.inbox.received == []

    async with wired(hub) as wire:
        await wire.send(head(LENGTH, CLOSE) + GOOD)
        wire.writer.write_eof()
        await wire.rest()
    # He may not hear of it. When he sends it again, it is the same.
    assert (await hub.webhook(GOOD)).status == 200
    assert {one.body for one in hub.inbox.received} == {GOOD}
    assert len({id for (_, body), id in hub.inbox.ids.items() if body == GOOD}) == 1


async def test_a_body_in_a_form_of_parts_has_the_same_bounds(start: Start) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.Response(text=f"{len(await request.post())} {len(await request.read())}")

    hub = await start([web.post("/api/take", take)], body_s_max="0.2", body_bytes_max="2000")
    form = b"Content-Type: multipart/form-data; boundary=b"
    beginning = head(form, b"Content-Length: 100", start=b"POST /api/take HTTP/1.1")
    async with wired(hub) as wire:
        await wire.send(beginning + b"--b\r\n")
        assert statuses(await wire.rest()) == [408]
    for kind in ("multipart/form-data; boundary=b", "multipart/form-data", "application/x-www-form-urlencoded"):
        answer = await hub.send("POST", "/api/take", b"\xff" * 50, {"Content-Type": kind})
        assert (kind, answer.status, answer.body) == (kind, 200, b"0 50")
    charset = {"Content-Type": "application/x-www-form-urlencoded; charset=klingon"}
    assert (await hub.send("POST", "/api/take", b"a=1", charset)).body == b"0 3"
