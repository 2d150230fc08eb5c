"""How much waits, counted by one statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from hub.deliver.backlog import read_backlog
from hub.store.store import Store
from tests.integration.operate.desk import NOTE, Desk
from tests.support.clock import SettableClock


async def test_what_waits_is_counted_by_its_state(store: Store, clock: SettableClock) -> None:
    desk = Desk(store, clock)
    await desk.use(NOTE)
    async with store.reading() as conn:
        assert (await read_backlog(conn, clock.now())).oldest_s == 0.0
    await desk.event(1)
    parked = await desk.event(2)
    await desk.put(parked, "parked")
    clock.advance(30)
    heard: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        heard.append(statement)

    event.listen(store.reader.sync_engine, "before_cursor_execute", note)
    async with store.reading() as conn:
        found = await read_backlog(conn, clock.now())

    assert found.oldest_s == 30.0
    assert {state: count for state, count in found.deliveries.items() if count} == {"ready": 1, "parked": 1}
    assert set(found.messages.values()) == {0}
    assert len({one for one in heard if one.startswith("SELECT")}) == 1
