"""A changed routing.yaml is taken over as a whole or not at all, while events come in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.errors import ConfigError, StoreUnavailableError
from hub.operate.parked import list_parked, retry
from hub.transports import Confirmed, OutboundMessage
from tests.integration.app.shop import (
    WEBHOOK,
    booked,
    copied,
    everything_is_done,
    order,
    outbox_states,
    send,
    send_all,
    states,
)
from tests.scenarios.outage import database_away
from tests.support.misbehaving import ROUTING
from tests.support.running import RunningHub, until

Rewrite = Callable[[str], None]


@pytest.fixture
def rewrite(tmp_path: Path) -> Rewrite:
    """Writes another routing.yaml in the place of the hub's."""

    def write(text: str) -> None:
        (tmp_path / "routing.yaml").write_text(text)

    return write


async def test_new_rules_apply_to_events_that_come_after_them(hub: RunningHub, rewrite: Rewrite) -> None:
    await take(hub, "before")

    rewrite(ROUTING.replace("match: shop.order\n    publish", "match: shop.nothing\n    publish"))
    await hub.hub.reload()

    await take(hub, "after")
    assert (await booked(hub.hub.store), await copied(hub.hub.store)) == (["before", "after"], ["before"])


@pytest.mark.parametrize(
    "mistake",
    [
        ROUTING.replace("handle: misbehaving.book", "handle: misbehaving.bok"),
        ROUTING.replace("publish: copies", "publish: nowhere"),
        ROUTING.replace("name: copy-order", "name: book-order"),
        ROUTING.replace("SHOP_WEBHOOK_KEY", "SHOP_WEBHOOK_PASS"),
        ROUTING.replace("scheme: api_key", "scheme: apikey"),
        ROUTING.replace("capabilities: [tests.support.misbehaving]", "capabilities: [handlers.loyalty]"),
        ROUTING[: len(ROUTING) // 2],
        "",
    ],
    ids=["handler", "destination", "twice", "environment", "scheme", "capabilities", "half", "empty"],
)
async def test_a_bad_file_changes_nothing(hub: RunningHub, rewrite: Rewrite, mistake: str) -> None:
    # Beside the mistake, a change that must not slip through.
    rewrite(mistake.replace("path: /webhooks/shop", "path: /webhooks/other").replace("shop.copies", "shop.others"))
    before = (hub.hub.wiring, hub.hub.rules)

    with pytest.raises(ConfigError):
        await hub.hub.reload()

    assert (hub.hub.wiring, hub.hub.rules) == before
    await take(hub, "after")
    assert await copied(hub.hub.store) == ["after"]


async def test_a_changed_list_of_capabilities_asks_for_a_restart_at_its_place(
    hub: RunningHub, rewrite: Rewrite
) -> None:
    rewrite(ROUTING.replace("[tests.support.misbehaving]", "[tests.support.misbehaving, handlers.loyalty]"))

    with pytest.raises(ConfigError) as refused:
        await hub.hub.reload()

    [problem] = refused.value.problems
    assert (problem.line, problem.column) == (2, 15)
    assert "the hub runs with tests.support.misbehaving; a change of this list needs a restart" in problem.message


async def test_a_reload_while_the_database_is_away_changes_nothing(hub: RunningHub, rewrite: Rewrite) -> None:
    rewrite(ROUTING.replace("path: /webhooks/shop", "path: /webhooks/other").replace("shop.copies", "shop.others"))

    async with database_away(hub.hub.store):
        with pytest.raises(StoreUnavailableError):
            await hub.hub.reload()

    await take(hub, "after")
    assert await copied(hub.hub.store) == ["after"]


async def test_many_reloads_under_load_lose_and_park_nothing(hub: RunningHub, rewrite: Rewrite) -> None:
    ids = [f"order-{number}" for number in range(80)]
    sending = asyncio.create_task(send_all(hub.url, ids, do="slow"))

    number = 0
    while not sending.done():
        number += 1
        rewrite(ROUTING.replace("longest: 100ms", f"longest: {100 + number}ms") + f"# {number}\n")
        await hub.hub.reload()
        await asyncio.sleep(0.05)

    assert await sending == set(ids)
    await until(lambda: everything_is_done(hub.hub.store))
    assert await states(hub.hub.store) == {"done": 2 * len(ids)}
    assert sorted(await booked(hub.hub.store)) == sorted(await copied(hub.hub.store)) == sorted(ids)


async def test_a_destination_that_moves_to_another_queue_under_load_loses_and_parks_nothing(
    hub: RunningHub, rewrite: Rewrite
) -> None:
    ids = [f"order-{number}" for number in range(300)]
    sending = asyncio.create_task(send_all(hub.url, ids))
    await until(lambda: some_are_copied(hub))

    rewrite(ROUTING.replace("queue: shop.copies", "queue: shop.others"))
    await hub.hub.reload()

    assert await sending == set(ids)
    await until(lambda: everything_is_done(hub.hub.store))
    assert await outbox_states(hub.hub.store) == {"sent": len(ids)}
    first, second = await hub.queue("shop.copies"), await hub.queue("shop.others")
    assert len({row.message_id for row in (*first, *second)}) == len(first) + len(second) == len(ids)


async def test_queues_that_are_read_follow_the_rules(hub: RunningHub, rewrite: Rewrite) -> None:
    await publish(hub, "first")
    await until(lambda: has_booked(hub, "first"))

    rewrite(ROUTING.replace("name: shop.in, exchange: shop.events", "name: shop.in2, exchange: shop.events2"))
    await hub.hub.reload()
    await publish(hub, "second", exchange="shop.events2")
    await until(lambda: has_booked(hub, "second"))

    rewrite(ROUTING)
    await hub.hub.reload()
    await publish(hub, "third")
    await until(lambda: has_booked(hub, "third"))
    assert all(one.ok for one in await hub.hub.ready())


async def test_a_queue_that_is_divided_otherwise_is_read_anew_once_its_former_reader_has_ended(
    hub: RunningHub, rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[str] = []
    consume = hub.hub.transport.consume

    async def watched(queue: str, *given: Any, **more: Any) -> None:
        assert not readers or readers[-1] == "ended", "two read one queue"
        readers.append("begun")
        await consume(queue, *given, **more)
        readers.append("ended")

    monkeypatch.setattr(hub.hub.transport, "consume", watched)
    divided = ROUTING.replace('bind: ["#"] }', 'bind: ["#"], partitions: 2, by: message_id }')
    divided = divided.replace("key: data.key", "key: message.message_id")
    for text in (divided, divided + "# the same\n", divided.replace("partitions: 2", "partitions: 3")):
        rewrite(text)
        await hub.hub.reload()

    await publish(hub, "after")
    await until(lambda: has_booked(hub, "after"))
    assert readers == ["begun", "ended", "begun"]
    assert all(one.ok for one in await hub.hub.ready())


async def test_a_renamed_route_keeps_its_history(hub: RunningHub, rewrite: Rewrite) -> None:
    await send(hub.http, hub.url, order("bad", key="k", do="raise"))
    await until(lambda: one_is_parked(hub))
    await take(hub, "next", key="k", booked_too=False)
    renamed = ROUTING.replace("name: book-order", "name: settle-order\n    was: [book-order]")

    rewrite(renamed)
    await hub.hub.reload()

    # The chain is still the same: what waits behind the parked one goes on waiting, under the new name.
    await take(hub, "last", key="k", booked_too=False)
    [parked] = await list_parked(hub.hub.store)
    assert parked.route == "settle-order"
    assert await booked(hub.hub.store) == []
    await retry(hub.hub.store, hub.hub.clock, str(parked.event_id), actor="ann")
    hub.hub.to_deliver.add(range(256))
    await until(lambda: one_is_parked(hub))
    assert await booked(hub.hub.store) == []


async def test_what_waits_for_a_route_that_is_gone_is_parked_and_goes_on_when_it_is_back(
    hub: RunningHub, rewrite: Rewrite
) -> None:
    await send(hub.http, hub.url, order("bad", key="k", do="raise"))
    await until(lambda: one_is_parked(hub))
    start, end = ROUTING.index("  - name: book-order"), ROUTING.index("  - name: copy-order")

    rewrite(ROUTING[:start] + ROUTING[end:])
    await hub.hub.reload()

    [parked] = await list_parked(hub.hub.store)
    await retry(hub.hub.store, hub.hub.clock, str(parked.event_id), actor="ann")
    hub.hub.to_deliver.add(range(256))
    await until(lambda: is_parked_because(hub, "no longer in routing.yaml"))


async def take(hub: RunningHub, id: str, *, key: str = "", booked_too: bool = True) -> None:
    """Send one order and wait until it is forwarded, and booked unless it has to wait."""
    async with hub.http.post(hub.url + WEBHOOK) as response:
        assert response.status == 401  # the path is as it was
    assert await send(hub.http, hub.url, order(id, key=key)) == 200

    async def is_handled() -> bool:
        return not booked_too or id in await booked(hub.hub.store)

    await until(is_handled)
    await until(lambda: nothing_is_on_its_way(hub))


async def publish(hub: RunningHub, id: str, *, exchange: str = "shop.events") -> None:
    message = OutboundMessage(
        message_id=id,
        exchange=exchange,
        routing_key="shop.order",
        content_type="application/json",
        payload=json.dumps(order(id)).encode(),
        headers={},
        key=id,
    )
    assert await hub.hub.transport.publish([message]) == [Confirmed()]


async def has_booked(hub: RunningHub, id: str) -> bool:
    return id in await booked(hub.hub.store)


async def nothing_is_on_its_way(hub: RunningHub) -> bool:
    found = await states(hub.hub.store)
    left = await outbox_states(hub.hub.store)
    return not {"ready", "calling", "retrying"} & set(found) and not {"ready", "waiting"} & set(left)


async def one_is_parked(hub: RunningHub) -> bool:
    return len(await list_parked(hub.hub.store)) == 1


async def is_parked_because(hub: RunningHub, reason: str) -> bool:
    return [reason in one.reason for one in await list_parked(hub.hub.store)] == [True]


async def some_are_copied(hub: RunningHub) -> bool:
    return len(await copied(hub.hub.store)) >= 30
