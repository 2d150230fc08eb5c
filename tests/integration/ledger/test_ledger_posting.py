from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import select, text

from hub.ledger import Account, Book, Move, PostedEntry, transfer
from hub.ledger.errors import (
    AccountMismatchError,
    AlreadyReversedError,
    DuplicateReferenceError,
    InsufficientFundsError,
    InvalidEntryError,
    UnknownEntryError,
)
from hub.ledger.history import CORRECTION, correction_reference
from hub.ledger.read import find_entry, list_accounts, list_entries
from hub.ledger.tables import accounts, moves
from hub.money import MONEY_MINOR_MAX, Money
from hub.store.store import Store
from tests.integration.ledger.samples import (
    BANK,
    CREDIT_LINE,
    NOW,
    OTHER,
    SALES,
    WALLET,
    YEN,
    assert_sound,
    balance_of,
    booked,
    top_up,
    vnd,
)

EVENT = UUID("01935b6a-0000-7000-8000-000000000001")


async def test_a_posting_shows_the_balance_before_and_after(store: Store) -> None:
    await top_up(store, WALLET, 500)

    entry = await booked(
        store,
        lambda book: book.post(
            reference="pay", kind="payment", moves=[transfer(WALLET, SALES, vnd(120)), transfer(WALLET, OTHER, vnd(30))]
        ),
    )

    assert [(p.account, p.delta.amount_minor, p.before, p.after) for p in entry.postings] == [
        ("wallet:1", -120, vnd(500), vnd(380)),
        ("sales", 120, None, None),
        ("wallet:1", -30, vnd(380), vnd(350)),
        ("wallet:2", 30, vnd(0), vnd(30)),
    ]
    assert [await balance_of(store, account) for account in (BANK, WALLET, SALES, OTHER)] == [500, 350, 120, 30]
    await assert_sound(store)


async def test_an_entry_is_read_back_as_it_was_posted(store: Store) -> None:
    async def work(book: Book) -> PostedEntry:
        return await book.post(
            reference="t/1",
            kind="top_up",
            moves=[Move(BANK, WALLET, vnd(7)), Move(BANK, CREDIT_LINE, vnd(8))],
            event_id=EVENT,
            delivery_id=2**40,
            note="Nạp ví",
            data={"order_code": "AB12", "nested": [1, None]},
        )

    posted = await booked(store, work, slot=5)

    assert posted.data == {"order_code": "AB12", "nested": [1, None]}
    async with store.reading() as conn:
        assert await find_entry(conn, "t/1") == posted
        assert await list_entries(conn, event_id=EVENT) == [posted]
        assert await list_entries(conn, account="line:1") == [posted]
        assert await list_entries(conn, account="wallet:2") == []
        assert await find_entry(conn, "t/2") is None


async def test_an_overdraft_is_refused_and_leaves_no_trace(store: Store) -> None:
    await top_up(store, WALLET, 100)

    async def work(book: Book) -> None:
        with pytest.raises(InsufficientFundsError) as refused:
            await book.post(
                reference="too-much",
                kind="payment",
                moves=[transfer(WALLET, OTHER, vnd(60)), transfer(WALLET, OTHER, vnd(41))],
            )
        assert (refused.value.account, refused.value.balance, refused.value.amount) == ("wallet:1", vnd(40), vnd(41))
        assert (await book.balance(WALLET), await book.balance(OTHER)) == (vnd(100), vnd(0))
        await book.post(reference="too-much", kind="payment", moves=[transfer(WALLET, OTHER, vnd(100))])

    await booked(store, work)

    assert (await balance_of(store, WALLET), await balance_of(store, OTHER)) == (0, 100)
    await assert_sound(store)


async def test_an_overdraft_in_between_is_refused_even_if_the_sum_fits(store: Store) -> None:
    async def work(book: Book) -> None:
        with pytest.raises(InsufficientFundsError):
            await book.post(
                reference="spend-first",
                kind="payment",
                moves=[transfer(WALLET, SALES, vnd(50)), Move(BANK, WALLET, vnd(50))],
            )
        await book.post(
            reference="receive-first",
            kind="payment",
            moves=[Move(BANK, WALLET, vnd(50)), transfer(WALLET, SALES, vnd(50))],
        )

    await booked(store, work)

    assert await balance_of(store, WALLET) == 0
    await assert_sound(store)


