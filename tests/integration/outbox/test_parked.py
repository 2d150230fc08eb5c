"""What people do with parked messages."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from hub.errors import UsageError
from hub.outbox import discard_message, parked_messages, retry_message
from hub.store import tables as t
from tests.integration.outbox.bench import DRAIN_S, Bench, sent
from tests.integration.outbox.test_relay import always


async def parked_at(bench: Bench) -> tuple[list[str], int]:
    """A chain of three whose first is parked; the ids, and the first one's number."""
    ids = await bench.put("anna", "anna", "anna")
    bench.broker.fate = always(ids[0], "unroutable")
    relay = await bench.relay()
    await bench.settle(relay)
    (parked,) = await parked_messages(bench.store)
    return ids, parked.seq


async def test_a_parked_message_is_listed_with_its_reason_and_what_waits(bench: Bench) -> None:
    ids, seq = await parked_at(bench)

    (parked,) = await parked_messages(bench.store, destination="shop")

    assert (parked.message_id, parked.destination, parked.key) == (ids[0], "shop", "anna")
    assert parked.reason == "no queue is bound"
    assert (parked.attempts, parked.behind) == (1, 2)
    assert await parked_messages(bench.store, destination="bank") == []
    assert await parked_messages(bench.store, after_seq=seq) == []


async def test_a_retried_message_goes_first_and_its_chain_follows(bench: Bench) -> None:
    ids, seq = await parked_at(bench)
    later = await bench.put("anna")
    bench.broker.fate = lambda message: "confirm"

    await retry_message(bench.store, bench.clock, seq, actor="vy", reason="queue bound")
    await (await bench.relay()).drain(DRAIN_S)

    assert bench.broker.ids() == ids + later
    assert await bench.states() == sent(ids + later)
    assert await bench.blocked() == []


async def test_a_retried_message_that_still_finds_no_queue_is_parked_again(bench: Bench) -> None:
    ids, seq = await parked_at(bench)

    await retry_message(bench.store, bench.clock, seq, actor="vy")
    await (await bench.relay()).drain(DRAIN_S)

    assert await bench.states() == {ids[0]: "parked", ids[1]: "waiting", ids[2]: "waiting"}
    (parked,) = await parked_messages(bench.store)
    assert parked.attempts == 2


async def test_a_discarded_message_lets_its_chain_go_on(bench: Bench) -> None:
    ids, seq = await parked_at(bench)

    await discard_message(bench.store, bench.clock, seq, actor="vy", reason="nobody wants it")
    await (await bench.relay()).drain(DRAIN_S)

    assert bench.broker.ids() == ids[1:]
    assert await bench.states() == {ids[0]: "discarded", ids[1]: "sent", ids[2]: "sent"}
    assert await bench.blocked() == []


async def test_what_a_person_did_is_on_record(bench: Bench) -> None:
    _, seq = await parked_at(bench)

    await discard_message(bench.store, bench.clock, seq, actor="vy", reason="nobody wants it")

    async with bench.store.reading() as conn:
        (operation,) = (await conn.execute(select(t.operations))).all()
    assert (operation.actor, operation.action, operation.target, operation.reason) == (
        "vy",
        "message.discard",
        f"outbox/{seq}",
        "nobody wants it",
    )


async def test_only_a_parked_message_can_be_acted_on(bench: Bench) -> None:
    ids = await bench.put("anna")
    seq = (await bench.row(ids[0])).seq

    with pytest.raises(UsageError, match="is not parked"):
        await retry_message(bench.store, bench.clock, seq, actor="vy")
    with pytest.raises(UsageError, match="there is no message"):
        await discard_message(bench.store, bench.clock, seq + 1_000, actor="vy")
    assert await bench.states() == {ids[0]: "ready"}


async def test_a_chain_let_go_while_its_followers_are_told_to_wait_is_not_forgotten(bench: Bench) -> None:
    (first,) = await bench.put("anna")
    bench.broker.fate = always(first, "unroutable")
    relay = await bench.relay()
    await bench.settle(relay)
    (parked,) = await parked_messages(bench.store)
    follower, other = await bench.put("anna", "bert")

    async def discard_meanwhile() -> None:
        bench.broker.before = None
        await discard_message(bench.store, bench.clock, parked.seq, actor="vy")

    # The relay has read that anna's chain is blocked, and is about to write that the follower waits.
    bench.broker.before = discard_meanwhile
    await relay.drain(DRAIN_S)

    assert await bench.states() == {first: "discarded", follower: "sent", other: "sent"}
