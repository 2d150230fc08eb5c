"""A message given by hand: what would happen, without its happening."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hub.capability import handler
from hub.deliver.context import Context
from hub.errors import UsageError
from hub.event import Event
from hub.explain import explain_message, lines
from hub.explain import rehearse as rehearse_module
from hub.inbox.received import Received
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.explain.comparing import (
    actual_messages,
    actual_postings,
    every_rehearsal,
    predicted_messages,
    predicted_postings,
    row_counts,
)
from tests.integration.explain.shop import HANDLERS, ROUTES, SENT
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble

ROOT = Path(__file__).parents[3]
CARD = "4111222233334444"


@handler
async def hang(event: Event, ctx: Context) -> None:
    """Never end."""
    await asyncio.sleep(60)


@pytest.fixture
async def parts(store: Store, clock: SettableClock) -> AsyncIterator[Parts]:
    SENT.clear()
    async with assemble(store, ROUTES, HANDLERS, clock=clock, start=False) as parts:
        yield parts


def message(type_: str, body: Mapping[str, Any] | bytes, **more: Any) -> Received:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Received(**{"source": "shop", "body": data, "routing_key": type_, "message_id": "m-1", **more})


def sale(**more: Any) -> dict[str, Any]:
    return {"key": "9", "number": "S1", "amount": 50_000, "card": CARD, **more}


async def test_what_is_predicted_of_a_new_message_is_what_then_happens(parts: Parts) -> None:
    received = message("sale.made", sale())
    explained = await explain_message(parts, received)

    await parts.start()
    await parts.inbox.accept(received)
    await parts.settle()
    await parts.stop()

    assert explained.ok
    assert [one.route for one in every_rehearsal(explained)] == ["forward-sale", "book-sale", "reward-sale"]
    assert predicted_postings(explained) == await actual_postings(parts.store)
    assert predicted_messages(explained) == await actual_messages(parts)
    (timer,) = [timer for one in every_rehearsal(explained) for timer in one.timers]
    (row,) = await parts.rows(t.timers)
    assert (timer.type, timer.key, timer.due_at, timer.payload) == (row.type, row.key, row.due_at, row.payload)
    assert [tag for one in every_rehearsal(explained) for tag in one.tags] == [("sale", "S1")]


@pytest.mark.parametrize("type_", ["sale.made", "wrong.asked", "card.charged", "loop.again", "no.such.type"])
async def test_nothing_of_a_rehearsal_remains(parts: Parts, type_: str) -> None:
    before = await row_counts(parts.store)

    await explain_message(parts, message(type_, sale(how="permanent")))

    assert await row_counts(parts.store) == before
    assert SENT == []
    assert not parts.to_publish.take(1)
    assert not parts.to_deliver.take(1)


async def test_each_rule_says_which_clause_decided(parts: Parts) -> None:
    explained = await explain_message(parts, message("sale.made", sale(key="7", amount=2_000_000)))

    rules = {rule.route: (rule.matched, rule.clause) for rule in explained.rules}
    assert rules["book-sale"] == (True, None)
    assert rules["watch-large-sales"] == (False, "when")
    assert rules["spend-points"] == (False, "match")
    assert rules["resting"] == (False, "disabled")
    (detail,) = [rule.detail for rule in explained.rules if rule.route == "watch-large-sales"]
    assert detail == "data.key != \"7\" is false (data.key = '7')"


async def test_a_message_given_by_hand_is_not_verified_and_its_identity_names_its_path(parts: Parts) -> None:
    explained = await explain_message(parts, message("sale.made", sale()))

    assert explained.verification.verdict is None
    assert explained.verification.how == "not verified: given by hand"
    identity = explained.identity
    assert (identity.status, identity.dedupe_id, identity.taken_from) == ("new", "m-1", "message.message_id")


async def test_a_repeat_is_called_a_duplicate_and_is_not_rehearsed(parts: Parts) -> None:
    await parts.start()
    accepted = await parts.inbox.accept(message("sale.made", sale()))
    await parts.settle()
    await parts.stop()

    repeated = await explain_message(parts, message("sale.made", sale()))
    changed = await explain_message(parts, message("sale.made", sale(amount=1)))

    assert (repeated.identity.status, repeated.identity.event_id) == ("duplicate", accepted.event_id)
    assert (repeated.ok, list(repeated.rehearsals)) == (True, [])
    assert (changed.identity.status, changed.identity.event_id) == ("conflict", accepted.event_id)
    assert not changed.ok


async def test_an_unreadable_message_says_where_the_mistake_is(parts: Parts) -> None:
    explained = await explain_message(parts, message("sale.made", b'{"key": "9",\n "amount": }'))

    assert not explained.ok
    assert explained.problem is not None
    assert (explained.problem.line, explained.problem.column) == (2, 12)
    assert (list(explained.rules), list(explained.rehearsals)) == ([], [])


async def test_a_type_that_is_none_is_a_problem_of_its_field(parts: Parts) -> None:
    explained = await explain_message(parts, message("not a type", sale()))

    assert explained.problem is not None
    assert explained.problem.field == "routing_key"


async def test_a_message_that_no_route_takes_is_not_ok(parts: Parts) -> None:
    explained = await explain_message(parts, message("no.such.type", sale()))

    assert not explained.ok
    assert not any(rule.matched for rule in explained.rules)
    assert "no route takes the event" in lines(explained)[-1]


async def test_an_unknown_source_is_refused(parts: Parts) -> None:
    with pytest.raises(UsageError, match="no source is called 'nobody'"):
        await explain_message(parts, message("sale.made", sale(), source="nobody"))


async def test_a_condition_that_cannot_be_evaluated_would_park_its_delivery(parts: Parts) -> None:
    explained = await explain_message(parts, message("strict.asked", {"key": "1"}))

    assert not explained.ok
    (rehearsal,) = explained.rehearsals
    assert rehearsal.play == "failed"
    assert rehearsal.consequence is not None
    assert rehearsal.consequence.state == "parked"
    assert [rule.clause for rule in explained.rules if rule.route == "strict"] == ["error"]


@pytest.mark.parametrize(
    ("how", "error", "state", "wait_s"),
    [
        ("permanent", "PermanentError", "parked", None),
        ("retryable", "RetryableError", "retrying", 7.0),
        ("mistake", "ValueError", "retrying", 5.0),
    ],
)
async def test_a_handler_that_fails_says_so_and_what_would_follow(
    parts: Parts, how: str, error: str, state: str, wait_s: float | None
) -> None:
    explained = await explain_message(parts, message("wrong.asked", sale(how=how)))

    assert not explained.ok
    wrong, beside = explained.rehearsals
    assert wrong.error is not None
    assert wrong.error.name == error
    assert wrong.consequence is not None
    assert (wrong.consequence.state, wrong.consequence.wait_s) == (state, wait_s)
    assert list(wrong.messages) == []
    assert [one.destination for one in beside.messages] == ["sales"]


async def test_a_handler_that_must_wait_is_no_failure(parts: Parts) -> None:
    explained = await explain_message(parts, message("wrong.asked", sale(how="not_yet")))

    assert explained.ok
    assert explained.rehearsals[0].play == "deferred"
    assert explained.rehearsals[0].consequence is not None
    assert "the other one has not come" in explained.rehearsals[0].consequence.text


async def test_the_books_refuse_in_a_rehearsal_what_they_would_refuse(parts: Parts) -> None:
    explained = await explain_message(parts, message("points.spent", sale()))

    (rehearsal,) = explained.rehearsals
    assert rehearsal.error is not None
    assert rehearsal.error.name == "InsufficientFundsError"


async def test_a_calling_handler_is_shown_up_to_its_first_call(parts: Parts) -> None:
    explained = await explain_message(parts, message("card.charged", sale()))

    (rehearsal,) = explained.rehearsals
    assert (rehearsal.kind, rehearsal.provider, rehearsal.play) == ("calls", "bank", "stopped_at_call")
    (call,) = rehearsal.calls
    assert (call.step, call.number, call.provider) == ("charge", 1, "bank")
    assert "shown, not sent" in call.what
    assert any("first undecided call" in note for note in rehearsal.notes)
    assert explained.ok
    assert SENT == []


async def test_emitted_events_are_followed_for_five_generations(parts: Parts) -> None:
    explained = await explain_message(parts, message("loop.again", sale()))

    played = every_rehearsal(explained)
    assert len(played) == 1 + rehearse_module.DEPTH_MAX
    assert played[-1].emitted[0].note == "not followed: more than 5 generations of events"


async def test_what_the_source_masks_is_hidden_wherever_it_turns_up(parts: Parts) -> None:
    headers = {"x-customer": "Nguyen Van A", "x-shop": "north"}
    sold = await explain_message(parts, message("sale.made", sale(), headers=headers))
    failed = await explain_message(parts, message("wrong.asked", sale(how="permanent")))
    charged = await explain_message(parts, message("card.charged", sale()))

    for explained in (sold, failed, charged):
        assert CARD not in json.dumps(explained.to_dict())
        assert CARD not in "\n".join(lines(explained))
        assert CARD in json.dumps(explained.to_dict(raw=True))
    assert "Nguyen" not in json.dumps(sold.to_dict())
    assert sold.to_dict()["event"]["headers"] == {"x-customer": "***", "x-shop": "north"}


async def test_secrets_of_a_request_are_hidden_also_from_who_asks_for_everything(parts: Parts) -> None:
    explained = await explain_message(parts, message("card.charged", sale()))

    shown = json.dumps(explained.to_dict(raw=True))
    assert "tok_secret" not in shown
    assert "sk_live_1" not in shown


async def test_a_handler_that_hangs_is_cut_and_the_rest_is_rehearsed(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearse_module, "HANDLER_S_MAX", 0.2)
    routes = """
