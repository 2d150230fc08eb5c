"""Webhooks over real HTTP: what is stored, and what the sender is told."""

from __future__ import annotations

import asyncio
import json

import pytest
import structlog

from hub.errors import StoreUnavailableError
from hub.event import Verdict
from hub.inbox.received import OverloadedError
from hub.ingress.schemes import SchemeRegistry
from tests.integration.ingress.conftest import SECRET, SOURCES, Harness, Start, sign, sources


def head(**headers: str) -> bytes:
    """The head of a request to the bank's webhook, for tests that write bytes themselves."""
    names = {"Host": "x", "Authorization": f"Apikey {SECRET}", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in names.items()]
    return "\r\n".join(["POST /webhooks/bank HTTP/1.1", *lines, "", ""]).encode()


async def test_a_webhook_is_stored_byte_for_byte_and_acknowledged_in_the_senders_words(hub: Harness) -> None:
    body = b'{ "id": 1,\r\n "amount": 1.50 }\n'

    answer = await hub.webhook(
        body, Content_Type="application/json; charset=utf-8", X_Request_Id="r-1", Cookie="session=1"
    )

    assert (answer.status, json.loads(answer.body)) == (200, {"success": True})
    assert answer.headers["Content-Type"] == "application/json"
    [received] = hub.inbox.received
    assert (received.source, received.body, received.verdict) == ("bank", body, Verdict.VALID)
    assert received.content_type == "application/json; charset=utf-8"
    assert received.headers["x-request-id"] == "r-1"
    assert not {"authorization", "cookie", "host", "content-length"} & received.headers.keys()
    assert (received.routing_key, received.message_id, received.timestamp) == ("", "", None)


@pytest.mark.parametrize("path", ["/webhooks/bank", "/webhooks/bank/", "/api/old/webhook", "/api/old/webhook/"])
async def test_every_path_works_with_and_without_a_slash_and_never_redirects(hub: Harness, path: str) -> None:
    answer = await hub.webhook(path=path)

    assert answer.status == 200
    assert [received.source for received in hub.inbox.received] == ["bank"]


async def test_a_query_does_not_change_whose_webhook_it_is(hub: Harness) -> None:
    assert (await hub.webhook(path="/webhooks/bank?retry=1")).status == 200


@pytest.mark.parametrize("key", ["wrong", "", SECRET + "x"])
async def test_a_sender_who_is_not_proven_is_told_nothing_and_nothing_is_stored(hub: Harness, key: str) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await hub.webhook(b'{"name": "Nguyen"}', key=key)

    assert (answer.status, json.loads(answer.body)) == (401, {"success": False, "message": "Unauthorized"})
    assert hub.inbox.received == []
    assert hub.metric("hub_webhook_requests_total", source="bank", result="unauthorized") == 1
    [line] = [log for log in logs if log["event"] == "webhook_refused"]
    assert line["source"] == "bank"
    assert "Nguyen" not in str(logs)
    assert not key or key not in str(logs)


async def test_a_source_without_words_of_its_own_answers_with_a_problem(hub: Harness) -> None:
    answer = await hub.send("POST", "/webhooks/signed", b"{}")

    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body) == {"type": "about:blank", "title": "Unauthorized", "status": 401}


async def test_senders_that_are_proven_later_have_an_allowance_of_messages_and_of_bytes(start: Start) -> None:
    hub = await start()
    few = [await hub.send("POST", "/webhooks/unproven", b"{}") for _ in range(4)]
    hub = await start()
    large = [await hub.send("POST", "/webhooks/unproven", b"x" * 600) for _ in range(2)]

    assert [answer.status for answer in few] == [200, 200, 200, 503]
    assert 1 <= int(few[-1].headers["Retry-After"]) <= 20
    assert [answer.status for answer in large] == [200, 503]
    assert len(hub.inbox.received) == 1
    assert hub.metric("hub_webhook_requests_total", source="unproven", result="unproven_limit") == 1


