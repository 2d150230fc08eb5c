"""The judge of exchanges: whether every member got what the points were worth, once, whatever PayPay and the hubs did.

It reads the database with plain SQL and what PayPay's own books say in the end, and imports nothing of the hub. What
holds of every ledger is in ``judge.py``; here stands what exchanges prove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.books import Books
from tests.faults.judge import FORBIDDEN, recomputed

SUBJECTS_MAX = 5
YEN_PER_100_POINTS: Mapping[str, int] = {"PC": 50, "APP": 100}
ALWAYS = (
    "received = duplicates + conflicts + events",
    "no message contradicts another",
    "an id is stored once per source",
    "every matching route has its delivery",
    "one delivery per event and route",
    "a message is stored once",
    "a reference is posted once",
    "an entry belongs to a delivery that is done",
    "an entry has all its moves",
    "a move belongs to an entry",
    "a move keeps its currency",
    "balances of a currency sum to zero",
)
"""Of the rules for every hub those that hold at any moment: sweeps and timers are still to come when this is judged."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One exchange that the hub has said yes to."""

    key: str
    member: str
    device: str
    points: int

    @property
    def yen(self) -> int:
        return self.points * YEN_PER_100_POINTS[self.device] // 100


@dataclass(frozen=True, slots=True)
class Gift:
    """What PayPay's books say of a cashback: under which id, how much, and what PayPay has decided."""

    id: str
    yen: int
    decision: str


@dataclass(frozen=True, slots=True)
class Row:
    """An exchange as the hub's database has it, with what its holds have come to."""

    key: str
    gift: str
    status: str
    points: int
    yen: int
    has_parent: bool
    waits_for_person: bool
    held: int
    captured: int
    released: int

    @property
    def is_final(self) -> bool:
        return self.status in ("SUCCESS", "FAILED", "REJECTED")

    @property
    def is_waiting(self) -> bool:
        """A person has been told of it."""
        return not self.is_final and self.waits_for_person


@dataclass(frozen=True, slots=True)
class Figure:
    """What a run has come to, in numbers."""

    exchanges: int
    granted: int
    granted_yen: int
    captured_yen: int
    released: int
    waiting: int
    doubtful_yen: int = 0
    """Of what was granted, what belongs to exchanges that wait: their points are held still."""

    def __str__(self) -> str:
        return (
            f"{self.exchanges} exchanges: {self.granted} granted, {self.released} released, {self.waiting} wait for a"
            f" person; PayPay gave {self.granted_yen} yen, {self.doubtful_yen} of them to those who wait;"
            f" captured points are worth {self.captured_yen}"
        )


async def rows_of(books: Books) -> list[Row]:
    """Every exchange, with the sums of its holds."""
    found = await books.rows(
        "SELECT r.member_id || ' ' || r.idempotency_key, r.merchant_cashback_id, r.status, r.points, r.amount_jpy,"
        " r.parent_id IS NOT NULL, r.review_event_id IS NOT NULL, coalesce(sum(h.amount), 0),"
        " coalesce(sum(h.captured), 0), coalesce(sum(h.released), 0)"
        " FROM paypay_cashback_request r"
        # SQLite has the ids of rows without dashes.
        " LEFT JOIN holds h ON replace(h.reference, '-', '')"
        " LIKE 'paypay:exchange:' || replace(CAST(r.id AS text), '-', '') || ':%'"
        " GROUP BY r.id, r.member_id, r.idempotency_key, r.merchant_cashback_id, r.status, r.points, r.amount_jpy,"
        " r.parent_id, r.review_event_id"
    )
    return [
        Row(str(key), str(gift), str(status), int(points), int(yen), bool(child), bool(review), *map(int, sums))
        for key, gift, status, points, yen, child, review, *sums in found
    ]


async def open_exchanges(books: Books) -> int:
    """How many have neither ended nor wait for a person."""
    [[number]] = await books.rows(
        "SELECT count(*) FROM paypay_cashback_request"
        " WHERE status NOT IN ('SUCCESS', 'FAILED', 'REJECTED') AND review_event_id IS NULL"
    )
    return int(number)