async def test_an_account_that_may_go_negative_does(store: Store) -> None:
    await booked(
        store, lambda book: book.post(reference="r", kind="loan", moves=[transfer(CREDIT_LINE, WALLET, vnd(9))])
    )

    assert (await balance_of(store, CREDIT_LINE), await balance_of(store, WALLET)) == (-9, 9)
    await assert_sound(store)


async def test_a_reference_is_posted_once_for_ever(store: Store) -> None:
    await top_up(store, WALLET, 100, reference="once")

    async def again_in_one_book(book: Book) -> None:
        await book.post(reference="twice", kind="k", moves=[Move(BANK, WALLET, vnd(1))])
        with pytest.raises(DuplicateReferenceError):
            await book.post(reference="twice", kind="k", moves=[Move(BANK, WALLET, vnd(1))])

    async def again_later(book: Book) -> None:
        await book.post(reference="fresh", kind="k", moves=[Move(BANK, WALLET, vnd(1))])
        await book.post(reference="once", kind="k", moves=[Move(BANK, WALLET, vnd(1))])

    await booked(store, again_in_one_book)
    with pytest.raises(DuplicateReferenceError) as refused:
        await booked(store, again_later)

    assert refused.value.reference == "once"
    assert await balance_of(store, WALLET) == 101
    await assert_sound(store)


async def test_a_failed_delivery_drops_only_its_own_effects(store: Store) -> None:
    await top_up(store, WALLET, 100)

    async def work(book: Book) -> None:
        await book.post(reference="first", kind="k", moves=[transfer(WALLET, SALES, vnd(10))])
        mark = book.mark()
        await book.post(reference="second", kind="k", moves=[transfer(WALLET, OTHER, vnd(90))])
        await book.hold(OTHER, vnd(5), reference="hold")
        book.undo_to(mark)
        assert await book.balance(WALLET) == vnd(90)
        assert await book.find("second") is None
        assert await book.find_hold("hold") is None
        await book.post(reference="third", kind="k", moves=[transfer(WALLET, SALES, vnd(90))])

    await booked(store, work)

    async with store.reading() as conn:
        assert [entry.reference for entry in await list_entries(conn, account="wallet:1")][:2] == ["third", "first"]
        assert await find_entry(conn, "second") is None
    assert [await balance_of(store, account) for account in (WALLET, SALES, OTHER)] == [0, 100, 0]
    await assert_sound(store)


async def test_a_code_is_known_with_one_definition(store: Store) -> None:
    await top_up(store, WALLET, 100)
    others = [
        Account("wallet:1", "VND", "debit"),
        Account("wallet:1", "VND", "credit", may_go_negative=True),
        Account("wallet:1", "VND", "credit", running=False),
        Account("wallet:1", "JPY", "credit"),
        Account("bank:clearing", "VND", "debit"),
    ]

    for other in others:
        for known_first in (False, True):

            async def work(book: Book, other: Account = other, known_first: bool = known_first) -> None:
                if known_first:
                    await book.lock([WALLET, BANK])
                with pytest.raises(AccountMismatchError):
                    await book.lock([other])
                await book.lock([WALLET, BANK])
                assert await book.balance(WALLET) == vnd(100)

            await booked(store, work)


async def test_a_balance_out_of_bounds_is_refused(store: Store) -> None:
    big = vnd(10**15)
    steps = MONEY_MINOR_MAX // 10**15

    async def fill(book: Book) -> None:
        await book.post(reference="fill", kind="k", moves=[Move(BANK, WALLET, big)] * steps)
        with pytest.raises(InvalidEntryError):
            await book.post(reference="over", kind="k", moves=[Move(BANK, WALLET, vnd(1))])
        assert await book.balance(WALLET) == vnd(MONEY_MINOR_MAX)

    await booked(store, fill)

    await assert_sound(store)


async def test_an_entry_needs_moves_and_a_reference(store: Store) -> None:
    async def work(book: Book) -> None:
        for reference, kind, count in (
            ("r", "k", 0),
            ("r", "k", 1001),
            ("", "k", 1),
            ("x" * 301, "k", 1),
            ("r", "", 1),
        ):
            with pytest.raises(InvalidEntryError):
                await book.post(reference=reference, kind=kind, moves=[Move(BANK, WALLET, vnd(1))] * count)
        with pytest.raises(InvalidEntryError):
            await book.post(reference="r", kind="k", moves=[Move(BANK, WALLET.held, vnd(1))])

    await booked(store, work)

    async with store.reading() as conn:
        assert await list_entries(conn) == []


