"""A replay is seen before it is done, and corrects what is booked by new entries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import func, select

from hub.capability import HandlerSpec, handler
from hub.deliver.context import Context
from hub.errors import UsageError
from hub.explain.comparing import Difference
from hub.ledger.errors import AlreadyReversedError, InvalidEntryError
from hub.ledger.model import Move
from hub.ledger.read import find_account
from hub.ledger.verify import verify
from hub.money import Money
from hub.operate.equation import check
from hub.operate.events import EventFilter
from hub.operate.replay_preview import Corrector, Preview, PreviewSummary, chosen, correct, preview, rehearse
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.explain.comparing import row_counts
from tests.integration.explain.shop import HANDLERS, SALES, SENT, Sale, points_of
from tests.integration.ledger.samples import booked
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble

ROUTES = """
destinations:
  desk: { queue: desk }
routes:
  - { name: give, match: 'sale.#', handle: test.give, publish: desk }
"""
MORE = ROUTES + "  - { name: copy, match: sale.made, publish: desk }\n"
BOTH = ROUTES + "  - { name: pay, match: sale.made, handle: test.pay, publish: desk }\n"


def giving(tenths: int) -> HandlerSpec:
    """A handler that gives so many tenths of a sale as points: today's code is another than yesterday's."""

    @handler
    async def give(sale: Sale, ctx: Context) -> None:
        amount = Money(sale.amount * tenths // 10, "VND")
        await ctx.ledger.post(
            f"give:{sale.number}", "give", [Move(debit=SALES, credit=points_of(sale.key), amount=amount)]
        )
        await ctx.publish({"points": amount.amount_minor}, routing_key="points.given")

    return give


async def sell(parts: Parts, number: int, amount: int = 1_000) -> UUID:
    body = {"key": "9", "number": f"S{number}", "amount": amount}
    event_id: UUID = (await parts.send("sale.made", body, message_id=str(number))).event_id
    await parts.settle()
    return event_id


@pytest.fixture
async def past(store: Store, clock: SettableClock) -> AsyncIterator[list[UUID]]:
    """Three sales, of which yesterday's code gave a tenth as points."""
    SENT.clear()
    async with assemble(store, ROUTES, {"give": giving(1)}, clock=clock) as parts:
        yield [await sell(parts, number) for number in range(3)]


async def points(store: Store) -> int:
    async with store.reading() as conn:
        found = await find_account(conn, points_of("9").code)
    return found.balance.amount_minor if found is not None else 0


def told(one: Preview) -> list[tuple[str, str]]:
    return [(each.sort, each.what) for each in one.differences]


async def test_the_same_code_would_do_the_same(store: Store, past: list[UUID], clock: SettableClock) -> None:
    async with assemble(store, ROUTES, {"give": giving(1)}, clock=clock, start=False) as parts:
        before = await row_counts(store)

        found = [one for event_id in past for one in await preview(parts, event_id)]

        assert [(one.verdict, told(one)) for one in found] == [("done before", [])] * 3
        assert await row_counts(store) == before


async def test_other_code_is_shown_and_corrected_by_new_entries(
    store: Store, past: list[UUID], clock: SettableClock
) -> None:
    async with assemble(store, ROUTES, {"give": giving(3)}, clock=clock, start=False) as parts:
        [one] = await preview(parts, past[0])
        messages = len(await parts.rows(t.outbox))

        assert told(one) == [("entry", "differs"), ("message", "differs")]
        [entry] = [each for each in one.differences if each.sort == "entry"]
        assert entry == Difference("entry", "give:S0", "differs", _net(100), _net(300))
        with pytest.raises(UsageError, match="expected a reason"):
            await correct(store, clock, one.changes, actor="ana", reason=" ")
        made = await correct(store, clock, one.changes, actor="ana", reason="the rate was wrong")
        [again] = await preview(parts, past[0])

        assert told(again) == [("message", "differs")]
        assert await points(store) == 500
        assert len(await parts.rows(t.outbox)) == messages
        assert made[0].startswith("correction:")
        assert [row.action for row in await parts.rows(t.operations)] == ["event.correct"]
    async with assemble(store, ROUTES, {"give": giving(2)}, clock=clock, start=False) as parts:
        [back] = await preview(parts, past[0])
        await correct(store, clock, back.changes, actor="ana", reason="too much after all")
        assert await points(store) == 400
        assert told((await preview(parts, past[0]))[0]) == [("message", "differs")]
    async with store.reading() as conn:
        assert await verify(conn) == []


