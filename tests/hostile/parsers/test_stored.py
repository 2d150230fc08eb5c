"""Whatever comes to the sources of routing.yaml is stored whole or not at all; what handlers make of it is foreseen."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from handlers.paypal.transmission import REQUIRED
from hub.environment import Environment
from hub.event import Verdict
from hub.inbox.accept import GroupCommit
from hub.inbox.received import Received
from hub.inbox.route_ids import register_routes
from hub.signal import LaneSignal
from hub.store import tables as t
from hub.store.store import Store
from hub.wiring import Wiring, load_wiring
from tests.hostile.parsers.inputs import (
    EXAMPLES,
    fuzz,
    json_file,
    loymax_messages,
    mutated,
    mutated_json,
    odd_texts,
    paypal_events,
)
from tests.support.clock import SettableClock
from tests.support.running import PROJECT, environment, running

ORDERS = [json.loads(file.read_text()) for file in sorted((PROJECT / "tests/examples").glob("*.json"))]
DOCUMENTS: dict[str, list[Any]] = {
    "sepay": [case["payload"] for case in json_file("sepay/webhook_payloads.json")["payloads"]],
    "loymax": loymax_messages(),
    "paypal": paypal_events(),
    "paypay": [
        *json_file("paypay/webhooks.json")["transaction"].values(),
        *json_file("paypay/webhooks.json")["customer"].values(),
    ],
    **dict.fromkeys(("shop-catalogue", "sepay-commands", "paypal-commands", "paypay-commands"), ORDERS),
}
TYPES = (
    *(
        "purchases.confirm.modelUpdate",
        "purchases.refundModelUpdate",
        "customer.profile.merge",
        "customer.card.link",
        "symbol.upserted",
    ),
    *("sepay.topup.requested", "paypal.subscription.requested", "paypay.exchange.requested", ""),
)


@st.composite
def messages(draw: st.DrawFn) -> Received:
    """One message of one source: its body a mutated real one, what its carrier says now and then odd."""
    source = draw(st.sampled_from(list(DOCUMENTS)))
    documents = DOCUMENTS[source]
    odd = draw(st.booleans())
    headers = draw(st.dictionaries(odd_texts, odd_texts, max_size=2)) if odd else {}
    if source == "paypal":
        # Without them, or with blank ones, nobody gets as far as this.
        headers |= {name: draw(odd_texts.filter(str.strip)) for name in REQUIRED}
    return Received(
        source=source,
        body=draw(mutated_json(documents) | mutated([json.dumps(one).encode() for one in documents])),
        content_type=draw(odd_texts) if odd else "application/json",
        headers=headers,
        routing_key=draw(odd_texts | st.sampled_from(TYPES)) if odd else draw(st.sampled_from(TYPES)),
        message_id=draw(odd_texts | st.sampled_from(("m-1", ""))),
        timestamp=draw(st.sampled_from((None, datetime.min.replace(tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)))),
        traceparent=draw(odd_texts) if odd else "",
        verdict=Verdict.UNDECIDED if source == "paypal" else Verdict.VALID,
    )


@pytest.fixture(scope="module")
def wiring(tmp_path_factory: pytest.TempPathFactory) -> Wiring:
    home = tmp_path_factory.mktemp("home")
    environ = {"HUB_HOME": str(home), "HUB_SANDBOX": "1", "SEPAY_WEBHOOK_API_KEY": "k" * 32}
    return load_wiring(PROJECT / "routing.yaml", Environment(environ), SettableClock())


class Inbox:
    """Accepts, and counts what it has answered."""

    def __init__(self, store: Store, wiring: Wiring, numbers: Mapping[str, int]) -> None:
        self.commits = GroupCommit(store, SettableClock(), lambda: wiring.drafter, lambda: numbers, LaneSignal())
        self.accepted = 0


@pytest.fixture
async def inbox(store: Store, wiring: Wiring) -> AsyncIterator[Inbox]:
    made = Inbox(store, wiring, await store.write(lambda conn: register_routes(conn, wiring.router.routes)))
    loop = asyncio.create_task(made.commits.run())
    yield made
    made.commits.stop()
    await loop


@fuzz(8)
@given(batch=st.lists(messages(), min_size=1, max_size=6))
async def test_messages_that_come_together_are_stored_whole_and_answered_each(
    store: Store, inbox: Inbox, batch: list[Received]
) -> None:
    answers = await inbox.commits.accept_all(batch)

    inbox.accepted += len(answers)
    async with store.reading() as conn:
        rows = {row.id: row for row in await conn.execute(select(t.inbox))}
        others = [len((await conn.execute(select(table))).all()) for table in (t.duplicates, t.conflicts)]
    assert len(answers) == len(batch)
    assert len(rows) + sum(others) == inbox.accepted
    for sent, answer in zip(batch, answers, strict=True):
        row = rows[answer.event_id]
        assert answer.kind not in ("event", "unreadable") or bytes(row.payload) == sent.body
        # That sentence stands for an error that nobody has foreseen.
        assert "the hub failed to read it" not in (row.problem or "")


@pytest.mark.parametrize("instant", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
async def test_the_first_and_the_last_instant_are_times_like_any_other(
    store: Store, inbox: Inbox, instant: datetime
) -> None:
    """``0001-01-01T00:00:00Z`` is what Go writes for no time at all."""
    answer = await inbox.commits.accept(Received(source="loymax", body=b"{}", routing_key="a", timestamp=instant))

    async with store.reading() as conn:
        found = await conn.scalar(select(t.inbox.c.occurred_at).where(t.inbox.c.id == answer.event_id))
    assert found == instant


@pytest.mark.parametrize("content_type", ["\ud800", "text/\x00plain", b"\xff".decode("utf-8", "surrogateescape")])
async def test_a_content_type_that_no_database_holds_keeps_nothing_from_being_stored(
    inbox: Inbox, content_type: str
) -> None:
    odd = Received(source="loymax", body=b"{}", routing_key="offer.edit", content_type=content_type)

    assert (await inbox.commits.accept(odd)).kind == "event"


FORESEEN = re.compile(
    "(ValidationError|UnreadableError|PermanentError|MoneyError|NotYet|RefusedCommand|condition)(:|$)|.* does not fit "
)
"""What a handler may end with on what cannot be carried out. All else is a mistake of ours, and parks as well."""


@pytest.mark.long
async def test_what_handlers_make_of_any_message_is_foreseen(store: Store, database_url: str, tmp_path: Path) -> None:
    sent: list[Received] = []

    @fuzz(200)
    @given(messages())
    def draw(message: Received) -> None:
        sent.append(message)

    draw()
    async with running(environment(tmp_path, database_url), clock=SettableClock()) as hub:
        for begin in range(0, len(sent), 50):
            batch = [one for one in sent[begin : begin + 50] if one.source != "paypal"]
            await hub.hub.acceptor.accept_all(batch)
            await hub.settled(also=frozenset({"calling"}))
        errors = Counter(str(row.error).partition("\n")[0][:200] for row in await hub.rows(t.attempts))
    assert len(sent) >= (EXAMPLES or 100)
    assert {text: count for text, count in errors.items() if not FORESEEN.match(text)} == {}
