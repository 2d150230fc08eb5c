from __future__ import annotations

from datetime import timedelta

import pytest

from hub.ledger import Account, Book, HoldState, Move, PostedEntry, transfer
from hub.ledger.errors import (
    CurrencyMismatchError,
    HoldClosedError,
    HoldExceededError,
    HoldNotDueError,
    InsufficientFundsError,
    InvalidEntryError,
    UnknownHoldError,
)
from hub.ledger.read import due_holds, list_entries, list_holds
from hub.money import Money
from hub.store.store import Store
from tests.integration.ledger.samples import (
    BANK,
    NOW,
    OTHER,
    SALES,
    WALLET,
    assert_sound,
    balance_of,
    booked,
    top_up,
    vnd,
)


async def held(store: Store, amount: int = 60, *, balance: int = 100) -> None:
    await top_up(store, WALLET, balance)
    await booked(store, lambda book: book.hold(WALLET, vnd(amount), reference="hold"))


async def test_held_money_is_not_available(store: Store) -> None:
    await held(store, 60)

    with pytest.raises(InsufficientFundsError):
        await booked(store, lambda b: b.post(reference="r", kind="k", moves=[transfer(WALLET, SALES, vnd(41))]))
    with pytest.raises(InsufficientFundsError):
        await booked(store, lambda b: b.hold(WALLET, vnd(41), reference="second"))

    assert (await balance_of(store, WALLET), await balance_of(store, WALLET.held)) == (40, 60)
    await assert_sound(store)


async def test_a_hold_is_captured_in_parts_and_the_rest_voided(store: Store) -> None:
    await held(store, 60)

    await booked(store, lambda b: b.capture("hold", reference="c1", to=SALES, amount=vnd(25)))
    await booked(store, lambda b: b.capture("hold", reference="c2", to=OTHER, amount=vnd(25)))
    await booked(store, lambda b: b.void("hold"))

    assert [await balance_of(store, a) for a in (WALLET, WALLET.held, SALES, OTHER)] == [50, 0, 25, 25]
    async with store.reading() as conn:
        (hold,) = await list_holds(conn, account="wallet:1")
        entries = await list_entries(conn, hold="hold")
    assert (hold.state, hold.captured, hold.remaining) == (HoldState.VOIDED, vnd(50), vnd(0))
    assert [entry.reference for entry in entries] == ["hold#void", "c2", "c1", "hold"]
    await assert_sound(store)


async def test_a_whole_capture_closes_the_hold(store: Store) -> None:
    await held(store, 60)

    await booked(store, lambda b: b.capture("hold", reference="all", to=SALES))

    async with store.reading() as conn:
        assert [hold.state for hold in await list_holds(conn, state=HoldState.CAPTURED)] == [HoldState.CAPTURED]
    for attempt in ("capture", "void", "expire"):
        with pytest.raises(HoldClosedError):
            await booked(store, lambda b, a=attempt: step(b, a))  # type: ignore[misc]
    await assert_sound(store)


async def step(book: Book, attempt: str) -> PostedEntry:
    match attempt:
        case "capture":
            return await book.capture("hold", reference="again", to=SALES, amount=vnd(1))
        case "void":
            return await book.void("hold", reference="again")
        case _:
            return await book.expire("hold")


async def test_a_capture_above_what_is_left_is_refused(store: Store) -> None:
    await held(store, 60)
    # Another hold of the same account fills the held account: what is left counts per hold.
    await booked(store, lambda b: b.hold(WALLET, vnd(40), reference="other"))

    async def work(book: Book) -> None:
        await book.capture("hold", reference="c1", to=SALES, amount=vnd(50))
        with pytest.raises(HoldExceededError) as refused:
            await book.capture("hold", reference="c2", to=SALES, amount=vnd(11))
        assert (refused.value.remaining, refused.value.amount) == (vnd(10), vnd(11))
        with pytest.raises(CurrencyMismatchError):
            await book.capture("hold", reference="c3", to=SALES, amount=Money(1, "JPY"))

    await booked(store, work)

    with pytest.raises(HoldExceededError):
        await booked(store, lambda b: b.capture("hold", reference="c2", to=SALES, amount=vnd(11)))
    assert await balance_of(store, SALES) == 50
    await assert_sound(store)


async def test_a_hold_lives_and_dies_within_one_batch(store: Store) -> None:
    await top_up(store, WALLET, 100)

    async def work(book: Book) -> None:
        await book.hold(WALLET, vnd(60), reference="hold")
        await book.capture("hold", reference="c", to=SALES, amount=vnd(1))
        await book.void("hold")
        with pytest.raises(HoldClosedError):
            await book.void("hold", reference="again")

    await booked(store, work)

    assert [await balance_of(store, a) for a in (WALLET, WALLET.held, SALES)] == [99, 0, 1]
    await assert_sound(store)