async def test_a_duplicate_is_acknowledged_like_the_first(hub: Harness) -> None:
    first, second = await hub.webhook(), await hub.webhook()

    assert (first.status, first.body) == (second.status, second.body)
    assert hub.metric("hub_webhook_requests_total", source="bank", result="event") == 1
    assert hub.metric("hub_webhook_requests_total", source="bank", result="duplicate") == 1
    assert hub.metric("hub_ingress_ack_seconds_count", source="bank") == 2


async def test_what_cannot_be_read_is_answered_as_the_source_says(hub: Harness) -> None:
    hub.inbox.kind = "unreadable"

    bank = await hub.webhook(b"\xff not json")
    signed = await hub.send("POST", "/webhooks/signed", b"\xff", sign(b"\xff"))

    assert (bank.status, json.loads(bank.body)["message"]) == (400, "Invalid payload")
    assert (signed.status, json.loads(signed.body)["detail"]) == (400, "line 1, column 1: expected JSON")
    assert [received.body for received in hub.inbox.received] == [b"\xff not json", b"\xff"]


@pytest.mark.parametrize(
    ("error", "retry_after", "result"),
    [
        (OverloadedError("full", delay_s=2.5), "3", "overloaded"),
        (StoreUnavailableError("locked"), "5", "unavailable"),
        (RuntimeError("a bug with a secret in it"), "5", "error"),
        (TimeoutError(), "5", "unavailable"),
    ],
)
async def test_what_is_not_stored_is_never_acknowledged(
    hub: Harness, error: Exception, retry_after: str, result: str
) -> None:
    hub.inbox.error = error

    answer = await hub.webhook()

    assert (answer.status, json.loads(answer.body)["message"]) == (503, "Later")
    assert answer.headers["Retry-After"] == retry_after
    assert hub.metric("hub_webhook_requests_total", source="bank", result=result) == 1
    assert hub.metric("hub_ingress_ack_seconds_count", source="bank") == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_refused_and_told_which_one_is_meant(hub: Harness, method: str) -> None:
    answer = await hub.send(method, "/webhooks/bank")

    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert hub.inbox.received == []


@pytest.mark.parametrize(("size", "status"), [(2_000, 200), (2_001, 413), (10_000_000, 413)])
async def test_a_body_beyond_the_sources_cap_is_refused(hub: Harness, size: int, status: int) -> None:
    answer = await hub.webhook(b'"' + b"x" * (size - 2) + b'"')

    assert answer.status == status
    assert len(hub.inbox.received) == (status == 200)


