"""Old events leave the tables only once they are sealed, and the seal knows that they left."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.retention.record import read_events
from hub.seal import tables as s
from hub.seal.numbers import Numbers
from hub.seal.verifying import verify_seal
from hub.seal.witness import SealWitness
from hub.store import tables as t
from hub.store.store import Store
from hub.store.tables_archive import archived
from tests.integration.operate.desk import NOTE, Desk
from tests.integration.seal.till import seal_all
from tests.support.clock import SettableClock


@pytest.fixture
async def desk(store: Store, clock: SettableClock) -> Desk:
    made = Desk(store, clock)
    await made.use(NOTE)
    return made


async def test_only_sealed_events_may_be_pruned_and_what_is_pruned_is_told_from_tampering(desk: Desk) -> None:
    old, new = await desk.event(1), await desk.event(2)
    await desk.put(old, "done")
    await seal_all(desk.store, desk.clock)
    await desk.put(new, "done")
    witness = SealWitness(desk.clock)

    async def prune(conn: AsyncConnection) -> int:
        seqs = [row.seq for row in await conn.execute(select(t.inbox.c.seq))]
        records = await read_events(conn, seqs)
        may = await witness.may_prune(conn, records)
        for record in may:
            await conn.execute(delete(t.deliveries).where(t.deliveries.c.event_seq == record.seq))
            await conn.execute(delete(t.inbox).where(t.inbox.c.seq == record.seq))
            place = {"event_id": record.event_id, "object_id": 1, "event_seq": record.seq, "late": False}
            await conn.execute(insert(archived), [place])
        await witness.pruned(conn, may)
        return len(may)

    assert await desk.store.write(prune) == 1
    report = await verify_seal(desk.store)
    assert (report.findings, report.pruned) == ([], 2)

    await seal_all(desk.store, desk.clock)
    assert (await verify_seal(desk.store)).present["pruning"] == 2
    await desk.change(archived, archived.c.event_id == old)
    report = await verify_seal(desk.store)
    assert [(one.sort, one.subject, report.pruned) for one in report.findings] == [("deleted", "event 1", 1)]
    await desk.change(s.prunings)
    assert {one.sort for one in (await verify_seal(desk.store)).findings} == {"deleted"}


def test_numbers_are_kept_a_bit_each() -> None:
    kept, wanted = Numbers(), [-1, 0, 7, 8, 4_095, 4_096, 2**62]
    for number in [*wanted, 9, 4_097]:
        kept.add(number)
    for number in (9, 10, 4_097, 10**9):
        kept.discard(number)

    assert (list(kept), bool(kept), bool(Numbers())) == (wanted, True, False)
    for number in wanted:
        kept.discard(number)
    assert not kept
