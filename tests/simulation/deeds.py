"""What happens in a run, by the seed: what members, users, buyers and operators do, and what befalls the machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from handlers.paypal import sandbox_deeds as paypal_deeds
from handlers.sepay.bank_values import bank_time_text
from hub.transports import OutboundMessage
from tests.faults.line import Answer
from tests.simulation import broker
from tests.simulation.chance import Chance, Weather
from tests.simulation.gate import ConnectionLost, DiskFull, SerializationFailure
from tests.simulation.world import ADMIN, BATCH, WEBHOOK, Parcel, World, bearer, cloud_batch

STEPS: Final = 24
MEMBERS: Final = 8
USERS: Final = 6
SHOPPERS: Final = 5
BUYERS: Final = 1
PURCHASES: Final = 20
REFUNDS: Final = 6
BURSTS: Final = 10
BURST: Final = 7
"""How many events come in one burst."""
TOPUPS: Final = 4
STRAYS: Final = 1
EXCHANGES: Final = 4
PAYMENTS: Final = 2
SALES: Final = 2
JUMPS_S: Final = (30.0, 120.0, 600.0, 1_200.0, 3_600.0, 20_000.0)
PURSE: Final = 20_000
BONUS: Final = "1f24174f-bfdb-4019-a3e7-4fb088b4a7a7"


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that happens at a step. ``kind`` names the function, ``number`` tells it from its like."""

    step: int
    kind: str
    number: int

    def __str__(self) -> str:
        return f"step {self.step}: {self.kind} {self.number}"


