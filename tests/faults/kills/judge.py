"""The judge of a run over all five systems: from PostgreSQL, from what consumers got, and from the providers' books.

It reads with SQL of its own and imports nothing of the hub. What holds of every hub is in ``tests/faults/judge.py``,
what each system proves in ``tests/simulation/judge.py``; here stands what a real broker and two hubs add.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.faults.judge import FORBIDDEN, recomputed
from tests.simulation.judge import LEFT, WHOLE, Judge, Seen

QUEUES: Final[Mapping[str, str]] = {
    "smart-communications": "smc.customerEvents",
    "loymax-registration": "loymax.registration",
    "loymax-cards": "loymax.cards",
    "loymax-purchases": "loymax.purchases",
    "loymax-profile": "loymax.profile",
    "loymax-other": "loymax.other",
    "fraud-desk": "fraud.purchases",
    "loyalty": "loyalty.platform",
    "wallet-events": "wallet.platform",
    "shop-events": "shop.platform",
    "sepay-answers": "sepay.command.answers",
    "sepay-review": "sepay.needs_review",
    "paypal-verified": "paypal.webhook.verified",
    "paypal-errors": "paypal.webhook.error",
    "paypal-answers": "paypal.subscription.answers",
    "paypal-invoices": "paypal.invoices",
    "paypay-answers": "paypay.command.answers",
    "paypay-results": "paypay.results",
}
"""Destination → the queue that its messages are read from. What goes to ``paypal-records`` the hub reads itself."""
RECORDS: Final = ("paypal-record-table", "paypal-record-slack", "paypal-record-mail")
NOT_HERE: Final = frozenset(
    {
        # Others are told of what was given up, hints of PayPay's may be refused; both have ended.
        "every delivery is done",
        # Schedules and authorizations wait for their time.
        "no timer is left",
        # A request whose answer was lost stays unknown on its own record: another one, a look, has found out.
        "no call is open",
        # There are no embedded queues.
        "a message in a queue was in the outbox",
        "a sent message is in its queue, byte for byte",
        "nothing lies unread",
    }
)
HERE: Final[Mapping[str, str]] = {
    "a member who was merged has nothing left": """
        SELECT a.code, b.balance FROM balances b JOIN accounts a ON a.id = b.account_id
        WHERE a.code LIKE 'loymax:bonus:%' AND b.balance <> 0
        AND split_part(a.code, ':', 3) IN (SELECT member_id::text FROM loymax_members WHERE merged_into IS NOT NULL)""",
}
RULES: Final[Mapping[str, str]] = {
    rule: query for rule, query in {**FORBIDDEN, **WHOLE, **LEFT, **HERE}.items() if rule not in NOT_HERE
}
SUBJECTS_MAX: Final = 5
BIG: Final = "SET work_mem = '256MB'"
"""Or a hundred thousand ids that must not be among others are looked for one by one."""


@dataclass(frozen=True, slots=True)
class EventSent:
    """An event of Loymax' as its sender knows it: of which member it was the ``number``-th; 0 where of none."""

    digest: bytes
    member: int
    number: int
    is_forwarded: bool


@dataclass(frozen=True)
class Evidence:
    """What the outside world knows beside ``Seen``."""

    seen: Seen
    events: Sequence[EventSent]
    arrived: Mapping[str, Mapping[str, bytes]]
    """Queue → message id → digest of its body, in the order in which each came for the first time."""
    changed: Sequence[str]
    without_id: int
    paid: Mapping[str, int]
    price: int
    orders: Mapping[str, str]
    wishes: Iterable[str]
    subscriptions: Sequence[str]
    """Whose they are, at PayPal."""
    payments: Iterable[str]


