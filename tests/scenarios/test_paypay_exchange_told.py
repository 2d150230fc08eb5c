"""What PayPay tells unasked, and who links an account: only what PayPay says when it is asked is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.paypay.sandbox_books import User
from tests.scenarios.paypay_exchange import API, REDIRECT, Shop, paypay_shop
from tests.support.clock import SettableClock

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database decides: what the two do differently, the other tests show."""
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Shop]:
    async with paypay_shop(database_url, tmp_path, clock) as shop:
        yield shop


@ON_SQLITE
async def test_a_notification_is_a_hint_that_only_a_look_believes(shop: Shop) -> None:
    await shop.member("m-1", purchase=1_000)
    session_id = await shop.linked("m-1")
    request_id = await shop.exchanged("m-1", session_id, 100)
    row = await shop.cashback(request_id)
    calls = shop.sandbox.calls

    # It says failure, several times, while PayPay has not decided: one look, and nothing follows from the words.
    # The reversal that it names as well is one of nobody here.
    lie = {
        "notification_type": "Cashback",
        "merchantCashbackReversalId": "rv-unknown",
        "merchantCashbackId": row.merchant_cashback_id,
        "status": "FAILURE",
    }
    for number in range(11):
        assert await shop.notified({**lie, "copy": number}) == (200, "OK")
    # A copy to the letter is heard as well: it may be the genuine one, of which somebody has guessed the text.
    for _ in range(3):
        assert await shop.notified({**lie, "copy": 10}) == (200, "OK")
    await shop.settled()
    await shop.passes(0)
    assert (await shop.status(request_id), shop.sandbox.calls - calls) == ("ACCEPTED", 1)
    assert await shop.outcomes("hear-of-cashback") == ["look_asked_for"] + ["look_asked_for"] + ["look_is_coming"] * 12
    # Another look comes, five seconds later, and it finds what PayPay decided.
    await shop.passes(5)
    assert await shop.status(request_id) == "SUCCESS"

    # Strangers' ids and nonsense cost nothing.
    calls = shop.sandbox.calls
    for body in ({"merchantCashbackId": "cb-unknown"}, {}, {"notification_type": "something.new"}):
        assert await shop.notified(body) == (200, "OK")
    assert [(await shop.notified(raw))[0] for raw in (b"not json", b"[]", b"x" * 70_000)] == [400, 400, 413]
    # What has ended stays, whatever is said; the contradiction is a person's only when PayPay itself says so.
    await shop.notified({**lie, "copy": 11})
    await shop.settled()
    await shop.passes(6)
    assert (await shop.status(request_id), await shop.reviews()) == ("SUCCESS", [])
    assert shop.sandbox.calls - calls == 1
    (given,) = shop.given()
    given.decision = "FAILURE"
    shop.sandbox.books.keep(given)
    for number in (12, 13):
        await shop.notified({**lie, "copy": number})
        await shop.settled()
        await shop.passes(6)
    assert (await shop.status(request_id), await shop.reviews()) == ("SUCCESS", ["contradiction"])
    given.decision = "SUCCESS"
    shop.sandbox.books.keep(given)


@ON_POSTGRESQL
async def test_a_text_that_the_database_does_not_take_parks_nothing(shop: Shop) -> None:
    revoked = {"notification_type": "customer.authorization.revoked"}
    named = ({"merchantCashbackId": "cb-\0"}, {"merchantCashbackReversalId": "\0"})
    for body in (*named, {**revoked, "nonce": "\0"}, {**revoked, "userAuthorizationId": "\0"}):
        assert await shop.notified(body) == (200, "OK")
    await shop.settled()

    assert await shop.outcomes("hear-of-cashback") == ["unknown_id"] * 2
    assert await shop.outcomes("hear-of-authorization") == ["unknown_id"] * 2