def plan(chance: Chance, weather: Weather) -> list[Deed]:
    """Everything that will happen, in order."""
    counts = {
        "purchase": PURCHASES,
        "refund": REFUNDS,
        "burst": BURSTS,
        "topup": TOPUPS,
        "stray": STRAYS,
        "exchange": EXCHANGES,
        "payment": PAYMENTS,
        "sale": SALES,
        "pass": STEPS // 6,
        "kill": weather.kills,
        "disk_full": weather.disk_full,
        "serialization": weather.conflicts,
        "commit": weather.commits,
        "broker": weather.broker,
        "consumer": weather.consumers,
        "clock": weather.clock_jumps,
    }
    deeds = [Deed(0, "grant", number) for number in range(SHOPPERS)]
    deeds += [Deed(1, "subscribe", number) for number in range(BUYERS)]
    deeds += [Deed(STEPS // 2, "merge", 0)]
    for kind, count in counts.items():
        first = 5 if kind in ("exchange", "payment", "refund", "sale") else 1
        deeds += [
            Deed(first + int(chance.of("step", kind, number) * (STEPS - first)), kind, number)
            for number in range(count)
        ]
    return sorted(deeds, key=lambda deed: deed.step)


def do(deed: Deed, world: World) -> float:
    """Let it happen; answers how many seconds pass by it."""
    return _DEEDS[deed.kind](world, deed.number) or 0.0


# --- Loymax ----------------------------------------------------------------------------------------------------------


def _purchase(world: World, number: int) -> None:
    member = world.chance.pick(range(MEMBERS), "buys", number)
    reward = 10_000 * (1 + world.chance.pick(range(90), "reward", number))
    spent = 10_000 * world.chance.pick(range(30), "spent", number) if world.chance.of("spends", number) < 0.4 else 0
    id_ = f"{5_000 + number}"
    world.told.purchases[id_] = (str(100 + member), reward, spent)
    body = _operation("purchaseOperationInfo", id_, member, reward, spent, is_refund=False)
    _loymax(world, f"purchase {number}", ("purchases.confirm.modelUpdate", f"m-purchase-{number}", body))


def _refund(world: World, number: int) -> None:
    of = world.chance.pick(range(PURCHASES), "refund of", number)
    member = world.chance.pick(range(MEMBERS), "buys", of)
    body = _operation("refundOperationInfo", f"{8_000 + number}", member, 30_000, 10_000, is_refund=True)
    body["refundedPurchaseViewModel"] = {"refundedPurchaseId": 5_000 + of, "refundedPurchaseExternalId": f"x{of}"}
    _loymax(world, f"refund {number}", ("purchases.refundModelUpdate", f"m-refund-{number}", body))


def _operation(name: str, id_: str, member: int, reward: int, spent: int, *, is_refund: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"description": None, "positionInfo": {}, "currencyExternalId": BONUS}
    rewards = [{**line, "amount": reward / 10_000, "rewardType": "Bonus", "offerExternalId": None}] if reward else []
    withdraws = [{**line, "amount": -spent / 10_000, "moneyAmount": spent / 10_000, "withdrawType": "Bonus"}]
    data = {
        "chequeNumber": "1", "purchaseId": int(id_), "externalPurchaseId": f"x{id_}", "amount": 135.0,
        "currencyExternalId": "c", "chequeItems": [], "rewards": rewards, "withdraws": withdraws if spent else [],
        "isRefund": is_refund, "purchaseAttributes": [],
    }  # fmt: skip
    return {
        name: {"dateTime": "2026-08-13T16:53:47Z", "type": "PurchaseData", "purchaseData": data},
        "customerInfo": {"customerId": 100 + member},
        "eventCode": "On",
    }


KINDS: Final = (
    "customer.card.changeBlockState",
    "customer.attribute.update",
    "customer.registration.begin",
    "offer.edit",
)


def _burst(world: World, number: int) -> None:
    """Several things of several members in one request, or in one publishing."""
    events = []
    for place in range(BURST):
        kind = world.chance.pick(KINDS, "burst", number, place)
        member = world.chance.pick(range(MEMBERS), "burst of", number, place)
        whose = {} if kind == "offer.edit" else {"customerInfo": {"customerId": 100 + member}}
        events.append((kind, f"m-burst-{number}-{place}", {**whose, "n": f"{number}.{place}"}))
    _loymax(world, f"burst {number}", *events)


def _merge(world: World, _number: int) -> None:
    body = {"fromCustomerInfo": {"customerId": 101}, "toCustomerInfo": {"customerId": 100}, "eventCode": "Merge"}
    _loymax(world, "merge", ("customer.profile.merge", "m-merge", body))


def _loymax(world: World, name: str, *events: tuple[str, str, Mapping[str, Any]]) -> None:
    """Type, id and body of each."""
    written = [(type_, id_, json.dumps(body, indent=1).encode()) for type_, id_, body in events]
    if world.chance.of("way", name) < 0.5:
        messages = [
            OutboundMessage(
                message_id=id_,
                exchange="loymax.events",
                routing_key=type_,
                content_type="application/json",
                payload=data,
                headers={},
                key=id_,
            )
            for type_, id_, data in written
        ]
        world.background(world.published(name, messages))
        return
    bodies = [data for _, _, data in written]
    world.send(Parcel(name, "loymax", "/events", cloud_batch("loymax", written), BATCH, bodies))


# --- SePay -----------------------------------------------------------------------------------------------------------


def _topup(world: World, number: int) -> None:
    user = f"u{world.chance.pick(range(USERS), 'topup of', number)}"
    amount = 10_000 * (1 + world.chance.pick(range(50), "topup", number))
    paid = partial(_pay, world, number, amount)
    body = json.dumps({"amount": amount}).encode()
    world.post(Parcel(f"topup {number}", "command", "/api/seapay/wallet/topup/", body, bearer(user), [body], 0, paid))


def _pay(world: World, number: int, amount: int, answer: Answer) -> None:
    if answer.status != 200:
        return
    told = answer.json()
    code = told["order_code"] if world.chance.of("code", number) < 0.95 else "khong co"
    paid = amount if world.chance.of("right", number) < 0.9 else amount + 1_000
    waits_s = world.chance.of("pays in", number) ** 2 * 1_800
    world.later(waits_s, partial(_transfer, world, 70_000 + number, paid, f"CK {code} GD", told))


def _stray(world: World, number: int) -> None:
    told = {"account_number": "8880000001"}
    _transfer(world, 90_000 + number, 20_000 + number, f"KHACH {number} chuyen tien", told)


def _transfer(world: World, id_: int, amount: int, content: str, told: Mapping[str, Any]) -> None:
    fields = {
        "gateway": "BIDV", "transactionDate": bank_time_text(world.clock.world_now),
        "accountNumber": told["account_number"], "subAccount": None, "code": None, "content": content,
        "transferType": "in", "description": "", "transferAmount": amount, "referenceCode": f"FT{id_}",
        "accumulated": 0, "id": id_,
    }  # fmt: skip
    world.bank.book(fields)
    world.told.transfers[id_] = amount
    data = json.dumps(fields, indent=1).encode()
    # SePay repeats seven times at most: what never comes is on the statement.
    tries_max = 1 if world.chance.of("webhook lost", id_) < world.weather.loss else 7
    if world.chance.of("webhook never", id_) >= world.weather.loss / 2:
        contradict = partial(_contradict, world, id_, {**fields, "transferAmount": amount + 7_000})
        name = f"transfer {id_}"
        world.send(Parcel(name, "sepay", "/webhooks/sepay", data, WEBHOOK, [data], tries_max, contradict))


def _contradict(world: World, id_: int, fields: Mapping[str, Any], answer: Answer) -> None:
    """The same transfer comes with another amount, once the true one is known: which came first is not ours to tell."""
    if answer.status == 200 and world.chance.of("contradiction", id_) < world.weather.contradictions:
        other = json.dumps(fields, indent=1).encode()
        world.post(Parcel(f"contradiction {id_}", "sepay", "/webhooks/sepay", other, WEBHOOK, [other], 7), in_s=90.0)


# --- PayPay ----------------------------------------------------------------------------------------------------------


def session_of(shopper: int) -> UUID:
    """The session in which a member has linked an account before all this began."""
    return UUID(int=0x0197_F3A2_5C41_7D3E_8A53_0000_0000_0000 + shopper)


def _grant(world: World, number: int) -> None:
    member = f"s{number}"
    booked = {"booking_id": f"b-{member}", "member_id": member, "booked_at": world.clock.world_now.isoformat()}
    granted = {"grant_id": f"g-{member}", "member_id": member, "points": PURSE, "source": "purchase"}
    world.told.grants[f"g-{member}"] = PURSE
    for type_, body in (("member.booking.made", booked), ("member.points.granted", granted)):
        data = json.dumps(body).encode()
        batch = cloud_batch("shop-members", [(type_, f"{type_}-{member}", data)])
        world.post(Parcel(f"{type_} {number}", "shop-members", "/events", batch, BATCH, [data]))


def _exchange(world: World, number: int) -> None:
    shopper = world.chance.pick(range(SHOPPERS), "exchange of", number)
    points = 100 * (1 + world.chance.pick(range(120), "points", number) ** 2 // 60)
    if world.chance.of("odd points", number) < 0.05:
        points += 7
    member, key = f"s{shopper}", f"k-{number}"
    body = {"member_id": member, "session_id": str(session_of(shopper)), "points": points, "idempotency_key": key}
    world.told.exchanges[f"{member} {key}"] = (member, "APP" if shopper % 2 else "PC", points)
    name = f"exchange {member} {key}"
    reverse = partial(_maybe_reverse, world, number)
    data = json.dumps(body).encode()
    world.post(Parcel(name, "command", "/api/v1/paypay/cashback", data, ADMIN, [data], 0, reverse))


def _maybe_reverse(world: World, number: int, answer: Answer) -> None:
    if answer.status not in (200, 202) or world.chance.of("reverses", number) >= 0.3:
        return
    body = json.dumps({"reason": "granted twice", "operator": "ann", "idempotency_key": f"r-{number}"}).encode()
    path = f"/api/v1/paypay/cashback/{answer.json()['request_id']}/reverse"
    wait_s = world.chance.between(10.0, 7_200.0, "reverses in", number)
    world.post(Parcel(f"reverse {number}", "command", path, body, ADMIN, [body]), in_s=wait_s)


def _payment(world: World, number: int) -> None:
    shopper = world.chance.pick(range(SHOPPERS), "payment of", number)
    body = {
        "member_id": f"s{shopper}", "session_id": str(session_of(shopper)), "amount_jpy": 1_000 + number,
        "order_description": "a", "idempotency_key": f"order-{number}",
    }  # fmt: skip
    data, path = json.dumps(body).encode(), "/api/v1/paypay/payments"
    refund = partial(_maybe_refund, world, number)
    world.post(Parcel(f"payment {number}", "command", path, data, ADMIN, [data], 0, refund))


def _maybe_refund(world: World, number: int, answer: Answer) -> None:
    if answer.status not in (200, 202) or world.chance.of("refunds", number) >= 0.5:
        return
    body = json.dumps({"reason": "returned", "idempotency_key": f"refund-{number}", "amount_jpy": 500}).encode()
    path = f"/api/v1/paypay/payments/{answer.json()['payment_id']}/refund"
    wait_s = world.chance.between(60.0, 7_200.0, "refunds in", number)
    world.post(Parcel(f"refund payment {number}", "command", path, body, ADMIN, [body]), in_s=wait_s)


# --- PayPal ----------------------------------------------------------------------------------------------------------


def _subscribe(world: World, number: int) -> None:
    body = {
        "request_id": f"order-{number}", "plan_id": "P-SANDBOX00000000000000001", "custom_id": f"buyer-{number}",
        "give_name": "Ann", "surname": "Example", "email_address": "ann@example.com",
    }  # fmt: skip
    data = json.dumps(body).encode()
    batch = cloud_batch("paypal-commands", [("paypal.subscription.requested", f"order-{number}", data)])
    world.post(Parcel(f"subscribe {number}", "paypal-commands", "/events", batch, BATCH, [data]))


def _sale(world: World, number: int) -> None:
    now = world.clock.world_now
    with world.paypal.keeper.opened() as book:
        if not book.subscriptions:
            world.later(600.0, partial(_sale, world, number))
            return
        names = list(book.subscriptions)
        id_ = names[world.chance.pick(range(len(names)), "sale of", number)]
        told = []
        if book.subscriptions[id_]["status"] != "ACTIVE":
            told.append(paypal_deeds.change_status(book, id_, "ACTIVE", now))
        told.append(paypal_deeds.pay(book, id_, now))
        sale = told[-1]["resource"]["id"]
        if world.chance.of("told twice", number) < 0.3:
            told.append(paypal_deeds.tell_sale(book, book.sales[sale], now))
    if world.chance.of("given back", number) < 0.3:
        world.later(world.chance.between(60.0, 7_200.0, "given back in", number), partial(_give_back, world, sale))
    for event in told:
        world.paypal.send(event)


def _give_back(world: World, sale: str) -> None:
    with world.paypal.keeper.opened() as book:
        event = paypal_deeds.refund(book, sale, world.clock.world_now)
    world.paypal.send(event)


# --- The machine -----------------------------------------------------------------------------------------------------


def _pass(world: World, number: int) -> float:
    return world.chance.pick(JUMPS_S, "passes", number)


def _kill(world: World, number: int) -> None:
    if world.life is not None:
        world.life.gate.kill_in = 1 + int(world.chance.of("kill in", number) ** 2 * 400)


def _disk_full(world: World, number: int) -> None:
    if world.life is not None:
        times = 1 + world.chance.pick(range(4), "disk full", number)
        world.life.gate.fails += [DiskFull("database or disk is full") for _ in range(times)]


def _serialization(world: World, number: int) -> None:
    if world.life is not None:
        times = 1 + world.chance.pick(range(3), "serialization", number)
        world.life.gate.fails += [SerializationFailure("could not serialize access") for _ in range(times)]


def _commit(world: World, number: int) -> None:
    """The next commits are refused, or done and not heard of."""
    if world.life is not None:
        times = 1 + world.chance.pick(range(3), "commits", number)
        kinds = [world.chance.pick((ConnectionLost, SerializationFailure), "commit", number, i) for i in range(times)]
        world.life.gate.commits += [kind() for kind in kinds]


def _broker(world: World, number: int) -> None:
    """The broker is away for a while, or has no room."""
    if world.life is not None:
        befalls = world.chance.pick((broker.restarted, broker.full), "befalls", number)
        befalls(world.life, world.chance.pick(range(1, 6), "broker", number))


def _consumer(world: World, number: int) -> None:
    """Whoever reads a queue is gone before it has said that it has read, or hears nothing of what it was handed."""
    if world.life is not None:
        befalls = world.chance.pick((broker.consumer_gone, broker.consumer_silent), "reader", number)
        befalls(world.life, world.chance.pick(range(1, 4), "consumer", number))


def _clock(world: World, number: int) -> None:
    world.clock.skew_s = world.chance.between(-90.0, 90.0, "skew", number)


_DEEDS: Final[Mapping[str, Callable[[World, int], float | None]]] = {
    "purchase": _purchase,
    "refund": _refund,
    "burst": _burst,
    "merge": _merge,
    "topup": _topup,
    "stray": _stray,
    "grant": _grant,
    "exchange": _exchange,
    "payment": _payment,
    "subscribe": _subscribe,
    "sale": _sale,
    "pass": _pass,
    "kill": _kill,
    "disk_full": _disk_full,
    "serialization": _serialization,
    "commit": _commit,
    "broker": _broker,
    "consumer": _consumer,
    "clock": _clock,
}
