"""PayPay beside a hub that is crashed: points become balance and go back, codes and authorizations are paid.

The sandbox survives the hub, and loses the answers to some requests. Source: docs/providers/paypay.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_books import Cashback, Code, Payment, Refund, Reversal
from handlers.paypay.sandbox_serving import serving
from tests.faults.books import Books, reading
from tests.faults.exchange_judge import Asked, Gift, against_asked, against_gifts, rows_of
from tests.faults.flows.ending import Ending, judge_ending
from tests.faults.flows.flying import CLOCK, LOOK_S, SCHEDULES, TrialClock
from tests.faults.line import Line
from tests.faults.scenarios import Quiet, Scenario, World
from tests.support.paypay import API_KEY as PAYPAY_KEY
from tests.support.paypay import API_SECRET, MERCHANT, OwnTimeSandbox, variables_for
from tests.support.running import API_KEY

API: Final = "/api/v1/paypay"
CALLBACK: Final = f"{API}/cashback/callback"
REDIRECT: Final = "https://shop.example/mypage/points_exchange/menu"
BEARER: Final = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
MEMBER: Final = "m-1"
LOST: Final = "reset-after-commit"
"""PayPay has done it, and its answer is lost."""
OPEN_CALLS: Final = "no call is open"
"""A request whose answer was lost stays unknown on the record of its call: another one, a look, has found out."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a story is told with."""

    sandbox: Sandbox
    url: str
    books: Books
    clock: TrialClock

    async def ask(self, line: Line, path: str, body: Mapping[str, Any]) -> Any:
        """A command of the shop's, until it is answered."""
        return (await line.call("POST", f"{API}/{path}", json.dumps(body).encode(), BEARER)).json()

    async def shown(self, line: Line, path: str) -> Any:
        return (await line.call("GET", f"{API}/{path}", b"", BEARER)).json()

    async def tell(self, line: Line, type_: str, body: Mapping[str, Any]) -> None:
        """A message of the shop's."""
        said = json.dumps(body).encode()
        named = {"ce-specversion": "1.0", "ce-id": type_, "ce-source": "shop-members", "ce-type": type_}
        await line.deliver("shop-members", "/events", said, {**BEARER, **named}, [said])

    async def linked(self, line: Line, scopes: Sequence[str]) -> str:
        """The member links an account, all the way: the session."""
        asked = {"member_id": MEMBER, "device_type": "SP", "redirect_url": REDIRECT, "scopes": list(scopes)}
        made = await self.ask(line, "sessions", asked)
        url = f"{self.url}/admin/links/{made['link_url'].rsplit('/', 1)[1]}"
        async with aiohttp.ClientSession() as http, http.post(url, json={"result": "succeeded"}) as response:
            token = (await response.json())["responseToken"]
        await self.ask(line, "sessions/update_session", {"member_id": MEMBER, "responseToken": token})
        session_id: str = made["session_id"]
        return session_id

    async def until(self, open_: str = "") -> None:
        """Time flies until a query finds nothing any more, or nothing is left to do."""
        await self.clock.fly(self.books, open_)


Play = Callable[[Beside, Line], Awaitable[None]]
Judge = Callable[[Beside], Awaitable[list[str]]]


def beside(play: Play, judge: Judge) -> Any:
    """The world of a story with PayPay."""

    @asynccontextmanager
    async def opened(environ: Mapping[str, str]) -> AsyncIterator[World]:
        clock = TrialClock.begun(Path(environ["HUB_HOME"]) / "trial_clock")
        options = Options(
            api_key=PAYPAY_KEY, api_secret=API_SECRET, merchant=MERCHANT, hang_s=0.1, late_s=0.1, decides_s=2.0
        )
        async with serving(options) as (sandbox, url), reading(environ["HUB_DATABASE_URL"]) as books:
            sandbox.__class__ = OwnTimeSandbox
            sandbox.clock = lambda: clock.now().timestamp()
            it = Beside(sandbox, url, books, clock)
            more = {
                **variables_for(url),
                CLOCK: str(Path(environ["HUB_HOME"]) / "trial_clock"),
                SCHEDULES: "sweep-paypay",
                "HUB_SANDBOX": "0",
                "PAYPAY_RATE_PER_S": "10000",
            }

            async def run(line: Line, quiet: Quiet) -> None:
                await play(it, line)

            async def ends(_books: Books) -> list[str]:
                return await judge(it)

            yield World(more, run, tuple, ends=ends, without=frozenset({OPEN_CALLS}))

    return opened