async def test_a_reversal_restores_every_balance_once(store: Store) -> None:
    await top_up(store, WALLET, 100)
    through = [transfer(WALLET, OTHER, vnd(100)), transfer(OTHER, SALES, vnd(100))]
    original = await booked(store, lambda book: book.post(reference="pay", kind="payment", moves=through))

    reversal = await booked(store, lambda book: book.reverse("pay", reference="pay:reversed"))

    assert (reversal.reverses, reversal.kind) == (original.id, "reversal")
    assert [await balance_of(store, account) for account in (WALLET, OTHER, SALES)] == [100, 0, 0]
    for number in (1, 2):
        with pytest.raises(AlreadyReversedError):
            await booked(store, lambda book, n=number: book.reverse("pay", reference=f"again:{n}"))  # type: ignore[misc]
    with pytest.raises(UnknownEntryError):
        await booked(store, lambda book: book.reverse("never", reference="x"))
    async with store.reading() as conn:
        assert await list_entries(conn, reversing=original.id) == [reversal]
    await assert_sound(store)


async def test_an_entry_of_the_same_batch_can_be_reversed(store: Store) -> None:
    async def work(book: Book) -> tuple[PostedEntry, PostedEntry]:
        posted = await book.post(reference="in", kind="k", moves=[Move(BANK, WALLET, vnd(5))])
        reversal = await book.reverse("in", reference="out")
        with pytest.raises(AlreadyReversedError):
            await book.reverse("in", reference="out-again")
        return posted, reversal

    posted, reversal = await booked(store, work)

    assert reversal.reverses == posted.id
    assert await balance_of(store, WALLET) == 0
    await assert_sound(store)


async def test_of_what_was_reversed_nothing_more_is_given_back(store: Store) -> None:
    await top_up(store, WALLET, 100, reference="in")
    await top_up(store, WALLET, 100)

    async def part_of(book: Book) -> None:
        entry = await book.find("in")
        assert entry is not None
        await book.post(reference="part", kind="refund", moves=[Move(WALLET, BANK, vnd(30))], reverses=entry.id)

    async def reverse(book: Book) -> None:
        await book.reverse("in", reference="out")
        with pytest.raises(AlreadyReversedError):
            await part_of(book)

    await booked(store, reverse)

    with pytest.raises(AlreadyReversedError):
        await booked(store, part_of)
    assert await balance_of(store, WALLET) == 100
    await assert_sound(store)


async def test_a_reversal_takes_the_corrections_of_its_entry_back_and_nothing_else(store: Store) -> None:
    async def original(book: Book) -> PostedEntry:
        return await book.post(reference="in", kind="top_up", moves=[Move(BANK, WALLET, vnd(100))], event_id=EVENT)

    entry = await booked(store, original)

    async def correct(book: Book) -> None:
        more, by = [Move(BANK, WALLET, vnd(5))], correction_reference
        await book.post(reference=by(entry.id, 1), kind=CORRECTION, moves=more, event_id=EVENT)
        # Named alike, of the same event: another entry all the same.
        await book.post(reference=by(entry.id, 2), kind="top_up", moves=[Move(BANK, OTHER, vnd(7))], event_id=EVENT)

    await booked(store, correct)
    await booked(store, lambda book: book.reverse("in", reference="out"))

    assert [await balance_of(store, account) for account in (WALLET, OTHER)] == [0, 7]
    await assert_sound(store)


async def test_what_was_partly_given_back_is_not_reversed_as_a_whole(store: Store) -> None:
    await top_up(store, WALLET, 100, reference="in")

    async def refund(book: Book) -> None:
        entry = await book.find("in")
        assert entry is not None
        await book.post(reference="refund:1", kind="refund", moves=[Move(WALLET, BANK, vnd(30))], reverses=entry.id)
        with pytest.raises(AlreadyReversedError):
            await book.reverse("in", reference="all-of-it")
        with pytest.raises(UnknownEntryError):
            await book.post(reference="r", kind="refund", moves=[Move(WALLET, BANK, vnd(1))], reverses=10**9)

    await booked(store, refund)

    with pytest.raises(AlreadyReversedError):
        await booked(store, lambda book: book.reverse("in", reference="all-of-it"))
    assert await balance_of(store, WALLET) == 70


