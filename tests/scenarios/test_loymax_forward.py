"""Loymax's events through a running hub: byte for byte to the downstream platform and to their own queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.operate.equation import check
from hub.operate.parked import edit, list_parked
from hub.operate.reading import TodaysRules
from hub.store import tables as t
from tests.scenarios.loymax import (
    CYRILLIC,
    DATA,
    DESIGNATED,
    OTHER,
    QUEUES,
    SAMPLES,
    SMART_COMMUNICATIONS,
    UNRELATED,
    WAYS,
    Sample,
    accept,
    message_of,
    publish,
)
from tests.support.running import RunningHub, environment, running, until

REASON = "the trailing comma is Loymax's own"


@pytest.fixture
async def hub(database_url: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub under the real clock, so that it finds by itself what another process stored."""
    async with running(environment(tmp_path, database_url)) as hub:
        yield hub
        assert (await check(hub.hub.store)).violations == ()


@pytest.mark.parametrize("way", WAYS)
async def test_the_twelve_reach_the_platform_and_their_queues_byte_for_byte(hub: RunningHub, way: str) -> None:
    assert len(SAMPLES) == 12
    assert {sample.known_as for sample in SAMPLES} == set(DESIGNATED)

    for number, sample in enumerate(SAMPLES):
        await WAYS[way](hub, sample, f"{way}-{number}")

    await forwarded(hub, 2 * len(SAMPLES))
    # Around the JSON of the structured form there is no room for the file's last line break.
    sent = [(one.known_as, one.payload.strip() if way == "structured" else one.payload) for one in SAMPLES]
    assert sorted(await contents(hub, SMART_COMMUNICATIONS)) == sorted(sent)
    for queue in set(DESIGNATED.values()):
        assert sorted(await contents(hub, queue)) == sorted(one for one in sent if DESIGNATED[one[0]] == queue)
    assert await contents(hub, OTHER) == []


async def test_messages_keep_their_ids_when_they_are_sent_again(hub: RunningHub) -> None:
    for number, sample in enumerate(SAMPLES):
        await publish(hub, sample, f"m-{number}")
    await forwarded(hub, 2 * len(SAMPLES))
    first = await ids(hub)

    await forget_what_was_sent(hub)

    await hub.settled()
    assert await ids(hub) == first
    assert len(set(first)) == len(first) == 2 * len(SAMPLES)


@pytest.mark.parametrize("way", ["binary", "queue"])
async def test_unrelated_events_reach_only_the_queue_of_the_others(hub: RunningHub, way: str) -> None:
    for number, sample in enumerate(UNRELATED):
        await WAYS[way](hub, sample, f"{way}-{number}")

    await forwarded(hub, len(UNRELATED))
    assert sorted(await contents(hub, OTHER)) == sorted((one.sent_as, one.payload) for one in UNRELATED)


@pytest.mark.parametrize("way", WAYS)
async def test_both_spellings_of_the_category_key_leave_as_ascii(hub: RunningHub, way: str) -> None:
    payload = (DATA / "card_change_category.json").read_bytes()
    ascii_key = "customer.card.changeCategory"

    await WAYS[way](hub, Sample("a", CYRILLIC, payload), f"{way}-cyrillic")
    await WAYS[way](hub, Sample("b", ascii_key, payload), f"{way}-ascii")

    await forwarded(hub, 4)
    for queue in (SMART_COMMUNICATIONS, "loymax.cards"):
        assert [key for key, _ in await contents(hub, queue)] == [ascii_key] * 2


async def test_the_same_message_twice_is_forwarded_once(hub: RunningHub) -> None:
    block = (DATA / "card_block.json").read_bytes()
    for _ in range(3):
        await accept(hub, "customer.card.changeBlockState", block, "m-1")

    await forwarded(hub, 2)
    assert len(await hub.rows(t.duplicates)) == 2


async def test_an_upstream_s_own_retry_is_recognised_without_a_message_id(hub: RunningHub) -> None:
    block = (DATA / "card_block.json").read_bytes()
    again = block.replace(b'"tryCount": 0', b'"tryCount": 3').replace(b'"delaySecond": null', b'"delaySecond": 30')

    first = await accept(hub, "customer.card.changeBlockState", block)
    second = await accept(hub, "customer.card.changeBlockState", again)

    assert again != block
    assert (first.kind, second.kind) == ("event", "duplicate")
    await forwarded(hub, 2)