# --- Points become balance, and go back ---------------------------------------------------------------------------

OPEN_EXCHANGES: Final = "SELECT id FROM paypay_cashback_request WHERE status NOT IN ('SUCCESS', 'FAILED', 'REJECTED')"
OPEN_REVERSALS: Final = (
    "SELECT id FROM paypay_reverse_cashback_request WHERE status NOT IN ('SUCCESS', 'FAILED', 'REJECTED')"
)
ASKED: Final = (Asked("lost", MEMBER, "PC", 100), Asked("told", MEMBER, "PC", 300), Asked("fails", MEMBER, "PC", 200))


async def _play_exchange(it: Beside, line: Line) -> None:
    booked = {"booking_id": "b-1", "member_id": MEMBER, "booked_at": it.clock.now().isoformat()}
    await it.tell(line, "member.booking.made", booked)
    await it.tell(line, "member.points.granted", {
        "grant_id": "g-1", "member_id": MEMBER, "points": 1_000, "source": "purchase",
    })  # fmt: skip
    await it.until()
    session = await it.linked(line, ["cashback"])
    requests = {}
    for one, fault in zip(ASKED, (LOST, "", "failure"), strict=True):
        if fault:
            it.sandbox.faults.order(fault, times=1, path="/v2/cashback")
        body = {"member_id": MEMBER, "session_id": session, "points": one.points, "idempotency_key": one.key}
        requests[one.key] = (await it.ask(line, "cashback", body))["request_id"]
        await it.until()
    [[gift]] = await it.books.rows(
        "SELECT merchant_cashback_id FROM paypay_cashback_request WHERE idempotency_key = 'told'"
    )
    notice = {"notification_type": "Cashback", "merchantCashbackId": gift, "status": "SUCCESS"}
    said = json.dumps(notice).encode()
    await line.deliver("paypay", CALLBACK, said, {"Content-Type": "application/json"}, [said])
    await it.until(OPEN_EXCHANGES)
    order = {"reason": "granted twice", "operator": "ann", "idempotency_key": "r-1", "amount_jpy": 50}
    await it.ask(line, f"cashback/{requests['told']}/reverse", order)
    await it.until(OPEN_REVERSALS)


async def _judge_exchange(it: Beside) -> list[str]:
    gifts = [Gift(one.id, one.amount_jpy, one.decision) for one in it.sandbox.books.all(Cashback)]
    rows = await rows_of(it.books)
    found = against_asked(rows, ASKED) + against_gifts(rows, gifts)
    taken = [one.taken_jpy for one in it.sandbox.books.all(Reversal) if one.decision == "SUCCESS"]
    if taken != [50]:
        found.append(f"PayPay took back what was ordered, once: {taken}")
    return found + await judge_ending(it.books, EXCHANGED)


EXCHANGED: Final = Ending(
    messages={
        "paypay.results": {
            "paypay.cashback.succeeded": 2, "paypay.cashback.failed": 1, "paypay.cashback.reversed": 1,
        },
        "loyalty.platform": {
            "loyalty.points.held": 3, "loyalty.points.spent": 2, "loyalty.points.released": 1,
            "loyalty.points.returned": 1,
        },
    },
    balances={"paypay:yen:members": 50 + 150 - 50, "paypay:points:spent": 100 + 300 - 100},
    rows={
        "SELECT status, reversed_amount_jpy, returned_points FROM paypay_reverse_cashback_request": [
            ("SUCCESS", 50, 100)
        ]
    },
    reviews=["not_enough_money"],
)  # fmt: skip


