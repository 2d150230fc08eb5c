"""The judge of a run: what must hold at every moment and in the end, told from the database and the providers' books.

It reads with SQL of its own and imports nothing of the hub, nor of what the hub runs. ``Judge.step`` looks at what has
changed since its last look, ``Judge.whole`` at everything, ``Judge.end`` at what must be true once all is done.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.books import Books
from tests.faults.exchange_judge import ALWAYS, Asked, Gift, against_asked, against_gifts, rows_of
from tests.faults.judge import FORBIDDEN, _order, recomputed

SUBJECTS_MAX = 4
FINAL = ("SUCCESS", "FAILED", "REJECTED")
FORWARDED = (
    "customer.card.changeBlockState",
    "customer.attribute.update",
    "customer.registration.begin",
    "customer.profile.merge",
    "purchases.confirm.modelUpdate",
    "purchases.refundModelUpdate",
)
ONCE = ("loymax", "shop-members", "paypal-commands")
"""Sources whose messages carry an id of their own: what came is there once, byte for byte."""

WHOLE: Mapping[str, str] = {
    **{rule: FORBIDDEN[rule] for rule in ALWAYS if rule != "no message contradicts another"},
    "an event is stored once": FORBIDDEN["an event is stored once"],
    "a message belongs to a delivery that is done": FORBIDDEN["a message belongs to a delivery that is done"],
    "a review belongs to a delivery that is done": FORBIDDEN["a review belongs to a delivery that is done"],
    "a message in a queue was in the outbox": """
        SELECT m.queue, m.message_id FROM local_messages m WHERE m.queue NOT LIKE 'hub.%'
        AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.message_id = m.message_id AND o.payload = m.payload)""",
    "a sent message is in its queue, byte for byte": """
        SELECT o.seq, o.destination FROM outbox o WHERE o.state = 'sent' AND o.destination <> 'paypal-records'
        AND NOT EXISTS (SELECT 1 FROM local_messages m WHERE m.message_id = o.message_id AND m.payload = o.payload)""",
    "a hold is never overspent": "SELECT reference FROM holds WHERE captured + released > amount",
    "what is held is what open holds hold": """
        SELECT a.code, b.balance, h.n FROM accounts a JOIN (SELECT account_id, sum(balance) AS balance FROM balances
        GROUP BY account_id) b ON b.account_id = a.id JOIN (SELECT held_account_id, sum(amount - captured - released)
        AS n FROM holds GROUP BY held_account_id) h ON h.held_account_id = a.id WHERE b.balance <> h.n""",
    "bonuses that moved are told": """
        SELECT e.reference FROM entries e WHERE e.reference LIKE 'loymax:purchase:%'
        AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.delivery_id = e.delivery_id)""",
    "a wallet that was credited is told": """
        SELECT e.reference FROM entries e WHERE e.kind = 'deposit' AND NOT EXISTS (
        SELECT 1 FROM inbox i WHERE i.cause = e.event_id AND i.type = 'wallet.credited')""",
    "a transfer in the books is on record": """
        SELECT e.reference FROM entries e WHERE e.reference LIKE 'sepay:transfer:%' AND NOT EXISTS (
        SELECT 1 FROM pay_bank_transactions t WHERE 'sepay:transfer:' || t.sepay_tx_id = e.reference)""",
    "points of an exchange that has ended are not held": """
        SELECT r.id FROM paypay_cashback_request r JOIN holds h ON h.reference LIKE 'paypay:exchange:%'
        AND replace(h.reference, '-', '') LIKE 'paypay:exchange:' || replace(CAST(r.id AS VARCHAR), '-', '') || ':%'
        WHERE r.status IN ('SUCCESS', 'FAILED', 'REJECTED') AND h.state = 'open'""",
    "a payment gives back no more than it took": """
        SELECT merchant_payment_id FROM paypay_payments WHERE refunded_jpy > coalesce(captured_jpy, 0)""",
    "a sale of PayPal's is in the books as it is on record": """
        SELECT p.payment_id FROM paypal_payments p WHERE p.state IN ('completed', 'refunded', 'partially_refunded')
        AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.reference = 'paypal:sale:' || p.payment_id)""",
    "an outcome is on record where a call has ended": """
        SELECT delivery_id, step FROM calls WHERE state IN ('settled', 'declined') AND settled_at IS NULL""",
}
"""Rule → a query for what breaks it, at any moment."""
LEFT: Mapping[str, str] = {
    "every delivery has ended": """
        SELECT d.id, r.name, d.state, d.reason FROM deliveries d JOIN routes r ON r.id = d.route_id
        WHERE d.state NOT IN ('done', 'discarded', 'refused')""",
    "every message is sent": "SELECT seq, destination, state, reason FROM outbox WHERE state NOT IN ('sent')",
    "no chain is blocked": "SELECT chain, state FROM blocked",
    "no chain of messages is blocked": "SELECT chain, state FROM outbox_blocked",
    "no barrier is left": "SELECT chain, delivery_id FROM barriers",
    "nothing lies unread": "SELECT queue, message_id FROM local_messages WHERE queue LIKE 'hub.%'",
}
"""The same for the end, when everybody has been answered and time has passed."""


@dataclass(frozen=True)
class Seen:
    """What the world knows, in plain values: what was answered, what was asked for, what the providers did."""

    accepted: Sequence[tuple[str, bytes]]
    sent: Mapping[str, int]
    answered: Mapping[str, int]
    refused: Sequence[tuple[str, int, str]]
    purchases: Mapping[str, tuple[str, int, int]]
    transfers: Mapping[int, int]
    exchanges: Mapping[str, tuple[str, str, int]]
    grants: Mapping[str, int]
    gifts: Mapping[str, str]
    """merchantCashbackId → what PayPay has decided."""
    gift_yen: Mapping[str, int]
    taken_jpy: Mapping[str, int]
    """merchantPaymentId → what PayPay has taken of it and not given back; 0 where it stands for nothing."""
    sales: Mapping[str, tuple[int, int]]
    """PayPal's sale → its amount, and what of that was given back, in cents."""
    invoices: Sequence[tuple[str, str, int]] = ()
    """Number, status and how many payments, of each invoice at PayPal."""


