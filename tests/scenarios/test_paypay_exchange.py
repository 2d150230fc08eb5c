"""Points become PayPay balance: the whole way, and every way in which it can go wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from handlers.paypay import cashback, progress
from handlers.paypay.outcomes import Outcome
from handlers.paypay.sandbox_books import User
from handlers.paypay.sandbox_faults import chances_of
from handlers.paypay.states import Step
from handlers.paypay.tables import Request
from hub.deliver.context import Context
from hub.store import tables as t
from tests.scenarios.paypay_exchange import API, LOYALTY, REDIRECT, RESULTS, Shop, paypay_shop
from tests.support.clock import SettableClock

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database decides: what the two do differently, the other tests show."""
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
EXCHANGES = 6 if os.environ.get("HUB_TEST_LONG", "0") == "0" else 200
FAULTS = 0.2
"""The chance of each request to meet one of the sandbox's faults."""


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Shop]:
    async with paypay_shop(database_url, tmp_path, clock) as shop:
        yield shop


async def test_points_become_balance_and_go_back_in_proportion(shop: Shop) -> None:
    await shop.member("m-1", purchase=600)
    await shop.grant("m-1", 300, source="promotion")
    session_id = await shop.linked("m-1")

    request_id = await shop.exchanged("m-1", session_id, 500)

    assert await shop.points("m-1") == (400, 500)
    assert await shop.status(request_id) == "ACCEPTED"
    await shop.passes(1)
    await shop.passes(5)
    assert await shop.status(request_id) == "SUCCESS"
    assert await shop.points("m-1") == (400, 0)
    assert [one.amount_jpy for one in shop.given()] == [250]

    # Promotions were used first, and come back last.
    assert await shop.reversed(request_id, amount_jpy=120) == (202, await first_reversal(shop, request_id))
    await shop.passes(1)
    await shop.passes(5)
    assert await shop.points("m-1") == (640, 0)
    (back,) = await shop.reversals()
    assert (back.returned_points, back.points_to_purchase, back.points_to_promotion) == (240, 200, 40)
    status, answer = await shop.reversed(request_id, key="r-2", amount_jpy=131)
    assert (status, answer["error"]) == (422, "AMOUNT_TOO_HIGH")
    await shop.reversed(request_id, key="r-3")
    await shop.passes(1)
    await shop.passes(5)
    assert await shop.points("m-1") == (900, 0)
    assert shop.taken_back() == 250
    status, answer = await shop.reversed(request_id, key="r-4")
    assert (status, answer["error"]) == (409, "NOT_REVERSIBLE")

    results = [(key, body["amount_jpy"], body["points"]) for key, body in await shop.messages(RESULTS)]
    assert results == [
        ("paypay.cashback.succeeded", 250, 500),
        ("paypay.cashback.reversed", 120, 240),
        ("paypay.cashback.reversed", 130, 260),
    ]
    told = [(b["kind"], b["amount_minor"], b["balance_after_minor"]) for _, b in await shop.messages(LOYALTY)]
    assert told == [
        ("loyalty.points.held", 500, 400),
        ("loyalty.points.spent", 500, 400),
        ("loyalty.points.returned", 240, 640),
        ("loyalty.points.returned", 260, 900),
    ]


async def first_reversal(shop: Shop, request_id: str) -> dict[str, Any]:
    """What an order for the first reversal is answered."""
    (row,) = await shop.reversals()
    return {
        "reversal_id": str(row.id),
        "request_id": request_id,
        "merchant_cashback_reversal_id": row.merchant_cashback_reversal_id,
        "amount_jpy": row.requested_amount_jpy,
        "status": "NEW",
    }


AMBIGUOUS = (
    "timeout-after-commit",
    "reset-after-commit",
    "error-500-after-commit",
    "html-502-after-commit",
    "no-result-info",
    "timeout-before-commit",
    "reset-before-commit",
    "error-500",
    "html-504",
)


async def test_no_silence_of_paypay_pays_twice_or_loses_points(shop: Shop) -> None:
    await shop.member("m-1", purchase=10_000)
    session_id = await shop.linked("m-1", "APP")
    asked = {}
    for fault in AMBIGUOUS:
        shop.order(fault)
        asked[fault] = await shop.exchanged("m-1", session_id, 100, key=fault)
        assert await shop.status(asked[fault]) == "UNKNOWN", fault
    assert await shop.points("m-1") == (10_000 - 900, 900)

    # What PayPay has done shows at once; what it never got is sent again, under its own id, after five minutes.
    for seconds in (1, 5, 30):
        await shop.passes(seconds)
    early = [fault for fault, id in asked.items() if await shop.status(id) == "UNKNOWN"]
    assert early == ["timeout-before-commit", "reset-before-commit", "error-500", "html-504"]
    await shop.passes(300)
    assert await shop.swept() == 4
    for seconds in (1, 5):
        await shop.passes(seconds)

    assert {await shop.status(id) for id in asked.values()} == {"SUCCESS"}
    assert sorted(one.id for one in shop.given()) == sorted(
        [(await shop.cashback(id)).merchant_cashback_id for id in asked.values()]
    )
    assert await shop.points("m-1") == (10_000 - 900, 0)