class KillsJudge(Judge):
    """The judge of one run, asked once, when all is quiet."""

    async def everything(self, evidence: Evidence) -> list[str]:
        """Every violation in words; an empty list when all promises held."""
        seen = evidence.seen
        await self.books.rows(BIG)
        found = []
        for rule, query in RULES.items():
            if rows := await self.books.rows(query):
                found.append(told(rule, (str(tuple(row)) for row in rows)))
        found += await recomputed(self.books)
        for look in (
            self._counted, self._undecided, self._stored, self._bonuses, self._bank, self._exchanged, self._payments,
            self._sales,
        ):  # fmt: skip
            found += await look(seen)
        found += await self._consumed(evidence)
        found += members_in_order(evidence)
        found += await self._recorded()
        found += await self._wallets(evidence)
        found += await self._asked(evidence)
        return list(dict.fromkeys(found))

    async def _consumed(self, evidence: Evidence) -> list[str]:
        """Every message came, under its one id, byte for byte, and each chain in its order; nothing else came."""
        found = [told("a repeat is the same message", evidence.changed)] if evidence.changed else []
        if evidence.without_id:
            found.append(f"every message has an id: {evidence.without_id} have none")
        stored: defaultdict[str, dict[str, tuple[int, int, bytes]]] = defaultdict(dict)
        for destination, seq, chain, message_id, digest in await self.books.rows(
            "SELECT destination, seq, chain, message_id, substr(sha256(payload), 1, 16) FROM outbox"
            " WHERE destination <> 'paypal-records' ORDER BY seq"
        ):
            stored[QUEUES[str(destination)]][str(message_id)] = (int(seq), int(chain), bytes(digest))
        for queue in {*stored, *evidence.arrived}:
            found += compared(queue, stored[queue], evidence.arrived.get(queue, {}))
        return found

    async def _recorded(self) -> list[str]:
        """What the hub publishes for itself comes back in by each of its three readers, once."""
        rows = await self.books.rows(
            "SELECT s.source, o.message_id, count(i.seq) FROM outbox o"
            f" CROSS JOIN (VALUES {_values(RECORDS)}) s(source)"
            " LEFT JOIN inbox i ON i.source = s.source AND i.payload = o.payload WHERE o.destination = 'paypal-records'"
            " GROUP BY s.source, o.message_id HAVING count(i.seq) <> 1"
        )
        return [told("a record is read once by each reader", (str(tuple(row)) for row in rows))] if rows else []

    async def _wallets(self, evidence: Evidence) -> list[str]:
        """A user's wallet has what the bank booked for it, less the orders that are paid; an order has one licence."""
        rows = await self.books.rows(
            "SELECT w.user_id, coalesce((SELECT sum(b.balance) FROM balances b JOIN accounts a ON a.id = b.account_id"
            " WHERE a.code = 'sepay:wallet:' || w.id), 0), (SELECT coalesce(sum(o.total_amount), 0)"
            " FROM pay_symbol_orders o WHERE o.user_id = w.user_id AND o.status = 'paid') FROM pay_wallets w"
        )
        wallets = {str(user): (int(balance), int(paid)) for user, balance, paid in rows}
        wrong = [
            f"{user}: the bank {evidence.paid.get(user, 0)}, wallet and paid orders {wallets.get(user)}"
            for user in sorted({*evidence.paid, *wallets})
            if evidence.paid.get(user, 0) != sum(wallets.get(user, (0, 0)))
        ]
        found = [told("a wallet has what was paid in, less what was bought", wrong)] if wrong else []
        stored = await self.books.rows("SELECT request_id, user_id, status, total_amount FROM pay_symbol_orders")
        times = Counter(str(name) for name, *_ in stored)
        wrong = [f"{name}: {times[name]} times" for name in {*evidence.orders, *times} if times[name] != 1]
        wrong += [
            f"{name}: {tuple(rest)}"
            for name, *rest in stored
            if rest[0] != evidence.orders.get(str(name)) or int(rest[2]) != evidence.price
        ]
        return found + ([told("an order is there once, as it was asked for", wrong)] if wrong else [])

    async def _asked(self, evidence: Evidence) -> list[str]:
        """What was asked of PayPay and PayPal, and said yes to, is there once on both sides."""
        names = {f"{m} {k}" for m, k in await self.books.rows(
            "SELECT member_id, idempotency_key FROM paypay_cashback_request")}  # fmt: skip
        lost = sorted({*evidence.seen.exchanges} - names)
        found = [told("an exchange that was accepted is there", lost)] if lost else []
        kept = Counter(str(key) for (key,) in await self.books.rows("SELECT idempotency_key FROM paypay_payments"))
        wrong = sorted(key for key in evidence.payments if kept[key] != 1)
        found += [told("a payment that was accepted is there once", wrong)] if wrong else []
        here = Counter(str(one) for (one,) in await self.books.rows("SELECT custom_id FROM paypal_subscriptions"))
        there = Counter(evidence.subscriptions)
        wrong = [
            f"{one}: {there[one]} at PayPal, {here[one]} on record"
            for one in sorted({*evidence.wishes, *there, *here})
            if (there[one], here[one]) != (1, 1)
        ]
        return found + ([told("a wish becomes one subscription", wrong)] if wrong else [])


def compared(queue: str, stored: Mapping[str, tuple[int, int, bytes]], arrived: Mapping[str, bytes]) -> list[str]:
    """What is wrong with what came from one queue. ``stored``: message id → place in the outbox, chain, digest."""
    found = []
    lost = [one for one in stored if one not in arrived]
    strange = [one for one in arrived if one not in stored]
    changed = [one for one, (_, _, digest) in stored.items() if arrived.get(one, digest) != digest]
    for rule, subjects in (
        ("every message comes", lost),
        ("what comes was in the outbox", strange),
        ("a message comes as it was stored", changed),
    ):
        if subjects:
            found.append(told(f"{rule}: {queue}", subjects))
    last: dict[int, int] = {}
    late = []
    for one in arrived:
        seq, chain, _ = stored.get(one, (0, 0, b""))
        if seq < last.get(chain, 0):
            late.append(f"{one} ({seq} after {last[chain]})")
        last[chain] = max(seq, last.get(chain, 0))
    return [*found, told(f"a chain keeps its order: {queue}", late)] if late else found


def members_in_order(evidence: Evidence) -> list[str]:
    """Downstream has each member's events once, under one id, in the order in which they were sent."""
    sent = {one.digest: one for one in evidence.events if one.is_forwarded}
    arrived = list(evidence.arrived.get("smc.customerEvents", {}).values())
    times = Counter(arrived)
    found = []
    if wrong := [f"{one.member}: {one.number}" for one in sent.values() if times[one.digest] != 1]:
        found.append(told("an accepted event of a member is told under one id", wrong))
    if strange := [digest.hex() for digest in times if digest not in sent]:
        found.append(told("what is told of members was sent", strange))
    last: dict[int, int] = {}
    late = []
    for digest in arrived:
        if (one := sent.get(digest)) is not None:
            if one.number < last.get(one.member, 0):
                late.append(f"{one.member}: {one.number} after {last[one.member]}")
            last[one.member] = max(one.number, last.get(one.member, 0))
    return [*found, told("a member's events are told in the order in which they were sent", late)] if late else found


def _values(names: Sequence[str]) -> str:
    return ", ".join(f"('{name}')" for name in names)


def told(rule: str, subjects: Iterable[str]) -> str:
    """A violation with some of those whom it concerns."""
    every = list(subjects)
    more = f"; and {len(every) - SUBJECTS_MAX} more" if len(every) > SUBJECTS_MAX else ""
    return f"{rule}: {'; '.join(every[:SUBJECTS_MAX])}{more}"