async def test_a_chunked_body_beyond_the_cap_is_refused_without_reading_it_all(hub: Harness) -> None:
    chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"

    answer = await hub.raw(head(Transfer_Encoding="chunked") + chunk * 3, end=b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert hub.inbox.received == []


async def test_a_body_of_ten_megabytes_is_taken_where_a_source_allows_it(hub: Harness) -> None:
    body = b'"' + b"x" * 10_000_000 + b'"'

    answer = await hub.send("POST", "/webhooks/signed", body, sign(body))

    assert answer.status == 200
    assert hub.inbox.received[0].body == body
    assert hub.metric("hub_http_body_bytes_in_hand") == 0


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
async def test_a_compressed_body_is_refused_unread(hub: Harness, encoding: str) -> None:
    answer = await hub.webhook(b"\x1f\x8b", Content_Encoding=encoding)

    assert answer.status == 415
    assert hub.inbox.received == []


async def test_a_slow_body_is_given_up(start: Start) -> None:
    hub = await start(body_s_max="0.3")

    answer = await hub.raw(head(Content_Length="10") + b"{", end=b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert hub.metric("hub_webhook_requests_total", source="bank", result="slow") == 1


async def test_a_slow_head_is_cut(start: Start) -> None:
    hub = await start(idle_s_max="0.3")

    answer = await hub.raw(b"POST /webhooks/bank HTTP/1.1\r\nHost:")

    assert answer == b""
    assert (await hub.webhook()).status == 200


async def test_a_sender_who_leaves_in_the_middle_stores_nothing_and_harms_nobody(hub: Harness) -> None:
    _, writer = await asyncio.open_connection(hub.serving.host, hub.serving.port)
    writer.write(head(Content_Length="9") + b"{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    answer = await hub.webhook()

    assert answer.status == 200
    assert len(hub.inbox.received) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"X-Note: a\nX-Admin: yes",
        b"X-Note: a\rX-Admin: yes",
        b"X-Note: a\x00b",
        b"X Note: a",
        b"X-Note: a\r\n folded",
    ],
)
async def test_a_header_with_a_line_break_or_control_character_is_refused(hub: Harness, header: bytes) -> None:
    data = b"POST /webhooks/bank HTTP/1.1\r\nHost: x\r\nAuthorization: Apikey " + SECRET.encode() + b"\r\n" + header
    with structlog.testing.capture_logs() as logs:
        answer = await hub.raw(data + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    assert answer.split(b" ")[1] == b"400"
    assert hub.inbox.received == []
    assert SECRET not in str(logs)


async def test_a_head_that_is_too_large_is_refused(hub: Harness) -> None:
    many = {f"X-{number}": "a" * 8_000 for number in range(5)}

    assert (await hub.webhook(path="/webhooks/bank?" + "a" * 3_000)).status == 414
    assert (await hub.webhook(more=many)).status == 431
    assert (await hub.webhook(X_Long="a" * 9_000)).status == 400
    assert (await hub.webhook(more={f"X-{number}": "a" for number in range(120)})).status == 400
    assert hub.inbox.received == []


async def test_beyond_the_requests_that_fit_senders_are_told_to_come_again(start: Start) -> None:
    hub = await start(requests_max="2")
    hub.inbox.gate = asyncio.Event()

    waiting = [asyncio.create_task(hub.webhook(f'{{"id": {number}}}'.encode())) for number in range(2)]
    await hub.requests_in_hand(2)
    refused = await hub.webhook(b'{"id": 3}')
    hub.inbox.gate.set()
    answers = await asyncio.gather(*waiting)

    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert [answer.status for answer in answers] == [200, 200]
    assert (await hub.webhook(b'{"id": 3}')).status == 200


async def test_beyond_the_bytes_that_fit_senders_are_told_to_come_again(start: Start) -> None:
    hub = await start(bodies_bytes_max=str(1024 * 1024))
    body = b'"' + b"x" * 2 * 1024 * 1024 + b'"'

    answer = await hub.send("POST", "/webhooks/signed", body, sign(body))

    assert answer.status == 503
    assert hub.metric("hub_http_body_bytes_in_hand") == 0


async def test_two_authorizations_are_not_one(hub: Harness) -> None:
    data = (
        f"POST /webhooks/bank HTTP/1.1\r\nHost: x\r\nAuthorization: Apikey {SECRET}\r\nAuthorization: Apikey other\r\n"
        "Content-Length: 2\r\nConnection: close\r\n\r\n{}"
    )

    assert (await hub.raw(data.encode())).startswith(b"HTTP/1.1 401 ")


async def test_a_reload_changes_the_paths_at_once(hub: Harness) -> None:
    moved = {**SOURCES, "bank": {**SOURCES["bank"], "webhook": {**SOURCES["bank"]["webhook"], "path": "/webhooks/b2"}}}

    hub.table.replace(sources(moved), SchemeRegistry())

    assert (await hub.webhook(path="/webhooks/bank")).status == 404
    assert (await hub.webhook(path="/webhooks/b2")).status == 200


async def test_a_form_is_passed_on_as_it_came(hub: Harness) -> None:
    answer = await hub.webhook(b"id=1&amount=2", Content_Type="application/x-www-form-urlencoded")

    assert answer.status == 200
    assert hub.inbox.received[0].body == b"id=1&amount=2"
    assert hub.inbox.received[0].content_type == "application/x-www-form-urlencoded"


async def test_a_trace_context_is_taken_over(hub: Harness) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"

    await hub.webhook(traceparent=trace)

    assert hub.inbox.received[0].traceparent == trace