async def test_delete_restore_delete_of_one_card_are_three_events_in_order(hub: RunningHub) -> None:
    deleted = (DATA / "card_delete.json").read_bytes()
    restored = deleted.replace(b'"targetDeleteState":true', b'"targetDeleteState":false')

    for body in (deleted, restored, deleted):
        assert (await accept(hub, "customer.card.changeDeleteState", body)).kind == "event"

    await forwarded(hub, 6)
    for queue in (SMART_COMMUNICATIONS, "loymax.cards"):
        assert [payload for _, payload in await contents(hub, queue)] == [deleted, restored, deleted]


@pytest.mark.parametrize("way", ["binary", "inbox", "queue"])
async def test_the_broken_merge_is_parked_with_its_place_and_forwarded_once_corrected(
    hub: RunningHub, way: str
) -> None:
    broken = (DATA / "profile_merge.invalid.txt").read_bytes()
    corrected = (DATA / "profile_merge.json").read_bytes()
    await park_unreadable(hub, way, Sample("broken", "customer.profile.merge", broken))
    # It holds up nobody, its own customers included.
    await publish(hub, SAMPLES[0], "next")
    await forwarded(hub, 2)

    [parked] = await list_parked(hub.hub.store)
    assert (parked.source, parked.key) == ("loymax", None)
    assert "line 19, column 1" in parked.reason
    rules = TodaysRules(hub.hub.wiring.drafter, hub.hub.rules.route_ids)
    event_id = str(parked.event_id)
    await edit(hub.hub.store, hub.hub.clock, event_id, corrected, actor="ann", reason=REASON, rules=rules)

    await forwarded(hub, 4)
    assert ("customer.profile.merge", corrected) in await contents(hub, SMART_COMMUNICATIONS)
    assert ("customer.profile.merge", corrected) in await contents(hub, "loymax.profile")
    [stored] = [row for row in await hub.rows(t.inbox) if row.id == parked.event_id]
    assert stored.payload == broken


async def test_a_message_whose_header_breaks_the_line_holds_up_nobody(hub: RunningHub) -> None:
    first, second = (message_of(sample, f"m-{number}") for number, sample in enumerate(SAMPLES[:2]))
    strange = {"x-note": "one\r\nx-other: two", "bad name": "x", "x-long": "y" * 100_000, "x-good": "kept"}

    await hub.hub.transport.publish([replace(first, headers=strange), second])

    await forwarded(hub, 4)
    stored = {row.message_id: row for row in await hub.rows(t.inbox)}
    assert stored["m-0"].headers == {"x-good": "kept"}


async def forwarded(hub: RunningHub, count: int) -> None:
    """Wait until this many messages lie in the queues, and nothing is left to do."""

    async def are_there() -> bool:
        return len(await ids(hub)) >= count

    await until(are_there)
    await hub.settled()
    assert len(await ids(hub)) == count


async def contents(hub: RunningHub, queue: str) -> list[tuple[str, bytes]]:
    """Routing key and payload of each message, in the order of the queue."""
    return [(row.routing_key, row.payload) for row in await hub.queue(queue)]


async def ids(hub: RunningHub) -> list[str]:
    """The ids of all messages in the queues that Loymax's events can reach."""
    return [row.message_id for queue in QUEUES for row in await hub.queue(queue)]


async def forget_what_was_sent(hub: RunningHub) -> None:
    """As after a crash between the broker's confirmation and the mark."""

    async def work(conn: AsyncConnection) -> Any:
        await conn.execute(update(t.outbox).values(state="ready", sent_at=None))

    await hub.hub.store.write(work)


async def park_unreadable(hub: RunningHub, way: str, sample: Sample) -> None:
    if way == "binary":
        headers = {"ce-specversion": "1.0", "ce-source": "loymax", "ce-type": sample.sent_as, "ce-id": "broken"}
        key = {"Authorization": "Bearer test-admin-key", "Content-Type": "application/json"}
        _, answer = await hub.post("/events", sample.payload, **headers, **key)
        assert answer[0]["kind"] == "unreadable"
    else:
        await WAYS[way](hub, sample, "broken")

    async def is_parked() -> bool:
        return len(await list_parked(hub.hub.store)) == 1

    await until(is_parked)