destinations: { sales: { queue: shop.sales } }
routes:
  - { name: hang, match: it.hangs, handle: test.hang }
  - { name: forward, match: it.hangs, publish: sales }
"""
    async with assemble(store, routes, {"hang": hang}, clock=clock, start=False) as parts:
        explained = await explain_message(parts, message("it.hangs", sale()))

    hanging, forward = explained.rehearsals
    assert hanging.error is not None
    assert "did not end" in hanging.error.text
    assert forward.play == "done"


async def test_the_form_for_programs_is_json(parts: Parts) -> None:
    explained = await explain_message(parts, message("sale.made", sale()))

    shown = json.loads(json.dumps(explained.to_dict()))
    assert shown["ok"] is True
    assert shown["recorded"] is None
    assert shown["rehearsals"][1]["entries"][0]["postings"][0] == {
        "account": "shop:till",
        "side": "debit",
        "currency": "VND",
        "delta_minor": 50_000,
        "before_minor": None,
        "after_minor": None,
    }
    (followed,) = shown["rehearsals"][1]["emitted"][0]["rehearsals"]
    assert followed["entries"][0]["postings"][1]["after_minor"] == 5_000


async def test_every_name_in_the_form_for_programs_is_in_the_documentation(parts: Parts) -> None:
    documented = set(re.findall(r"`([a-z_0-9]+)`", (ROOT / "docs/explain.md").read_text(encoding="utf-8")))
    types = ("sale.made", "card.charged", "wrong.asked")
    explained = [await explain_message(parts, message(type_, sale(how="permanent"))) for type_ in types]

    used = {name for one in explained for name in names_in(one.to_dict())}

    assert used <= documented


def names_in(value: Any) -> set[str]:
    """Every name of every object, except those that a handler or a sender has chosen."""
    match value:
        case dict():
            ours = [item for name, item in value.items() if name not in ("headers", "request")]
            return {*value, *(name for item in ours for name in names_in(item))}
        case list():
            return {name for item in value for name in names_in(item)}
    return set()