@dataclass
class Judge:
    """The judge of one run, who remembers how far the last look went."""

    books: Books
    _accounts: dict[int, tuple[str, str, bool, bool]] = field(default_factory=dict)
    _sums: defaultdict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    _last_move: int = 0
    _last_entry: int = 0
    _told: int = 0
    _final: dict[str, str] = field(default_factory=dict)

    async def step(self, seen: Seen) -> list[str]:
        """What is wrong with what has changed since the last look."""
        found = await self._moved()
        found += await self._answered(seen)
        found += await self._counted(seen)
        found += await self._undecided(seen)
        return found

    async def whole(self, seen: Seen) -> list[str]:
        """What is wrong with anything."""
        found = []
        for rule, query in WHOLE.items():
            if rows := await self.books.rows(query):
                found.append(_told(rule, map(str, map(tuple, rows))))
        found += await _order(self.books)
        found += await recomputed(self.books)
        found += await self._refused(seen)
        return found

    async def end(self, seen: Seen) -> list[str]:
        """What is wrong once everything is done."""
        found = []
        for rule, query in LEFT.items():
            if rows := await self.books.rows(query):
                found.append(_told(rule, map(str, map(tuple, rows))))
        found += await self._stored(seen)
        found += await self._bonuses(seen)
        found += await self._forwarded()
        found += await self._bank(seen)
        found += await self._exchanged(seen)
        found += await self._payments(seen)
        found += await self._sales(seen)
        return found

    # --- After every step --------------------------------------------------------------------------------------------

    async def _moved(self) -> list[str]:
        """New moves against the sums of all before them, and the balances of every account that they touch."""
        moves = await self.books.rows(
            "SELECT id, debit_account, debit_slot, debit_after, credit_account, credit_slot, credit_after, amount,"
            f" currency, entry_id FROM moves WHERE id > {self._last_move} ORDER BY id"
        )
        if not moves:
            return []
        for id_, code, side, running, negative, currency in await self.books.rows(
            "SELECT id, code, side, running, may_go_negative, currency FROM accounts"
        ):
            self._accounts[int(id_)] = (f"{code} {currency}", str(side), bool(running), bool(negative))
        found: list[str] = []
        touched: set[tuple[int, int]] = set()
        for _, debit, debit_slot, debit_after, credit, credit_slot, credit_after, amount, currency, _ in moves:
            for account, slot, delta, after in (
                (debit, debit_slot, int(amount), debit_after),
                (credit, credit_slot, -int(amount), credit_after),
            ):
                name, side, running, may_go_negative = self._accounts[account]
                self._sums[account, slot] += delta if side == "debit" else -delta
                total = self._sums[account, slot]
                touched.add((account, slot))
                if not name.endswith(f" {currency}"):
                    found.append(f"a move keeps its currency: {name} has {currency}")
                if running and after != total:
                    found.append(f"running balances are right: {name}: expected {total}, found {after}")
                if total < 0 and not may_go_negative:
                    found.append(f"no account with a floor goes below zero: {name}: {total}")
        ids = ",".join(str(account) for account in sorted({account for account, _ in touched}))
        for account, slot, balance in await self.books.rows(
            f"SELECT account_id, slot, balance FROM balances WHERE account_id IN ({ids})"
        ):
            if int(balance) != self._sums[account, slot]:
                found.append(
                    f"a balance is the sum of its moves: {self._accounts[account][0]}: "
                    f"expected {self._sums[account, slot]}, found {balance}"
                )
        self._last_move = int(moves[-1][0])
        return found + await self._entries()

    async def _entries(self) -> list[str]:
        rows = await self.books.rows(
            "SELECT e.id, e.reference, e.move_count, d.state, (SELECT count(*) FROM moves m WHERE m.entry_id = e.id),"
            " (SELECT count(*) FROM entries o WHERE o.reference = e.reference) FROM entries e"
            f" LEFT JOIN deliveries d ON d.id = e.delivery_id WHERE e.id > {self._last_entry} ORDER BY e.id"
        )
        found = []
        for id_, reference, wanted, state, moves, times in rows:
            self._last_entry = max(self._last_entry, int(id_))
            if moves != wanted:
                found.append(f"an entry has all its moves: {reference}: {moves} of {wanted}")
            if times != 1:
                found.append(f"one effect per business key: {reference} is posted {times} times")
            if state not in ("done", "calling"):
                found.append(f"an entry belongs to a delivery that is done: {reference}: {state}")
        return found

    async def _answered(self, seen: Seen) -> list[str]:
        """What was answered with 2xx since the last look is there."""
        found = []
        new, self._told = seen.accepted[self._told :], len(seen.accepted)
        for source, body in new:
            if source in ("command", "sepay"):
                continue
            [[times]] = await self.books.rows(
                f"SELECT count(*) FROM inbox WHERE source = '{source}' AND payload = {_literal(self.books, body)}"
            )
            waits = 0
            if not times and source == "loymax":
                [[waits]] = await self.books.rows(
                    "SELECT count(*) FROM local_messages WHERE queue = 'hub.loymax'"
                    f" AND payload = {_literal(self.books, body)}"
                )
            if times + waits < 1 or (source in ONCE and times > 1):
                found.append(f"what was accepted is stored: {source}: {times} times: {body[:60]!r}")
        return found

    async def _counted(self, seen: Seen) -> list[str]:
        """received = duplicates + conflicts + events, and nothing is counted that was never sent."""
        rows = await self.books.rows(FORBIDDEN["received = duplicates + conflicts + events"])
        found = [f"every received byte is in exactly one state: {tuple(row)}" for row in rows]
        for source, total in await self.books.rows("SELECT source, sum(received) FROM received_totals GROUP BY source"):
            if source in ("paypal", "paypay", "shop-members") and not (
                seen.answered.get(source, 0) <= int(total) <= seen.sent.get(source, 0)
            ):
                found.append(
                    f"as many are counted as came: {source}: {seen.answered.get(source, 0)} answered, {total} counted,"
                    f" {seen.sent.get(source, 0)} sent"
                )
        return found

    async def _undecided(self, seen: Seen) -> list[str]:
        """Unknown never becomes failed, or settled, without PayPay's word; what has ended stays as it is."""
        found = []
        for gift, status in await self.books.rows("SELECT merchant_cashback_id, status FROM paypay_cashback_request"):
            decided = seen.gifts.get(gift)
            if status in ("FAILED", "REJECTED") and decided == "SUCCESS":
                found.append(f"no outcome is guessed: {gift} is {status}, and PayPay has given it")
            if status == "SUCCESS" and decided != "SUCCESS":
                found.append(f"no outcome is guessed: {gift} is {status}, and PayPay says {decided}")
            if self._final.get(gift, status) != status:
                found.append(f"an outcome is final: {gift} was {self._final[gift]} and is {status}")
            if status in FINAL:
                self._final[gift] = status
        return found

    # --- Everything --------------------------------------------------------------------------------------------------

    async def _refused(self, seen: Seen) -> list[str]:
        """What was refused has left nothing behind."""
        keys = {
            f"{member} {key}"
            for member, key in await self.books.rows("SELECT member_id, idempotency_key FROM paypay_cashback_request")
        }
        orders = {str(key) for (key,) in await self.books.rows("SELECT idempotency_key FROM paypay_payments")}
        names = [(name, words) for name, _, words in seen.refused]
        left = [name for name, _ in names if name.removeprefix("exchange ") in keys]
        left += [name for name, _ in names if name.startswith("payment ") and f"order-{name[8:]}" in orders]
        return [_told("a refusal changes nothing", left)] if left else []

    # --- The end -----------------------------------------------------------------------------------------------------

    async def _stored(self, seen: Seen) -> list[str]:
        rows = await self.books.rows("SELECT source, payload FROM inbox")
        stored = Counter((str(source), bytes(payload)) for source, payload in rows)
        wrong = [
            f"{source} {body[:60]!r} is there {stored[source, body]} times"
            for source, body in dict.fromkeys((source, bytes(body)) for source, body in seen.accepted)
            if (source in ONCE and stored[source, body] != 1)
            or (source not in (*ONCE, "command", "sepay") and stored[source, body] < 1)
        ]
        ids = {json.loads(bytes(payload)).get("id") for source, payload in rows if source == "sepay"}
        transfers = [body for source, body in seen.accepted if source == "sepay"]
        wrong += [f"sepay {body[:60]!r}" for body in transfers if json.loads(body)["id"] not in ids]
        return [_told("nothing accepted is lost", wrong)] if wrong else []

    async def _bonuses(self, seen: Seen) -> list[str]:
        """Each purchase has moved what its cheque says, once."""
        sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for reference, debit, credit, amount in await self.books.rows(
            "SELECT e.reference, d.code, c.code, m.amount FROM moves m JOIN entries e ON e.id = m.entry_id"
            " JOIN accounts d ON d.id = m.debit_account JOIN accounts c ON c.id = m.credit_account"
            " WHERE e.reference LIKE 'loymax:purchase:%'"
        ):
            if debit == "loymax:rewards":
                sums[str(reference)]["rewarded"] += int(amount)
            if credit == "loymax:redeemed":
                sums[str(reference)]["spent"] += int(amount)
        accepted = {
            str(json.loads(body)["purchaseOperationInfo"]["purchaseData"]["purchaseId"])
            for source, body in seen.accepted
            if source == "loymax" and b"purchaseOperationInfo" in body
        }
        wrong = [
            f"{id_}: expected {reward} and {spent}, found {dict(sums[f'loymax:purchase:{id_}'])}"
            for id_, (_, reward, spent) in seen.purchases.items()
            if id_ in accepted
            and (sums[f"loymax:purchase:{id_}"]["rewarded"], sums[f"loymax:purchase:{id_}"]["spent"]) != (reward, spent)
        ]
        return [_told("a purchase moves what its cheque says", wrong)] if wrong else []

    async def _forwarded(self) -> list[str]:
        """The downstream queue has every event of a member once, byte for byte, in the order of acceptance."""
        kinds = ", ".join(f"'{kind}'" for kind in FORWARDED)
        came = await self.books.rows(
            f"SELECT key, payload FROM inbox WHERE source = 'loymax' AND type IN ({kinds}) ORDER BY seq"
        )
        keys = {bytes(payload): str(key) for key, payload in came}
        wanted: defaultdict[str, list[bytes]] = defaultdict(list)
        for key, payload in came:
            wanted[str(key)].append(bytes(payload))
        lie: defaultdict[str, list[bytes]] = defaultdict(list)
        for (payload,) in await self.books.rows(
            "SELECT payload FROM local_messages WHERE queue = 'smc.customerEvents' ORDER BY id"
        ):
            lie[keys.get(bytes(payload), "nobody's")].append(bytes(payload))
        wrong = [key for key in {*wanted, *lie} if wanted[key] != lie[key]]
        return [_told("order per chain: members' events are forwarded as they came", sorted(wrong))] if wrong else []

    async def _bank(self, seen: Seen) -> list[str]:
        """Every transfer that the bank has booked is in the books once, for its amount."""
        rows = await self.books.rows(
            "SELECT e.reference, sum(m.amount) FROM entries e JOIN moves m ON m.entry_id = e.id"
            " WHERE e.reference LIKE 'sepay:transfer:%' GROUP BY e.reference"
        )
        booked = {int(str(reference).rpartition(":")[2]): int(amount) for reference, amount in rows}
        wrong = [
            f"{id_}: the bank has {seen.transfers.get(id_)}, the books {booked.get(id_)}"
            for id_ in sorted({*booked, *seen.transfers})
            if booked.get(id_) != seen.transfers.get(id_)
        ]
        return [_told("what the bank has is in the books", wrong)] if wrong else []

    async def _exchanged(self, seen: Seen) -> list[str]:
        """Every exchange as PayPay did it, and every point somewhere."""
        rows = await rows_of(self.books)
        keys = {row.key for row in rows}
        asked = [
            Asked(key.split(" ")[1], member, device, points)
            for key, (member, device, points) in seen.exchanges.items()
            if key in keys
        ]
        gifts = [Gift(id_, seen.gift_yen[id_], decision) for id_, decision in seen.gifts.items()]
        found = against_asked(rows, asked) + against_gifts(rows, gifts)
        [[granted]] = await self.books.rows(
            "SELECT coalesce(sum(b.balance), 0) FROM balances b JOIN accounts a ON a.id = b.account_id"
            " WHERE a.code = 'paypay:points:issued'"
        )
        if int(granted) != sum(seen.grants.values()):
            found.append(f"points are granted once: {granted} of {sum(seen.grants.values())}")
        return found

    async def _payments(self, seen: Seen) -> list[str]:
        """What PayPay owes us is what it has taken and not given back, payment by payment, unless a person looks."""
        rows = await self.books.rows(
            "SELECT merchant_payment_id, status, coalesce(captured_jpy, 0), refunded_jpy FROM paypay_payments"
        )
        wrong = []
        for id_, status, captured, refunded in rows:
            if status in ("MANUAL", "REFUND_UNKNOWN"):
                continue
            if int(captured) - int(refunded) != seen.taken_jpy.get(str(id_), 0):
                wrong.append(f"{id_} {status}: {captured} - {refunded}, PayPay {seen.taken_jpy.get(str(id_), 0)}")
        return [_told("a payment stands as PayPay says", wrong)] if wrong else []

    async def _sales(self, seen: Seen) -> list[str]:
        """Every sale of PayPal's is earned once, less what was given back, and has one invoice at most."""
        rows = await self.books.rows("SELECT p.payment_id, p.amount_minor, p.refunded_minor FROM paypal_payments p")
        on_record = {str(id_): (int(amount), int(back)) for id_, amount, back in rows}
        wrong = [
            f"{id_}: PayPal {seen.sales.get(id_)}, on record {on_record.get(id_)}"
            for id_ in sorted({*on_record, *seen.sales})
            if on_record.get(id_) != seen.sales.get(id_)
        ]
        found = [_told("a sale stands as PayPal says", wrong)] if wrong else []
        [[earned]] = await self.books.rows(
            "SELECT coalesce(sum(b.balance), 0) FROM balances b JOIN accounts a ON a.id = b.account_id"
            " WHERE a.code LIKE 'paypal:revenue:%'"
        )
        if int(earned) != sum(amount - back for amount, back in seen.sales.values()):
            found.append(f"what PayPal has paid is earned: {earned}")
        numbers = Counter(number for number, _, _ in seen.invoices)
        twice = [number for number, times in numbers.items() if times > 1]
        twice += [number for number, _, payments in seen.invoices if payments > 1]
        if twice:
            found.append(_told("a sale has one invoice, paid once", twice))
        return found


def _literal(books: object, body: bytes) -> str:
    return f"x'{body.hex()}'" if "Sqlite" in type(books).__name__ else f"'\\x{body.hex()}'::bytea"


def _told(rule: str, subjects: Iterable[str]) -> str:
    every = list(subjects)
    more = f"; and {len(every) - SUBJECTS_MAX} more" if len(every) > SUBJECTS_MAX else ""
    return f"{rule}: {'; '.join(every[:SUBJECTS_MAX])}{more}"
