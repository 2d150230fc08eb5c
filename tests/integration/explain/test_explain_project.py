"""The project's own routing.yaml: what is predicted of a bank transfer and of a purchase is what then happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.deliver.command import run_command
from hub.environment import Environment
from hub.explain import explain_event, explain_message, lines
from hub.inbox.received import Received
from hub.inbox.route_ids import register_routes
from hub.settings import read_settings
from hub.store.store import Store
from hub.wiring import load_wiring
from schemas.sepay import TopupReply, TopupRequested
from tests.integration.explain.comparing import (
    actual_messages,
    actual_postings,
    every_rehearsal,
    predicted_messages,
    predicted_postings,
    row_counts,
    store_only,
)
from tests.support.clock import SettableClock
from tests.support.parts import Parts

ROOT = Path(__file__).parents[3]
ACCOUNT = "8880000001"


@pytest.fixture
async def parts(store: Store, clock: SettableClock, tmp_path: Path) -> Parts:
    environment = Environment({"HUB_SANDBOX": "1", "HUB_HOME": str(tmp_path)})
    wiring = load_wiring(ROOT / "routing.yaml", environment, clock)
    rules = wiring.rules(await store.write(lambda conn: register_routes(conn, wiring.router.routes)))
    settings = {
        one.name: read_settings(one.settings, environment)
        for one in wiring.capabilities.members
        if one.settings is not None
    }
    return Parts(store, wiring, rules, clock, settings)


async def open_topup(parts: Parts, amount: int) -> str:
    """An intent of the user u-1; its order code."""
    request = TopupRequested(user_id="u-1", amount=amount, currency="VND")
    payload = request.model_dump_json(by_alias=True, exclude_none=True).encode()
    draft = parts.wiring.drafter.internal("sepay.topup.requested", payload, source="command", key="u-1")
    answer = (await run_command(parts.around, parts.rules, draft)).answer
    assert isinstance(answer, TopupReply)
    return answer.order_code


def transfer(**changes: Any) -> Received:
    """The example's bank transfer with these fields instead."""
    body = json.loads((ROOT / "tests/examples/transfer_in.json").read_text(encoding="utf-8")) | changes
    return Received(source="sepay", body=json.dumps(body, ensure_ascii=False).encode())


def purchase() -> Received:
    body = (ROOT / "tests/data/loymax/purchase_confirm.json").read_bytes()
    return Received(source="loymax", body=body, routing_key="purchases.confirm.modelUpdate", message_id="p-1")


async def deliver(parts: Parts, received: Received | None = None) -> None:
    await parts.start()
    if received is not None:
        await parts.inbox.accept(received)
    await parts.settle()
    await parts.stop()


def kinds_of(messages: list[tuple[str, str, bytes]]) -> list[tuple[str, str]]:
    return [(destination, routing_key) for destination, routing_key, _ in messages]


async def test_a_transfer_that_pays_a_topup_is_predicted_as_it_then_happens(parts: Parts) -> None:
    code = await open_topup(parts, 100_000)
    paying = transfer(content=f"MBVCB.4530998360.{code}.CT tu 0011000000001 NGUYEN VAN A")
    before = await row_counts(parts.store)

    explained = await explain_message(parts, paying)
    assert await row_counts(parts.store) == before
    await deliver(parts, paying)

    assert explained.ok
    assert [change for _, _, *change in predicted_postings(explained)] == [[100_000, None, None], [100_000, 0, 100_000]]
    assert predicted_postings(explained) == await actual_postings(parts.store)
    actual = kinds_of(await actual_messages(parts))
    assert kinds_of(predicted_messages(explained)) == actual
    assert actual == [("loyalty", "loyalty.wallet.credited"), ("wallet-events", "wallet.credited")]
    assert "NGUYEN VAN A" not in "\n".join(lines(explained))


async def test_a_transfer_for_nobody_is_predicted_to_wait_in_suspense_for_a_person(parts: Parts) -> None:
    lost = transfer(content="a present")

    explained = await explain_message(parts, lost)
    await deliver(parts, lost)

    (settled, *_) = explained.rehearsals
    assert settled.review is not None
    assert predicted_postings(explained) == await actual_postings(parts.store)
    assert kinds_of(predicted_messages(explained)) == kinds_of(await actual_messages(parts))
    assert [one.route for one in every_rehearsal(explained)] == ["settle-bank-transfer", "ask-for-review-of-transfer"]


async def test_a_purchase_is_predicted_as_it_then_happens(parts: Parts) -> None:
    event = await store_only(parts, purchase())

    explained = await explain_event(parts, event.id)
    await deliver(parts)

    assert explained.ok
    assert {one.route for one in explained.rehearsals} == {
        "member-events-to-smart-communications",
        "purchases-to-their-queue",
        "apply-purchase",
    }
    assert predicted_postings(explained) == await actual_postings(parts.store)
    assert len(predicted_postings(explained)) == 4
    predicted, actual = predicted_messages(explained), await actual_messages(parts)
    assert kinds_of(predicted) == kinds_of(actual)
    forwarded = [payload for destination, _, payload in predicted if destination == "smart-communications"]
    assert forwarded == [purchase().body]


async def test_a_transfer_without_an_id_is_unreadable_and_names_the_field(parts: Parts) -> None:
    explained = await explain_message(parts, transfer(id=None))

    assert not explained.ok
    assert explained.problem is not None
    assert explained.problem.field == "id"