async def test_a_reversal_takes_the_corrections_with_it(store: Store, past: list[UUID], clock: SettableClock) -> None:
    made = []
    for tenths in (3, 2):
        async with assemble(store, ROUTES, {"give": giving(tenths)}, clock=clock, start=False) as parts:
            [one] = await preview(parts, past[0])
            made += await correct(store, clock, one.changes, actor="ana", reason="the rate was wrong")
    assert await points(store) == 400

    await booked(store, lambda book: book.reverse("give:S0", reference="back"))

    assert await points(store) == 200
    with pytest.raises(InvalidEntryError, match="is a correction"):
        await booked(store, lambda book: book.reverse(made[0], reference="back-again"))
    async with store.reading() as conn:
        assert await verify(conn) == []


async def test_what_was_reversed_is_not_corrected(store: Store, past: list[UUID], clock: SettableClock) -> None:
    async with assemble(store, ROUTES, {"give": giving(3)}, clock=clock, start=False) as parts:
        changes = [change for event_id in past for one in await preview(parts, event_id) for change in one.changes]
        await booked(store, lambda book: book.reverse("give:S1", reference="back"))

        with pytest.raises(AlreadyReversedError, match="give:S1"):
            await correct(store, clock, changes, actor="ana", reason="the rate was wrong")

        assert await points(store) == 200
        assert await parts.rows(t.operations) == []


async def test_what_the_books_refuse_to_correct_is_told_and_the_others_are_corrected(
    store: Store, past: list[UUID], clock: SettableClock
) -> None:
    async with assemble(store, ROUTES, {"give": giving(3)}, clock=clock, start=False) as parts:
        await booked(store, lambda book: book.reverse("give:S1", reference="back"))

        events, ana = chosen(store, EventFilter(type="sale.made"), limit=3), Corrector("ana", "the rate was wrong")
        done = await rehearse(parts, clock, events, corrector=ana)

        assert (done.summary.events, len(done.corrected)) == (3, 2)
        [(event_id, why)] = done.refused
        assert (event_id, "'give:S1' has been reversed" in why) == (past[1], True)
        assert await points(store) == 2 * 300
        again = await rehearse(parts, clock, chosen(store, EventFilter(type="sale.made"), limit=3))
        assert (again.corrected, again.refused) == ([], [])


async def test_pairs_that_would_run_are_rehearsed_and_counted(
    store: Store, past: list[UUID], clock: SettableClock
) -> None:
    async with assemble(store, MORE, {"give": giving(1)}, clock=clock, start=False) as parts:
        summary = PreviewSummary()
        async for event_id in chosen(store, EventFilter(type="sale.made"), limit=2):
            for one in await preview(parts, event_id):
                summary.add(one)
        [only] = await preview(parts, past[0], routes=["copy"])

        assert summary.pairs == {("give", "done before"): 2, ("copy", "new"): 2}
        assert summary.effects["copy", "messages"] == 2
        assert (only.route, only.verdict, only.messages) == ("copy", "new", 1)
        assert len(await parts.deliveries()) == 3
    assert (await check(store)).violations == ()


async def test_a_call_that_was_never_made_is_shown_and_not_sent(
    store: Store, past: list[UUID], clock: SettableClock
) -> None:
    async with assemble(store, BOTH, {"give": giving(1), "pay": HANDLERS["charge"]}, clock=clock, start=False) as parts:
        found = {one.route: one for one in await preview(parts, past[0])}

        assert found["pay"].verdict == "new"
        assert found["pay"].calls == 1
        assert SENT == []
        async with store.reading() as conn:
            assert await conn.scalar(select(func.count()).select_from(t.calls)) == 0


def _net(points_minor: int) -> str:
    one, other = Money(points_minor, "VND").format(), Money(-points_minor, "VND").format()
    return f"points:9 {one}, shop:sales {other}"
