"""Laws of the books, tried with whatever hypothesis thinks of, against a model of a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import Account, Book, Hold, Move, transfer
from hub.ledger.errors import HoldClosedError, HoldExceededError, InsufficientFundsError, LedgerError
from hub.store.store import Store
from tests.integration.ledger.samples import NOW, assert_sound, vnd

EXAMPLES = 40
PLACES = ("bank", "sales", "line", "a", "b", "c")
_names = count()

amounts = st.integers(min_value=1, max_value=100)
places = st.sampled_from(PLACES)
numbers = st.integers(min_value=0, max_value=5)
steps = st.one_of(
    st.tuples(st.just("post"), st.lists(st.tuples(places, places, amounts), min_size=1, max_size=3)),
    st.tuples(st.just("hold"), st.sampled_from(["a", "b", "c"]), amounts),
    st.tuples(st.just("capture"), numbers, st.sampled_from(["sales", "a", "b"]), amounts),
    st.tuples(st.just("void"), numbers),
    st.tuples(st.just("reverse"), numbers),
)
deliveries = st.tuples(st.lists(steps, min_size=1, max_size=4), st.booleans())
batches = st.lists(st.lists(deliveries, min_size=1, max_size=4), min_size=1, max_size=4)


@dataclass
class Model:
    """What should be: balances in each account's own direction, and what is left in each hold."""

    prefix: str
    balances: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    holds: dict[str, tuple[str, int]] = field(default_factory=dict)
    entries: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)

    def copy(self) -> Model:
        return Model(self.prefix, dict(self.balances), dict(self.holds), dict(self.entries), set(self.reversed))

    def account(self, place: str) -> Account:
        side = "debit" if place == "bank" else "credit"
        return Account(
            f"{self.prefix}:{place}",
            "VND",
            "debit" if side == "debit" else "credit",
            running=place not in ("bank", "sales"),
            may_go_negative=place in ("bank", "sales", "line"),
        )

    def has_floor(self, place: str) -> bool:
        return place in ("a", "b", "c")

    def apply(self, moves: list[tuple[str, str, int]]) -> bool:
        """Debit the first, credit the second; False, and nothing done, where one falls below zero on the way."""
        balances = dict(self.balances)
        for debit, credit, amount in moves:
            for place, sign in ((debit, 1), (credit, -1)):
                balances[place] += amount * sign * (1 if place == "bank" else -1)
                if balances[place] < 0 and self.has_floor(place):
                    return False
        self.balances = balances
        return True


async def perform(book: Book, model: Model, step: tuple[object, ...]) -> None:
    """Do one step on the book and on the model; they must agree on whether it is allowed."""
    match step:
        case ("post", list(moves)):
            await _post(book, model, [move for move in moves if move[0] != move[1]])
        case ("hold", str(place), int(amount)):
            reference = f"{model.prefix}:hold:{next(_names)}"
            expected = model.balances[place] >= amount
            assert expected is await _allowed(book.hold(model.account(place), vnd(amount), reference=reference))
            if expected:
                model.balances[place] -= amount
                model.holds[reference] = (place, amount)
        case ("capture", int(number), str(target), int(amount)):
            await _capture(book, model, number, target, amount)
        case ("void", int(number)):
            await _void(book, model, number)
        case ("reverse", int(number)):
            await _reverse(book, model, number)


async def _allowed(attempt: object) -> bool:
    try:
        await attempt  # type: ignore[misc]
    except (InsufficientFundsError, HoldExceededError, HoldClosedError):
        return False
    return True


async def _post(book: Book, model: Model, moves: list[tuple[str, str, int]]) -> None:
    if not moves:
        return
    reference = f"{model.prefix}:entry:{next(_names)}"
    expected = model.apply(moves)
    written = [Move(model.account(debit), model.account(credit), vnd(amount)) for debit, credit, amount in moves]
    assert expected is await _allowed(book.post(reference=reference, kind="k", moves=written))
    if expected:
        model.entries[reference] = moves


async def _capture(book: Book, model: Model, number: int, target: str, amount: int) -> None:
    if number >= len(model.holds):
        return
    reference, (place, left) = list(model.holds.items())[number]
    name = f"{model.prefix}:capture:{next(_names)}"
    expected = left >= amount
    attempt = book.capture(reference, reference=name, to=model.account(target), amount=vnd(amount))
    assert expected is await _allowed(attempt)
    if expected:
        model.holds[reference] = (place, left - amount)
        model.balances[target] += amount


