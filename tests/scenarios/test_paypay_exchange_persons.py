"""What waits, and what a person decides: never a second grant, and PayPay is asked on until it has said the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.paypay import cashback
from handlers.paypay.operating import sweep_once
from handlers.paypay.outcomes import Outcome
from handlers.paypay.sandbox_books import Cashback, Reversal
from handlers.paypay.states import Step
from handlers.paypay.tables import Request
from hub.deliver.context import Context
from hub.errors import PermanentError, RefusedCommand
from tests.scenarios.paypay_exchange import API, RESULTS, Shop, paypay_shop
from tests.support.clock import SettableClock

DAY_S = 86_400
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database decides: what the two do differently, the other tests show."""


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Shop]:
    async with paypay_shop(database_url, tmp_path, clock) as shop:
        yield shop


@ON_SQLITE
async def test_what_stays_undecided_for_a_day_is_a_persons(shop: Shop) -> None:
    await shop.member("m-1", purchase=1_000)
    session_id = await shop.linked("m-1")
    shop.sandbox.cashbacks._timing.decides_s = 10 * DAY_S
    asked = [await shop.exchanged("m-1", session_id, 100, key=f"k-{n}") for n in range(2)]
    for seconds in (1, 5, 30):
        await shop.passes(seconds)
    shop.order("stale-read", times=50)

    await shop.passes(DAY_S)
    assert await shop.swept() == 2

    assert [await shop.status(one) for one in asked] == ["MANUAL"] * 2
    assert await shop.points("m-1") == (800, 200)
    assert await shop.reviews() == ["undecided_for_a_day"] * 2
    # The hub goes on asking every hour; a person may be quicker, with PayPay's panel as the witness.
    assert await shop.decided(asked[0], "succeeded") == "SUCCESS"
    assert await shop.swept() == 0
    for given in shop.given():
        given.decides_at = 0
        shop.sandbox.books.keep(given)
    shop.sandbox.faults.clear()
    await shop.passes(3_601)
    # Also what a person has decided is asked about, until PayPay says the same.
    assert await shop.swept() == 2
    assert await shop.status(asked[1]) == "SUCCESS"
    assert await shop.reviews() == []
    await shop.passes(3_601)
    assert await shop.swept() == 0


@ON_SQLITE
async def test_sweeps_add_no_looks_to_those_that_cannot_be_taken(shop: Shop) -> None:
    await shop.member("m-1", purchase=300)
    shop.sandbox.cashbacks._timing.decides_s = 10 * DAY_S
    await shop.exchanged("m-1", await shop.linked("m-1"), 100)
    for seconds in (1, 5, 30):
        await shop.passes(seconds)

    await shop.hub.hub.around.flow.provider("paypay").pause(1_500.0, by="ann", reason="maintenance")
    found = []
    for _ in range(4):
        shop.clock.advance(301)
        found.append(await sweep_once(shop.hub.hub.api, by="ann"))
    assert found == [1, 0, 0, 0]

    # Once it was taken, the next one is due five minutes later.
    await shop.passes(301)
    await shop.passes(301)
    assert await shop.swept() == 1


@ON_SQLITE
async def test_a_persons_word_alone_makes_no_second_grant(shop: Shop) -> None:
    await shop.member("m-1", purchase=1_000)
    session_id = await shop.linked("m-1")
    shop.sandbox.cashbacks._timing.decides_s = 10 * DAY_S
    fails, pays = [await shop.exchanged("m-1", session_id, 100, key=f"k-{n}") for n in range(2)]
    await shop.passes(DAY_S)
    await shop.swept()
    for one in (fails, pays):
        assert await shop.decided(one, "failed") == "FAILED"
    assert await shop.points("m-1") == (1_000, 0)

    # While PayPay has not said it, a new id could be a second grant; it is asked every hour.
    for one in (fails, pays):
        status, answer = await shop.call("POST", f"{API}/cashback/{one}/retry", {"operator": "ann"})
        assert (status, answer["error"]) == (409, "NOT_RETRYABLE")
    await shop.passes(3_601)
    assert await shop.swept() == 2
    for given in shop.sandbox.books.all(Cashback):
        is_failure = given.id == (await shop.cashback(fails)).merchant_cashback_id
        given.decides_at, given.decision = 0, "FAILURE" if is_failure else "SUCCESS"
        shop.sandbox.books.keep(given)
    await shop.passes(3_601)
    assert await shop.swept() == 2

    # PayPay agrees about the one and has paid the other, which a person hears of; neither is asked about any more.
    assert (await shop.reviews(), await shop.status(pays)) == (["contradiction"], "FAILED")
    await shop.passes(3_601)
    assert await shop.swept() == 0
    status, _ = await shop.call("POST", f"{API}/cashback/{pays}/retry", {"operator": "ann"})
    assert status == 409
    status, again = await shop.call("POST", f"{API}/cashback/{fails}/retry", {"operator": "ann"})
    assert status == 202
    shop.sandbox.cashbacks._timing.decides_s = 0.5
    await shop.goes_on_until(lambda: shop.has_ended(again["request_id"]))
    # The way out: what PayPay has paid is settled so.
    assert await shop.decided(pays, "succeeded") == "SUCCESS"
    assert (await shop.reviews(), await shop.points("m-1")) == ([], (800, 0))