@ON_SQLITE
async def test_paypays_refusals_release_the_points(shop: Shop) -> None:
    await shop.member("m-1", purchase=1_000)
    session_id = await shop.linked("m-1")
    # Too many calls: nothing happened, and the same id goes out again once PayPay has had its rest.
    shop.order("busy-429")
    _, asked = await shop.ask("m-1", session_id, 200, key="fails")
    failed = asked["request_id"]
    await shop.put_off()
    assert (await shop.status(failed), shop.given()) == ("NEW", [])
    shop.order("failure")
    await shop.passes(2)
    await shop.passes(1)
    await shop.passes(5)
    assert await shop.status(failed) == "FAILED"
    assert await shop.points("m-1") == (1_000, 0)
    assert await shop.reviews() == ["not_enough_money"]

    # While the wallet at PayPay is empty nothing is given; then an operator's new try has an id of its own.
    status, again = await shop.call("POST", f"{API}/cashback/{failed}/retry", {"operator": "ann"})
    assert status == 202
    await shop.put_off()
    assert await shop.status(again["request_id"]) == "NEW"
    status, answer = await shop.call("POST", f"{API}/cashback/{failed}/retry", {"operator": "ann"})
    assert (status, answer["error"]) == (409, "NOT_RETRYABLE")
    await shop.passes(601)
    await shop.passes(1)
    await shop.passes(5)
    assert await shop.status(again["request_id"]) == "SUCCESS"

    # The member's authorization is gone at PayPay: refused at once, and the session is of no use any more.
    for user in shop.sandbox.books.all(User):
        user.is_active = False
        shop.sandbox.books.keep(user)
    refused = await shop.exchanged("m-1", session_id, 100, key="refused")
    assert (await shop.status(refused), await shop.points("m-1")) == ("REJECTED", (800, 0))
    status, answer = await shop.ask("m-1", session_id, 100, key="after")
    assert (status, answer["error"]) == (422, "NOT_LINKED")
    results = [(key, body["status"], body["reason"]) for key, body in await shop.messages(RESULTS)]
    assert results == [
        ("paypay.cashback.failed", "FAILED", "NOT_ENOUGH_MONEY"),
        ("paypay.cashback.succeeded", "SUCCESS", ""),
        ("paypay.cashback.failed", "REJECTED", "INVALID_USER_AUTHORIZATION_ID"),
    ]