async def test_a_reversal_that_would_overdraw_is_refused(store: Store) -> None:
    await top_up(store, WALLET, 100, reference="in")
    await booked(store, lambda b: b.post(reference="spent", kind="k", moves=[transfer(WALLET, SALES, vnd(1))]))

    with pytest.raises(InsufficientFundsError):
        await booked(store, lambda book: book.reverse("in", reference="back"))

    assert await balance_of(store, WALLET) == 99


async def test_a_book_goes_on_after_a_flush(store: Store) -> None:
    async def work(book: Book) -> None:
        await book.post(reference="1", kind="k", moves=[Move(BANK, WALLET, vnd(5))])
        await book.flush()
        await book.post(reference="2", kind="k", moves=[transfer(WALLET, SALES, vnd(5))])
        assert (await book.balance(BANK), await book.balance(SALES)) == (vnd(5), vnd(5))
        found = await book.find("1")
        assert found is not None
        assert found.posting_of(WALLET).after == vnd(5)

    await booked(store, work)

    assert await balance_of(store, WALLET) == 0
    await assert_sound(store)


async def test_slots_of_an_account_are_summed(store: Store) -> None:
    for slot in range(20):
        await booked(
            store,
            lambda book, n=slot: book.post(reference=f"r{n}", kind="k", moves=[Move(BANK, WALLET, vnd(1))]),  # type: ignore[misc]
            slot=slot,
        )

    assert await balance_of(store, BANK) == 20
    async with store.reading() as conn:
        slots = set(await conn.scalars(select(moves.c.debit_slot)))
        accounts = await list_accounts(conn, prefix="bank:")
    assert len(slots) == (8 if store.dialect == "postgresql" else 1)
    assert [(found.account, found.balance) for found in accounts] == [(BANK, vnd(20))]
    await assert_sound(store)


async def test_currencies_are_kept_apart_within_one_entry(store: Store) -> None:
    members = Account("members:yen", "JPY", "debit", running=False)

    await booked(
        store,
        lambda book: book.post(
            reference="mixed",
            kind="k",
            moves=[Move(BANK, WALLET, vnd(5)), Move(members, YEN, Money(3, "JPY"))],
        ),
    )

    assert await balance_of(store, YEN) == -3
    async with store.reading() as conn:
        assert [found.account.code for found in await list_accounts(conn, currency="JPY")] == [YEN.code, members.code]
    await assert_sound(store)


async def test_entries_are_paged_from_the_newest(store: Store) -> None:
    async def work(book: Book) -> None:
        for number in range(7):
            await book.post(reference=f"r{number}", kind=f"k{number % 2}", moves=[Move(BANK, WALLET, vnd(1))])

    await booked(store, work)

    async with store.reading() as conn:
        first = await list_entries(conn, account="wallet:1", limit=3)
        second = await list_entries(conn, account="wallet:1", limit=3, before_id=first[-1].id)
        odd = await list_entries(conn, account="wallet:1", kind="k1", limit=2, before_id=second[-1].id)
        codes = [found.account.code for found in await list_accounts(conn, after="bank:clearing")]
    assert [entry.reference for entry in first + second] == ["r6", "r5", "r4", "r3", "r2", "r1"]
    assert [entry.reference for entry in odd] == []
    assert codes == ["wallet:1"]


async def test_nothing_is_written_without_a_flush(store: Store) -> None:
    async def work(conn: object) -> None:
        book = Book(conn, now=NOW)  # type: ignore[arg-type]
        await book.post(reference="r", kind="k", moves=[Move(BANK, WALLET, vnd(1))])

    await store.write(work)

    async with store.reading() as conn:
        assert await conn.scalar(text("SELECT count(*) FROM entries")) == 0


async def test_accounts_glanced_at_are_known_where_they_are_and_opened_nowhere(store: Store) -> None:
    await booked(store, lambda book: book.lock([SALES]))

    async def work(book: Book) -> tuple[bool, bool]:
        await book.lock([WALLET], glance=[SALES, BANK])
        return book.has(SALES), book.has(BANK)

    assert await booked(store, work) == (True, False)
    async with store.reading() as conn:
        assert set(await conn.scalars(select(accounts.c.code))) == {SALES.code, WALLET.code}