async def judge_exchanges(books: Books, asked: Sequence[Asked], gifts: Sequence[Gift]) -> tuple[Figure, list[str]]:
    """The figure of the run, and every violation in words: none when all promises held."""
    rows = await rows_of(books)
    found = []
    for rule in ALWAYS:
        if broken := await books.rows(FORBIDDEN[rule]):
            found.append(f"{rule}: {_some(str(tuple(row)) for row in broken)}")
    found += await recomputed(books)
    found += against_asked(rows, asked)
    found += against_gifts(rows, gifts)
    figure = figure_of(rows, asked, gifts)
    if figure.granted_yen - figure.doubtful_yen != figure.captured_yen:
        found.append(f"what PayPay gave is what captured points are worth: {figure}")
    return figure, found


def figure_of(rows: Sequence[Row], asked: Sequence[Asked], gifts: Sequence[Gift]) -> Figure:
    """The run in numbers; what captured points are worth is told by the published rates, not by the hub."""
    devices = {f"{one.member} {one.key}": one.device for one in asked}
    granted = [gift for gift in gifts if gift.decision == "SUCCESS"]
    waiting = {row.gift for row in rows if row.is_waiting}
    return Figure(
        exchanges=len(rows),
        granted=len(granted),
        granted_yen=sum(gift.yen for gift in granted),
        captured_yen=sum(row.captured * YEN_PER_100_POINTS[devices.get(row.key, "PC")] // 100 for row in rows),
        released=sum(bool(row.released) for row in rows),
        waiting=len(waiting),
        doubtful_yen=sum(gift.yen for gift in granted if gift.id in waiting),
    )


def against_asked(rows: Sequence[Row], asked: Sequence[Asked]) -> list[str]:
    """Whatever was answered yes is one exchange, for what it was asked for, and nothing else is."""
    wanted = {f"{one.member} {one.key}": one for one in asked}
    times = Counter(row.key for row in rows)
    found = _told("an exchange that was accepted is there once", (key for key in wanted if times[key] != 1))
    found += _told("an exchange was asked for", (key for key in times if key not in wanted))
    found += _told("nothing is tried again under a new id by itself", (row.key for row in rows if row.has_parent))
    wrong = (row.key for row in rows if (one := wanted.get(row.key)) and (row.points, row.yen) != (one.points, one.yen))
    found += _told("points are worth what is published", wrong)
    return found


def against_gifts(rows: Sequence[Row], gifts: Sequence[Gift]) -> list[str]:
    """Each exchange against what PayPay did: at most one grant, points captured exactly where there is one."""
    by_id = {gift.id: gift for gift in gifts}
    known = {row.gift for row in rows}
    granted = Counter(gift.id for gift in gifts if gift.decision == "SUCCESS")
    found = _told("a grant belongs to an exchange", (id for id in granted if id not in known))
    found += _told("an exchange is granted once", (id for id, number in granted.items() if number > 1))
    found += _told(
        "an exchange has ended, or a person was told",
        (row.key for row in rows if not row.is_final and not row.is_waiting),
    )
    found += _told("all points of an exchange were held", (row.key for row in rows if row.held != row.points))
    for row in rows:
        gift = by_id.get(row.gift)
        is_granted = gift is not None and gift.decision == "SUCCESS"
        if gift is not None and gift.yen != row.yen:
            found.append(f"PayPay gave what was asked for: {row.key}: {gift.yen} of {row.yen}")
        wanted = {"SUCCESS": (row.points, 0), "FAILED": (0, row.points), "REJECTED": (0, row.points)}
        if (row.captured, row.released) != wanted.get(row.status, (0, 0)):
            found.append(f"points follow the state: {row.key}: {row.status}, {row.captured} taken, {row.released} back")
        if row.is_final and (row.status == "SUCCESS") != is_granted:
            found.append(f"an exchange ends as PayPay says: {row.key}: {row.status}, granted: {is_granted}")
    return found


def _told(rule: str, subjects: Iterable[str]) -> list[str]:
    broken = list(subjects)
    return [f"{rule}: {_some(broken)}"] if broken else []


def _some(subjects: Iterable[str]) -> str:
    known = list(subjects)
    return f"{len(known)}: {', '.join(known[:SUBJECTS_MAX])}"