async def test_a_hold_expires_only_when_its_time_has_come(store: Store) -> None:
    await top_up(store, WALLET, 100)
    expiry = NOW + timedelta(hours=1)
    await booked(store, lambda b: b.hold(WALLET, vnd(60), reference="hold", expires_at=expiry))
    await booked(store, lambda b: b.hold(WALLET, vnd(10), reference="for-ever"))

    for reference in ("hold", "for-ever"):
        with pytest.raises(HoldNotDueError):
            await booked(store, lambda b, r=reference: b.expire(r))  # type: ignore[misc]
    async with store.reading() as conn:
        assert await due_holds(conn, expiry - timedelta(microseconds=1)) == []
        assert await due_holds(conn, expiry) == ["hold"]
    await booked(store, lambda b: b.expire("hold"), now=expiry)

    assert await balance_of(store, WALLET) == 90
    async with store.reading() as conn:
        assert await due_holds(conn, expiry) == []
        assert [hold.reference for hold in await list_holds(conn, state=HoldState.EXPIRED)] == ["hold"]
    await assert_sound(store)


async def test_a_hold_past_its_expiry_can_be_captured_until_it_is_closed(store: Store) -> None:
    await top_up(store, WALLET, 100)
    await booked(store, lambda b: b.hold(WALLET, vnd(60), reference="hold", expires_at=NOW))

    await booked(store, lambda b: b.capture("hold", reference="late", to=SALES), now=NOW + timedelta(days=1))

    assert await balance_of(store, SALES) == 60


async def test_undoing_a_delivery_restores_its_holds(store: Store) -> None:
    await held(store, 60)

    async def work(book: Book) -> None:
        await book.capture("hold", reference="kept", to=SALES, amount=vnd(10))
        mark = book.mark()
        await book.capture("hold", reference="dropped", to=SALES, amount=vnd(10))
        await book.void("hold")
        book.undo_to(mark)
        hold = await book.find_hold("hold")
        assert hold is not None
        assert (hold.state, hold.remaining) == (HoldState.OPEN, vnd(50))
        await book.capture("hold", reference="rest", to=SALES)

    await booked(store, work)

    assert await balance_of(store, SALES) == 60
    await assert_sound(store)


async def test_a_reversed_capture_goes_back_to_the_account(store: Store) -> None:
    await held(store, 60)
    await booked(store, lambda b: b.capture("hold", reference="c", to=SALES, amount=vnd(20)))

    await booked(store, lambda b: b.reverse("c", reference="c:reversed"))

    assert [await balance_of(store, a) for a in (WALLET, WALLET.held, SALES)] == [60, 40, 0]
    for reference in ("hold",):
        with pytest.raises(InvalidEntryError):
            await booked(store, lambda b, r=reference: b.reverse(r, reference="x"))  # type: ignore[misc]
    await assert_sound(store)


async def test_a_capture_of_the_same_batch_goes_back_to_the_account_too(store: Store) -> None:
    await top_up(store, WALLET, 100)

    async def work(book: Book) -> None:
        await book.hold(WALLET, vnd(60), reference="hold")
        await book.capture("hold", reference="c", to=SALES, amount=vnd(20))
        await book.reverse("c", reference="c:reversed")

    await booked(store, work)

    assert [await balance_of(store, one) for one in (WALLET, WALLET.held, SALES)] == [60, 40, 0]
    await assert_sound(store)


async def test_a_capture_can_leave_for_an_account_of_the_other_side(store: Store) -> None:
    await held(store, 60)

    await booked(store, lambda b: b.capture("hold", reference="paid-out", to=BANK))

    assert (await balance_of(store, BANK), await balance_of(store, WALLET.held)) == (40, 0)
    await assert_sound(store)


async def test_what_we_have_can_be_held_as_what_we_owe(store: Store) -> None:
    till = Account("till", "VND", "debit")
    await booked(store, lambda b: b.post(reference="in", kind="k", moves=[Move(till, SALES, vnd(100))]))

    await booked(store, lambda b: b.hold(till, vnd(60), reference="hold"))
    await booked(store, lambda b: b.capture("hold", reference="c", to=BANK, amount=vnd(20)))
    await booked(store, lambda b: b.void("hold"))

    assert [await balance_of(store, one) for one in (till, till.held, BANK)] == [80, 0, 20]
    await assert_sound(store)


async def test_what_cannot_be_held_is_refused(store: Store) -> None:
    async def work(book: Book) -> None:
        await book.post(reference="in", kind="k", moves=[Move(BANK, WALLET, vnd(5))])
        for reference, account in (("a", BANK), ("b", WALLET.held)):
            words = f"account {account.code} has no running balance of its own to hold from"
            with pytest.raises(InvalidEntryError, match=f"^{words}$"):
                await book.hold(account, vnd(1), reference=reference)
        with pytest.raises(InvalidEntryError, match=r"^an expiry needs a time zone$"):
            await book.hold(WALLET, vnd(1), reference="c", expires_at=NOW.replace(tzinfo=None))
        with pytest.raises(UnknownHoldError, match=r"^hold 'nothing': there is none$"):
            await book.capture("nothing", reference="d", to=SALES)

    await booked(store, work)

    await assert_sound(store)