# --- Codes and authorizations are paid, captured and refunded -----------------------------------------------------

OPEN_PAYMENTS: Final = (
    "SELECT id FROM paypay_payments WHERE status NOT IN ('COMPLETED', 'REFUNDED')"
    " UNION ALL SELECT id FROM paypay_refunds WHERE status NOT IN ('DONE', 'REFUSED')"
    " UNION ALL SELECT id FROM paypay_captures WHERE status NOT IN ('DONE', 'REFUSED')"
)


async def _play_payment(it: Beside, line: Line) -> None:
    code = await it.ask(line, "codes", {"amount_jpy": 1_200, "order_description": "月餅", "idempotency_key": "o-1"})
    # Whoever lets time fly here finds the code expired.
    while not (shown := await it.shown(line, f"codes/{code['payment_id']}")).get("code_id"):  # noqa: ASYNC110 - it is at PayPay
        await asyncio.sleep(LOOK_S)
    it.sandbox.payments.pay_code(shown["code_id"], it.clock.now().timestamp())
    await it.until(OPEN_PAYMENTS)
    it.sandbox.faults.order(LOST, times=1, path="/v2/refunds")
    refund = {"reason": "returned", "idempotency_key": "refund-1", "amount_jpy": 200}
    await it.ask(line, f"payments/{code['payment_id']}/refund", refund)

    session = await it.linked(line, ["direct_debit"])
    it.sandbox.faults.order(LOST, times=1, path="/v2/payments/capture")
    debit = {
        "member_id": MEMBER, "session_id": session, "amount_jpy": 1_000, "order_description": "a",
        "is_authorization": True, "idempotency_key": "o-2",
    }  # fmt: skip
    await it.until(OPEN_PAYMENTS)
    made = await it.ask(line, "payments", debit)
    # Nobody waits until nothing is left to do: an authorization runs out.
    await it.until("SELECT id FROM paypay_payments WHERE kind = 'direct' AND status <> 'AUTHORIZED'")
    capture = {"amount_jpy": 700, "idempotency_key": "c-1"}
    await it.ask(line, f"payments/{made['payment_id']}/capture", capture)
    await it.until(OPEN_PAYMENTS)
    await it.until()


async def _judge_payment(it: Beside) -> list[str]:
    now = it.clock.now().timestamp()
    found = []
    refunds = [one.amount_jpy for one in it.sandbox.books.all(Refund) if one.status(now) == "REFUNDED"]
    if refunds != [200]:
        found.append(f"PayPay gave back once what was ordered: {refunds}")
    payments, codes = len(it.sandbox.books.all(Payment)), len(it.sandbox.books.all(Code))
    if (payments, codes) != (2, 1):
        found.append(f"PayPay knows one payment of each kind: {payments} payments, {codes} codes")
    return found + await judge_ending(it.books, PAID)


PAID: Final = Ending(
    messages={
        "paypay.results": {
            "paypay.payment.completed": 2, "paypay.payment.refunded": 1, "paypay.payment.authorized": 1,
        },
    },
    balances={"paypay:yen:receivable": 1_200 - 200 + 700, "paypay:yen:to-capture": 0},
    rows={
        "SELECT kind, status, captured_jpy, refunded_jpy FROM paypay_payments ORDER BY kind": [
            ("code", "REFUNDED", 1_200, 200), ("direct", "COMPLETED", 700, 0),
        ],
    },
)  # fmt: skip

EXCHANGE: Final = Scenario(name="exchange", expected=None, world=beside(_play_exchange, _judge_exchange))
PAYMENT: Final = Scenario(name="payment", expected=None, world=beside(_play_payment, _judge_payment))