async def test_the_same_request_is_one_exchange(shop: Shop) -> None:
    await shop.member("m-1", purchase=500)
    session_id = await shop.linked("m-1")

    answers = await asyncio.gather(*(shop.ask("m-1", session_id, 500, key="same") for _ in range(6)))
    others = await asyncio.gather(*(shop.ask("m-1", session_id, 500, key=f"k-{n}") for n in range(3)))
    await shop.settled()

    assert sorted(status for status, _ in answers) == [200] * 5 + [202]
    assert len({answer["request_id"] for _, answer in answers}) == 1
    assert [answer["error"] for _, answer in others] == ["NO_POINTS"] * 3
    status, answer = await shop.ask("m-1", session_id, 400, key="same")
    assert (status, answer["error"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert len(shop.given()) == 1


@ON_SQLITE
async def test_who_may_exchange_and_who_may_ask(shop: Shop) -> None:
    now = shop.clock.now()
    await shop.member("old", purchase=500, booked_at=now - timedelta(days=367))
    await shop.member("poor", purchase=400)
    await shop.member("none")
    sessions = {member: await shop.linked(member) for member in ("old", "poor", "none")}

    async def error(member: str, points: object, session: str | None = None) -> str:
        status, answer = await shop.ask(member, session or sessions[member], points)
        assert status == 422, answer
        code: str = answer["error"]
        return code

    assert await error("old", 100) == "NO_BOOKING_IN_ONE_YEAR"
    assert await error("poor", 500) == "NOT_ENOUGH_POINTS"
    assert await error("none", 100) == "NO_POINTS"
    assert await error("poor", 100, sessions["none"]) == "NOT_LINKED"
    assert [await error("poor", points) for points in (0, 150, "100", 100.5, True)] == [
        "POINTS_NOT_POSITIVE",
        "POINTS_NOT_MULTIPLE_OF_100",
        "POINTS_NOT_INTEGER",
        "POINTS_NOT_INTEGER",
        "POINTS_NOT_INTEGER",
    ]
    assert await shop.points("poor") == (400, 0)
    assert shop.given() == []
    # Without a key, and as a client where an operator is wanted.
    some = "0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10"
    assert (await shop.call("GET", f"{API}/cashback/{some}", key=""))[0] == 401
    assert (await shop.call("GET", f"{API}/cashback/{some}"))[0] == 404
    reverse = {"reason": "r", "operator": "o", "idempotency_key": "k"}
    assert (await shop.call("POST", f"{API}/cashback/{some}/reverse", reverse, key="test-client-key"))[0] == 403
    assert (await shop.call("POST", f"{API}/cashback/{some}/reverse", reverse))[0] == 404
    # A key that is not the app's cannot say that it speaks for it, which would pay twice as much.
    start = {"member_id": "poor", "device_type": "APP", "redirect_url": REDIRECT}
    status, answer = await shop.call("POST", f"{API}/sessions", start)
    assert (status, answer["error"], "PAYPAY_APP_CLIENTS" in answer["message"]) == (400, "INVALID_REQUEST", True)
    # A token of another member's session, and a member who declined.
    _, link = await shop.started("poor")
    token = await shop.logged_in(link, "declined")
    stolen = await shop.call("POST", f"{API}/sessions/update_session", {"member_id": "none", "responseToken": token})
    assert (stolen[0], stolen[1]["error"]) == (400, "TOKEN_REFUSED")
    said = await shop.call("POST", f"{API}/sessions/update_session", {"member_id": "poor", "responseToken": token})
    assert (said[0], said[1]["status"]) == (200, "DECLINED")


@ON_SQLITE
async def test_the_authorization_id_is_shown_to_nobody(shop: Shop) -> None:
    await shop.member("m-1", purchase=100)
    request_id = await shop.exchanged("m-1", await shop.linked("m-1"), 100)

    _, shown = await shop.call("GET", f"{API}/cashback/{request_id}")

    (user,) = shop.sandbox.books.all(User)
    assert (shown["points"], shown["amount_jpy"], shown["status"]) == (100, 50, "ACCEPTED")
    assert user.id not in str(shown)
    # Nor does an event of the hub's own hold it, which no source could mask.
    assert [row for row in await shop.hub.rows(t.inbox) if user.id.encode() in row.payload] == []
    assert user.id not in str(await shop.messages(RESULTS)) + str(await shop.messages(LOYALTY))


@ON_SQLITE
async def test_a_hub_that_fails_between_the_call_and_its_commit_gives_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.member("m-1", purchase=100)
    session_id = await shop.linked("m-1")
    fails = iter([True])

    def note(row: Request, outcome: Outcome, ctx: Context) -> Step:
        if next(fails, False):
            raise RuntimeError("the machine fails now")
        return progress.note_sent(row, outcome, ctx)

    monkeypatch.setattr(cashback, "note_sent", note)
    status, asked = await shop.ask("m-1", session_id, 100)
    assert status == 202
    await shop.put_off()
    assert (await shop.status(asked["request_id"]), len(shop.given())) == ("NEW", 1)
    for seconds in (60, 1, 5):
        await shop.passes(seconds)

    assert await shop.status(asked["request_id"]) == "SUCCESS"
    assert [one.amount_jpy for one in shop.given()] == [50]


@ON_POSTGRESQL
@pytest.mark.timeout(900)
async def test_two_workers_and_a_paypay_that_fails_a_fifth_of_the_time_pay_everybody_once(
    shop: Shop, database_url: str, tmp_path: Path
) -> None:
    sessions = {}
    for number in range(4):
        member = f"m-{number}"
        await shop.member(member, purchase=10_000)
        sessions[member] = await shop.linked(member, "APP")
    async with shop.another_hub(database_url, tmp_path / "other"):
        shop.sandbox.faults.chances = dict(chances_of([f"all={FAULTS}"]))
        asked = await asyncio.gather(
            *(
                shop.ask(member, sessions[member], 100, key=f"k-{number}")
                for number, member in zip(range(EXCHANGES), cycle(sessions), strict=False)
            )
        )
        assert {status for status, _ in asked} == {202}
        await shop.time_flies(until_final=[answer["request_id"] for _, answer in asked])
        shop.sandbox.faults.clear()
        backs = [
            await shop.reversed(answer["request_id"], amount_jpy=40)
            for _, answer in asked
            if await shop.status(answer["request_id"]) == "SUCCESS"
        ]
        assert {status for status, _ in backs} == {202}
        await shop.time_flies(until_final=[])

    done = [await shop.status(answer["request_id"]) for _, answer in asked]
    assert set(done) <= {"SUCCESS", "FAILED"}
    assert done.count("SUCCESS") == len(shop.given()) == len(backs)
    assert len({one.id for one in shop.given()}) == len(shop.given())
    assert sum([(await shop.points(member))[0] for member in sessions]) == 40_000 - 60 * len(backs)