@ON_SQLITE
async def test_what_a_person_has_settled_otherwise_than_paypay_is_put_right(shop: Shop) -> None:
    await shop.member("m-1", purchase=200, promotion=200)
    session_id = await shop.linked("m-1")
    shop.sandbox.cashbacks._timing.decides_s = 10 * DAY_S
    kept, back, unpaid = [await shop.exchanged("m-1", session_id, 100, key=f"k-{n}") for n in range(3)]
    await shop.passes(DAY_S)
    await shop.swept()
    for one, decision in ((kept, "failed"), (back, "failed"), (unpaid, "succeeded")):
        await shop.decided(one, decision)
    unpaid_id = (await shop.cashback(unpaid)).merchant_cashback_id
    for given in shop.sandbox.books.all(Cashback):
        given.decides_at, given.decision = 0, "FAILURE" if given.id == unpaid_id else "SUCCESS"
        shop.sandbox.books.keep(given)
    await shop.passes(3_601)
    assert await shop.swept() == 3
    assert await shop.reviews() == ["contradiction"] * 3

    # PayPay has paid the first. While the member has used the points there is nothing to pay it with.
    for one, decision, why in ((kept, "failed", "SUCCESS"), (kept, "again", "SUCCESS"), (unpaid, "again", "FAILURE")):
        with pytest.raises(RefusedCommand, match=f"PayPay says {why}"):
            await shop.decided(one, decision)
    shop.sandbox.cashbacks._timing.decides_s = 0.5
    used = await shop.exchanged("m-1", session_id, 300, key="used")
    with pytest.raises(RefusedCommand, match="0 of 100 points"):
        await shop.decided(kept, "succeeded")
    await shop.grant("m-1", 100)
    await shop.settled()
    assert (await shop.decided(kept, "succeeded"), await shop.points("m-1")) == ("SUCCESS", (0, 300))

    # It has not paid the third: its points come back, and it can be tried again.
    assert (await shop.decided(unpaid, "failed"), await shop.points("m-1")) == ("FAILED", (100, 300))
    for one, decision in ((kept, "succeeded"), (unpaid, "failed")):
        with pytest.raises(RefusedCommand, match="NOT_MANUAL"):
            await shop.decided(one, decision)

    # The second is taken back, whole; its points never left the member.
    assert (await shop.reversed(back, amount_jpy=20))[0] == 409
    assert (await shop.reversed(back))[0] == 202
    with pytest.raises(RefusedCommand, match="IS_REVERSED"):
        await shop.decided(back, "succeeded")

    async def have_ended() -> bool:
        return await shop.has_ended(used) and all(one.state.is_final for one in await shop.reversals())

    await shop.goes_on_until(have_ended)
    assert (await shop.status(back), await shop.reviews()) == ("FAILED", [])
    assert await shop.points("m-1") == (100, 0)
    told = [(key, body["request_id"]) for key, body in await shop.messages(RESULTS)]
    assert [key.rpartition(".")[2] for key, one in told if one in (kept, unpaid)] == [
        "failed", "succeeded", "succeeded", "failed"
    ]  # fmt: skip

    # A reversal that a person gave up and PayPay has made: its points come back once that is settled.
    shop.sandbox.cashbacks._timing.decides_s = 10 * DAY_S
    await shop.reversed(kept)
    await shop.passes(DAY_S)
    await shop.swept()
    given_up = next(one for one in await shop.reversals() if str(one.cashback_request_id) == kept)
    as_reversal = {"kind": "reversal", "amount_jpy": 50}
    assert await shop.decided(str(given_up.id), "failed", **as_reversal) == "FAILED"
    for taken in shop.sandbox.books.all(Reversal):
        taken.decides_at = 0
        shop.sandbox.books.keep(taken)
    await shop.passes(3_601)
    await shop.swept()
    assert (await shop.reviews(), await shop.points("m-1")) == (["contradiction"], (100, 0))
    assert await shop.decided(str(given_up.id), "succeeded", **as_reversal) == "SUCCESS"
    assert (await shop.reviews(), await shop.points("m-1")) == ([], (200, 0))

    # PayPay says again that it has paid the third, and takes it back: what was undone before is not undone twice.
    shop.sandbox.cashbacks._timing.decides_s = 0.5
    before = await shop.balances()
    for given in shop.sandbox.books.all(Cashback):
        if given.id == unpaid_id:
            given.decision = "SUCCESS"
            shop.sandbox.books.keep(given)
    await shop.notified({"merchantCashbackId": unpaid_id})
    await shop.settled()
    await shop.passes(6)
    assert await shop.reviews() == ["contradiction"]
    assert (await shop.reversed(unpaid, key="r-3"))[0] == 202
    await shop.goes_on_until(have_ended)
    assert (await shop.status(unpaid), await shop.reviews()) == ("FAILED", ["contradiction", "reversed_what_failed"])
    assert await shop.balances() == before
    # What was taken back counts as not given.
    not_given = {(await shop.cashback(one)).merchant_cashback_id for one in (back, unpaid)}
    for given in shop.given():
        if given.id in not_given:
            given.decision = "FAILURE"
            shop.sandbox.books.keep(given)