@ON_SQLITE
async def test_a_notification_cannot_link_an_account_that_paypay_does_not_know_as_the_members(shop: Shop) -> None:
    await shop.member("m-1", purchase=100)
    session_id, link = await shop.started("m-1")
    _, thiefs_link = await shop.started("m-2")
    await shop.logged_in(thiefs_link)
    (thief,) = shop.sandbox.books.all(User)
    (session, _) = await shop.sessions()
    forged = {
        "notification_type": "customer.authroization.succeeded",
        "nonce": session.nonce,
        "referenceId": "m-1",
        "userAuthorizationId": thief.id,
    }

    await shop.notified(forged, f"{API}/webhook")
    await shop.settled()
    await shop.passes(0)

    assert (await shop.sessions())[0].status == "CREATED"
    token = await shop.logged_in(link)
    member = next(user for user in shop.sandbox.books.all(User) if user.reference_id == "m-1")
    # The genuine one, before the token: it links, and the token confirms it.
    await shop.passes(5)
    await shop.notified({**forged, "userAuthorizationId": member.id}, f"{API}/webhook")
    await shop.settled()
    await shop.passes(5)
    assert (await shop.sessions())[0].status == "LINKED"
    update = {"member_id": "m-1", "responseToken": token}
    for _ in range(2):
        status, answer = await shop.call("POST", f"{API}/sessions/update_session", update)
        assert (status, answer["status"]) == (200, "LINKED")
    # And one that PayPay confirms revokes it, in every session that has it.
    again = await shop.linked("m-1")
    await shop.shares_authorization(again, session_id)
    member.is_active = False
    shop.sandbox.books.keep(member)
    await shop.passes(5)
    await shop.notified(
        {"notification_type": "customer.authorization.revoked", "userAuthorizationId": member.id}, f"{API}/webhook"
    )
    await shop.settled()
    await shop.passes(5)
    assert [one.status for one in await shop.sessions() if one.member_id == "m-1"] == ["REVOKED"] * 2
    for one in (session_id, again):
        assert (await shop.ask("m-1", one, 100))[1]["error"] == "NOT_LINKED"


@ON_SQLITE
async def test_an_authorization_that_paypay_does_not_know_any_more_is_of_no_use(shop: Shop) -> None:
    session_id = await shop.linked("m-1")
    (user,) = shop.sandbox.books.all(User)
    shop.sandbox.books.forget(user)

    await shop.notified(
        {"notification_type": "customer.authroization.canceled", "userAuthorizationId": user.id}, f"{API}/webhook"
    )
    await shop.settled()
    await shop.passes(0)

    assert [one.status for one in await shop.sessions()] == ["REVOKED"]
    assert (await shop.ask("m-1", session_id, 100))[1]["error"] == "NOT_LINKED"


@ON_SQLITE
async def test_linking_keeps_to_the_bounds_of_all_calls_and_what_nobody_decides_expires(shop: Shop) -> None:
    await shop.started("m-1")
    calls = shop.sandbox.calls
    provider = shop.hub.hub.around.flow.provider("paypay")
    body = {"member_id": "m-1", "device_type": "PC", "redirect_url": REDIRECT}

    await provider.pause(3_000.0, by="ann", reason="PayPay asked for it")
    status, answer = await shop.call("POST", f"{API}/sessions", body)

    assert (status, answer["error"], shop.sandbox.calls) == (502, "PAYPAY_UNAVAILABLE", calls)
    assert [one.status for one in await shop.sessions()] == ["CREATED", "FAILED"]
    # A quarter of an hour to log in, and an hour for a notification that comes late.
    await shop.passes(4_499)
    await shop.swept()
    assert (await shop.sessions())[0].status == "CREATED"
    await shop.passes(2)
    await shop.swept()
    assert [one.status for one in await shop.sessions()] == ["EXPIRED", "FAILED"]
    (expired, _) = await shop.sessions()
    assert (await shop.ask("m-1", str(expired.id), 100))[1]["error"] == "NOT_LINKED"