async def _void(book: Book, model: Model, number: int) -> None:
    if number >= len(model.holds):
        return
    reference, (place, left) = list(model.holds.items())[number]
    assert (left > 0) is await _allowed(book.void(reference))
    model.balances[place] += left
    model.holds[reference] = (place, 0)


async def _reverse(book: Book, model: Model, number: int) -> None:
    fresh = [reference for reference in model.entries if reference not in model.reversed]
    if number >= len(fresh):
        return
    reference = fresh[number]
    backwards = [(credit, debit, amount) for debit, credit, amount in reversed(model.entries[reference])]
    expected = model.apply(backwards)
    assert expected is await _allowed(book.reverse(reference, reference=f"{reference}:reversed"))
    if expected:
        model.reversed.add(reference)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches)
async def test_the_books_do_what_the_model_does(
    store: Store, batches: list[list[tuple[list[tuple[object, ...]], bool]]]
) -> None:
    model = Model(f"x{next(_names)}")

    for deliveries in batches:

        async def work(
            conn: AsyncConnection, deliveries: list[tuple[list[tuple[object, ...]], bool]] = deliveries
        ) -> None:
            nonlocal model
            book = Book(conn, now=NOW)
            for delivery, fails in deliveries:
                mark, before = book.mark(), model.copy()
                for step in delivery:
                    await perform(book, model, step)
                if fails:
                    book.undo_to(mark)
                    model = before
            await book.flush()

        await store.write(work)

    await assert_as_in(store, model)
    await assert_sound(store)


async def assert_as_in(store: Store, model: Model) -> None:
    """Balances, sums of postings and holds are those of the model."""
    held = dict.fromkeys(PLACES, 0)
    for place, left in model.holds.values():
        held[place] += left
    expected = model.balances | {f"{place}#held": amount for place, amount in held.items()}
    for query in (_BALANCES, _SUMS):
        async with store.reading() as conn:
            rows = await conn.execute(text(query), {"prefix": f"{model.prefix}:%"})
            found = {row[0].removeprefix(f"{model.prefix}:"): int(row[1]) for row in rows}
        assert {name: amount for name, amount in found.items() if amount} == {
            name: amount for name, amount in expected.items() if amount
        }


_BALANCES = (
    "SELECT code, sum(balance) FROM balances JOIN accounts ON id = account_id WHERE code LIKE :prefix GROUP BY code"
)
_SUMS = "SELECT code, sum(delta) FROM postings JOIN accounts ON id = account_id WHERE code LIKE :prefix GROUP BY code"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=1, max_value=100), st.lists(st.tuples(st.booleans(), amounts), min_size=1, max_size=8))
async def test_a_hold_never_gives_out_more_than_it_took(
    store: Store, amount: int, takes: list[tuple[bool, int]]
) -> None:
    model = Model(f"h{next(_names)}")
    wallet, sales = model.account("a"), model.account("sales")
    taken = 0

    async def begin(conn: AsyncConnection) -> Hold:
        book = Book(conn, now=NOW)
        await book.post(reference=f"{model.prefix}:in", kind="k", moves=[Move(model.account("bank"), wallet, vnd(100))])
        hold = await book.hold(wallet, vnd(amount), reference=f"{model.prefix}:hold")
        await book.flush()
        return hold

    await store.write(begin)
    for number, (in_own_transaction, part) in enumerate(takes):

        async def take(
            conn: AsyncConnection, number: int = number, part: int = part, flush: bool = in_own_transaction
        ) -> int:
            book = Book(conn, now=NOW)
            done = 0
            # Twice: the second sees what the first left, whether it is written or not.
            for half in (0, 1):
                name = f"{model.prefix}:{number}:{half}"
                try:
                    await book.capture(f"{model.prefix}:hold", reference=name, to=sales, amount=vnd(part))
                    done += part
                except LedgerError:
                    pass
                if flush:
                    await book.flush()
            await book.flush()
            return done

        taken += await store.write(take)

    assert taken <= amount
    model.balances |= {"bank": 100, "a": 100 - amount, "sales": taken}
    model.holds["hold"] = ("a", amount - taken)
    await assert_as_in(store, model)
    await assert_sound(store)


def test_the_model_knows_both_sides() -> None:
    model = Model("m")

    assert model.apply([("bank", "a", 5)])
    assert model.balances["bank"] == model.balances["a"] == 5
    assert transfer(model.account("a"), model.account("b"), vnd(1)).debit == model.account("a")