@ON_SQLITE
async def test_what_is_to_be_taken_back_is_not_sent_again(shop: Shop) -> None:
    await shop.member("m-1", purchase=300)
    session_id = await shop.linked("m-1")
    shop.order("timeout-before-commit")
    request_id = await shop.exchanged("m-1", session_id, 200)
    assert await shop.status(request_id) == "UNKNOWN"

    assert (await shop.reversed(request_id))[0] == 202
    for seconds in (1, 5, 30, 300):
        await shop.passes(seconds)
    await shop.swept()

    assert (await shop.status(request_id), await shop.points("m-1")) == ("MANUAL", (100, 200))
    assert "absent_but_reversed" in await shop.reviews()
    with pytest.raises(RefusedCommand, match="taken back"):
        await shop.decided(request_id, "again")
    assert await shop.decided(request_id, "failed") == "FAILED"
    assert (shop.sandbox.books.all(Cashback), await shop.points("m-1")) == ([], (300, 0))


@ON_SQLITE
async def test_a_new_request_whose_delivery_failed_for_good_is_looked_at(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.member("m-1", purchase=300)
    session_id = await shop.linked("m-1")

    def note(row: Request, outcome: Outcome, ctx: Context) -> Step:
        raise PermanentError("the answer cannot be written down")

    with monkeypatch.context() as patch:
        patch.setattr(cashback, "note_sent", note)
        sent = await shop.exchanged("m-1", session_id, 100, key="sent")
    assert (await shop.status(sent), len(shop.given())) == ("NEW", 1)

    await shop.goes_on_until(lambda: shop.has_ended(sent), step_s=100.0)

    assert (await shop.status(sent), await shop.points("m-1")) == ("SUCCESS", (200, 0))


@ON_SQLITE
async def test_a_request_that_never_reached_paypay_is_a_persons_after_a_day(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.member("m-1", purchase=300)
    session_id = await shop.linked("m-1")

    def never(ctx: Context) -> None:
        raise PermanentError("not sent")

    with monkeypatch.context() as patch:
        patch.setattr(cashback, "paypay", never)
        given_up, again = [await shop.exchanged("m-1", session_id, 100, key=f"k-{n}") for n in range(2)]
    await shop.passes(DAY_S)
    assert await shop.swept() == 2

    assert (await shop.status(given_up), await shop.reviews()) == ("NEW", ["not_sent_for_a_day"] * 2)
    assert await shop.decided(given_up, "failed") == "FAILED"
    assert (await shop.points("m-1"), await shop.reviews()) == ((200, 100), ["not_sent_for_a_day"])
    # What is sent again does not wait behind the try that is parked.
    await shop.decided(again, "again")
    await shop.goes_on_until(lambda: shop.has_ended(again))
    assert (await shop.status(again), await shop.reviews()) == ("SUCCESS", [])


@ON_SQLITE
async def test_what_is_taken_back_before_it_is_decided_waits_for_its_end(shop: Shop) -> None:
    await shop.member("m-1", purchase=300)
    request_id = await shop.exchanged("m-1", await shop.linked("m-1"), 200)
    shop.sandbox.cashbacks._timing.decides_s = 0.5

    assert (await shop.reversed(request_id, amount_jpy=50))[0] == 202
    await shop.passes(1)
    (back,) = await shop.reversals()
    assert (await shop.status(request_id), back.status, await shop.points("m-1")) == (
        "ACCEPTED",
        "ACCEPTED",
        (100, 200),
    )

    async def has_ended() -> bool:
        return all(one.state.is_final for one in await shop.reversals())

    await shop.goes_on_until(has_ended)

    (back,) = await shop.reversals()
    assert (await shop.status(request_id), back.status, back.returned_points) == ("SUCCESS", "SUCCESS", 100)
    assert await shop.points("m-1") == (200, 0)
