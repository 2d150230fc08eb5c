"""``POST /events`` over real HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.errors import StoreUnavailableError
from tests.integration.ingress.conftest import Answer, Harness

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"e-{number}", "source": "bank", "type": "bank.paid", "data": number, **changes}


async def post(
    hub: Harness, body: object, content_type: str = STRUCTURED, *, key: str = "admin-key", **headers: str
) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await hub.send("POST", "/events", data, names)


async def test_an_event_is_accepted_and_its_id_told(hub: Harness) -> None:
    answer = await post(hub, event())

    assert answer.status == 202
    [told] = json.loads(answer.body)
    assert told == {"id": "e-1", "event_id": str(hub.inbox.ids["bank", b"1"]), "kind": "event"}
    [received] = hub.inbox.received
    assert (received.source, received.routing_key, received.message_id) == ("bank", "bank.paid", "e-1")


async def test_a_batch_is_accepted_in_its_order(hub: Harness) -> None:
    answer = await post(hub, [event(number) for number in range(20)], BATCHED)

    assert answer.status == 202
    assert [told["id"] for told in json.loads(answer.body)] == [f"e-{number}" for number in range(20)]
    assert [received.body for received in hub.inbox.received] == [str(number).encode() for number in range(20)]
    assert hub.metric("hub_posted_events_total", source="bank", result="event") == 20


async def test_the_binary_form_is_accepted(hub: Harness) -> None:
    answer = await post(
        hub,
        b'{ "a": 1.0 }',
        "application/json",
        ce_specversion="1.0",
        ce_id="e-1",
        ce_source="bank",
        ce_type="bank.paid",
    )

    assert answer.status == 202
    assert hub.inbox.received[0].body == b'{ "a": 1.0 }'
    assert hub.inbox.received[0].headers == {}


@pytest.mark.parametrize(("key", "status"), [("wrong", 401), ("", 401), ("eye-key", 403)])
async def test_only_a_client_may_post(hub: Harness, key: str, status: int) -> None:
    answer = await post(hub, event(), key=key)

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "detail" not in json.loads(answer.body)
    assert hub.inbox.received == []


async def test_one_bad_event_refuses_the_whole_batch(hub: Harness) -> None:
    answer = await post(hub, [event(1), event(2, source="hidden")], BATCHED)

    assert answer.status == 400
    problem = json.loads(answer.body)
    assert problem["field"] == "[1].source"
    assert "expected the name of a source that accepts posted events" in problem["detail"]
    assert hub.inbox.received == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", STRUCTURED, 400),
        (b'{"a": NaN}', STRUCTURED, 400),
        (b"[" * 10_000, BATCHED, 400),
        (b"\xff", STRUCTURED, 400),
        (b"{}", "application/json", 415),
        (b"{}", "", 415),
        (b"x" * (1024 * 1024 + 1), STRUCTURED, 413),
        (json.dumps(event(data="x" * 3_000)).encode(), STRUCTURED, 400),
    ],
)
async def test_bad_input_is_told_and_nothing_is_stored(
    hub: Harness, body: bytes, content_type: str, status: int
) -> None:
    answer = await post(hub, body, content_type)

    assert answer.status == status
    assert json.loads(answer.body)["status"] == status
    assert hub.inbox.received == []


async def test_a_batch_that_breaks_off_tells_what_was_accepted_and_may_be_sent_again(hub: Harness) -> None:
    accept = hub.inbox.accept

    async def fail_on_third(received: Any) -> Any:
        if received.body == b"3":
            raise StoreUnavailableError("locked")
        return await accept(received)

    hub.inbox.accept = fail_on_third  # type: ignore[method-assign]
    first = await post(hub, [event(number) for number in (1, 2, 3, 4)], BATCHED)
    hub.inbox.accept = accept  # type: ignore[method-assign]
    second = await post(hub, [event(number) for number in (1, 2, 3, 4)], BATCHED)

    assert first.status == 503
    assert int(first.headers["Retry-After"]) >= 1
    assert [told["id"] for told in json.loads(first.body)["accepted"]] == ["e-1", "e-2"]
    assert [told["kind"] for told in json.loads(second.body)] == ["duplicate", "duplicate", "event", "event"]
    assert [received.body for received in hub.inbox.received] == [b"1", b"2", b"1", b"2", b"3", b"4"]


async def test_what_cannot_be_read_is_stored_and_its_place_is_told(hub: Harness) -> None:
    hub.inbox.kind = "unreadable"

    [told] = json.loads((await post(hub, event())).body)

    assert (told["kind"], told["problem"]) == ("unreadable", "line 1, column 1: expected JSON")


async def test_an_empty_batch_is_accepted(hub: Harness) -> None:
    answer = await post(hub, [], BATCHED)

    assert (answer.status, answer.body) == (202, b"[]")
