"""Drafts: whatever goes wrong while a message is read, it is kept, and what lies behind it is not held up."""

from __future__ import annotations

import pytest

from hub.clock import SystemClock
from hub.routing import Router
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import ROUTING, message
from tests.support.parts import assemble, wiring_of

SECRET = "card 4111111111111111"


def break_routing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A mistake of the hub's own, that one message meets."""
    route = Router.route

    def routed(self: Router, event: object) -> object:
        if getattr(event, "type", "") == "order.broken":
            raise error
        return route(self, event)  # type: ignore[arg-type]

    monkeypatch.setattr(Router, "route", routed)


def test_a_message_that_the_hub_fails_to_read_is_parked_with_the_errors_class(monkeypatch: pytest.MonkeyPatch) -> None:
    drafter = wiring_of(ROUTING, {}, SystemClock()).drafter
    break_routing(monkeypatch, RecursionError(SECRET))

    draft = drafter.draft(message({"key": "a"}, "m1", routing_key="order.broken"))

    assert draft.problem == "the hub failed to read it: RecursionError"
    assert draft.event.payload == b'{"key": "a"}'


async def test_what_comes_behind_it_in_the_same_batch_is_accepted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_routing(monkeypatch, KeyError(SECRET))
    async with assemble(store, "routes: []\n", {}) as parts:
        batch = [message(b"{}", "m1", routing_key="order.broken"), message(b"{}", "m2")]

        answers = await parts.inbox.accept_all(batch)

        assert [answer.kind for answer in answers] == ["unreadable", "event"]
        rows = await parts.rows(t.inbox)
        assert [row.problem for row in rows] == ["the hub failed to read it: KeyError", None]
