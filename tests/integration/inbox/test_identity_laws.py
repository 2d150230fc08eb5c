"""The laws of identity, on random histories: whatever comes when and however often, an id is one event."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import an_inbox, message
from tests.support.clock import SettableClock

YEAR_S = 365 * 24 * 3_600
SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Sent:
    """One message: under which id, saying what (``spelt`` is how, and changes nothing), how long after the last."""

    id: str
    amount: int
    spelt: str
    after_s: float

    @property
    def body(self) -> bytes:
        return b'{"amount":%s%d}' % (self.spelt.encode(), self.amount)


sent = st.builds(
    Sent,
    id=st.sampled_from("abc"),
    amount=st.sampled_from([5, 6]),
    spelt=st.sampled_from(["", " "]),
    after_s=st.sampled_from([0.0, 1.0, 600.0, 86_400.0, YEAR_S]),
)


@SETTINGS
@given(groups=st.lists(st.lists(sent, min_size=1, max_size=4), min_size=1, max_size=6))
async def test_an_id_is_one_event_for_ever_and_what_contradicts_it_is_kept(
    store: Store, groups: list[list[Sent]]
) -> None:
    clock = SettableClock()
    await store.write(_forget)
    first: dict[str, int] = {}
    expected: list[tuple[str, str]] = []
    found: list[tuple[str, str]] = []
    async with an_inbox(store, clock=clock) as inbox:
        for group in groups:
            clock.advance(sum(one.after_s for one in group))
            answers = await inbox.acceptor.accept_all([message(one.body, one.id) for one in group])
            for one, answer in zip(group, answers, strict=True):
                known = first.setdefault(one.id, one.amount)
                is_new = one.id not in {of for of, _ in expected}
                expected.append((one.id, "event" if is_new else "duplicate" if known == one.amount else "conflict"))
                found.append((one.id, answer.kind))

        assert found == expected
        assert len(await inbox.rows(t.inbox)) == len(await inbox.rows(t.deliveries)) == len(first)
        assert len(await inbox.rows(t.conflicts)) == [kind for _, kind in expected].count("conflict")


async def _forget(conn: AsyncConnection) -> None:
    for table in (t.deliveries, t.duplicates, t.conflicts, t.identities, t.inbox, t.received_totals):
        await conn.execute(delete(table))


async def test_a_repeat_that_comes_to_another_process_a_year_later_is_a_duplicate(store: Store) -> None:
    clock = SettableClock()
    async with an_inbox(store, clock=clock) as inbox:
        first = await inbox.send({"amount": 5}, "m-1")
    for seconds in (600.0, 86_400.0, YEAR_S):
        clock.advance(seconds)
        async with an_inbox(store, clock=clock) as another:
            again = await another.send({"amount": 5}, "m-1")

            assert (again.kind, again.event_id) == ("duplicate", first.event_id)
