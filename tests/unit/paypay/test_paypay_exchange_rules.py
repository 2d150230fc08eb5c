"""What is decided without a database: states, rates, shares and tokens, by the published cases."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from handlers.paypay import cashback
from handlers.paypay.answers import Answer, Asked, facts_from, outcome_of
from handlers.paypay.codes import Call
from handlers.paypay.conversions import checked_points, points_back, yen_for
from handlers.paypay.exchanging import a_year_before
from handlers.paypay.outcomes import Outcome, Unknown
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.states import (
    Alert,
    Look,
    Seen,
    Status,
    Step,
    after_looking,
    after_sending,
    is_confirmed,
    next_confirming_at,
    next_sweep_at,
    seen_of,
    sent_of,
)
from handlers.paypay.tokens import read_token
from hub.errors import BusyError, RefusedCommand
from schemas.paypay_exchange import CashbackCheck

DATA = Path(__file__).resolve().parents[2] / "data" / "paypay"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CASES = [
    case
    for case in json.loads((DATA / "state_cases.json").read_text())["cases"]
    if case["machine"] in ("cashback", "reversal")
]
EXCHANGES = json.loads((DATA / "points_exchange_cases.json").read_text())
TOKENS = json.loads((DATA / "auth_tokens.json").read_text())
CALLS = {"give": Call.GIVE_CASHBACK, "reverse": Call.REVERSE_CASHBACK}
LOOKS = {"cashback": Call.READ_CASHBACK, "reversal": Call.READ_REVERSAL}
SILENCE = ("read time-out", "connection reset", "process killed while the call was out")
POINTS = {Status.SUCCESS: "spent", Status.FAILED: "released", Status.REJECTED: "released"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['machine']} {case['from']} {case['event']}")
def test_what_paypay_says_leads_to_the_published_state(case: dict[str, Any]) -> None:
    before = Status(case["from"])

    step = step_of(case, before)

    after = before if case["to"] == "same" else Status(case["to"])
    assert step.status is after
    assert case.get("points", POINTS.get(after, "held")) == POINTS.get(after, "held")
    assert step.is_resent == any("SAME" in action for action in case["actions"])
    # A person hears of what the hub cannot settle; what a failure of a reversal needs is told where it is met.
    assert (step.alert is not None) == (after is Status.MANUAL and before is not Status.MANUAL)


def step_of(case: dict[str, Any], before: Status) -> Step:
    """What the machine makes of a published event."""
    kind, _, said = case["event"].partition(":")
    if case["event"] == "24 h old":
        return after_looking(before, Seen.NOTHING, look(hours=24))
    if kind in CALLS or case["event"] in SILENCE:
        try:
            outcome = answer_of(CALLS.get(kind, Call.GIVE_CASHBACK), said or case["event"])
        except BusyError:
            # Nothing reached PayPay: the delivery is tried again, and the row is as it was.
            return Step(before)
        return after_sending(before, sent_of(outcome), is_first=True)
    if kind == "check":
        is_late = "5 min passed" in said
        around = look(minutes=6, absent=3) if is_late else look(minutes=1, absent=1)
        return after_looking(before, seen_of(answer_of(LOOKS[case["machine"]], said)), around)
    # A notification, an operator and a member change no state: they make a look or a new row.
    return Step(before)


def look(
    *, hours: float = 0, minutes: float = 0, absent: int = 0, is_sent: bool = True, is_reversed: bool = False
) -> Look:
    since = NOW - timedelta(hours=hours, minutes=minutes)
    sent_at = since if is_sent else None
    return Look(now=NOW, requested_at=since, sent_at=sent_at, absent_count=absent, is_reversed=is_reversed)


def answer_of(call: Call, said: str) -> Outcome:
    """The outcome of an answer as the published cases write it."""
    if said in SILENCE or said == "5xx or time-out":
        return Unknown(said)
    if said == "connection refused":
        raise BusyError(said)
    if said == "2xx without resultInfo":
        return outcome_from(call, 200, b'{"data": null}')
    if call in LOOKS.values():
        return outcome_from(call, *look_body(said))
    status, _, code = said.partition(" ")
    if code in ("html", ""):
        return outcome_from(call, int(status), b"<html></html>")
    return outcome_from(call, int(status), body(code, None))


def look_body(said: str) -> tuple[int, bytes]:
    """HTTP status and body of a look's answer."""
    if said.startswith("TRANSACTION_NOT_FOUND"):
        return 404, body("TRANSACTION_NOT_FOUND", None)
    state, _, reason = said.partition(" ")
    code = reason if re.fullmatch("[A-Z_]+", reason) else "SUCCESS"
    return 200, body(code, {"status": state, "amount": {"amount": 50, "currency": "JPY"}})


def body(code: str, data: object) -> bytes:
    return json.dumps({"resultInfo": {"code": code, "message": "", "codeId": "UNCONFIRMED"}, "data": data}).encode()


def outcome_from(call: Call, status: int, raw: bytes) -> Outcome:
    asked = Asked(call)
    return outcome_of(asked, facts_from(asked, Answer(http_status=status, body=raw)))


def test_a_refusal_after_an_undecided_try_ends_nothing() -> None:
    refused = sent_of(outcome_from(Call.GIVE_CASHBACK, 400, body("INVALID_REQUEST_PARAMS", None)))

    assert after_sending(Status.NEW, refused, is_first=True).status is Status.REJECTED
    assert after_sending(Status.NEW, refused, is_first=False) == Step(Status.MANUAL, alert=Alert.REFUSED_AFTER_UNKNOWN)


@given(
    st.sampled_from(list(Status)),
    st.sampled_from(list(Seen)),
    st.integers(0, 100),
    st.integers(0, 10),
    st.booleans(),
)
def test_only_paypays_word_ends_a_request_and_what_has_ended_stays(
    before: Status, seen: Seen, hours: int, absent: int, is_reversed: bool
) -> None:
    step = after_looking(before, seen, look(hours=hours, absent=absent, is_reversed=is_reversed))

    if before.is_final:
        assert step.status is before
    elif step.status.is_final:
        assert (seen, step.status) in ((Seen.SUCCESS, Status.SUCCESS), (Seen.FAILURE, Status.FAILED))
    assert not step.is_resent or (seen is Seen.ABSENT and before is Status.UNKNOWN and absent >= 3)
    assert not step.is_resent or not is_reversed


def test_what_is_to_be_taken_back_is_not_sent_again_but_a_persons() -> None:
    step = after_looking(Status.UNKNOWN, Seen.ABSENT, look(minutes=6, absent=3, is_reversed=True))

    assert step == Step(Status.MANUAL, alert=Alert.ABSENT_BUT_REVERSED)


def test_a_new_request_is_looked_at_like_the_others() -> None:
    assert all((next_sweep_at(status, NOW) is None) == status.is_final for status in Status)
    assert after_looking(Status.NEW, Seen.SUCCESS, look(minutes=6)) == Step(Status.SUCCESS)
    # Never sent, it is on its way still, but a person hears of it; sent again and lost, nobody knows.
    assert after_looking(Status.NEW, Seen.ABSENT, look(hours=24, is_sent=False)) == Step(
        Status.NEW, alert=Alert.NOT_SENT_FOR_A_DAY
    )
    assert after_looking(Status.NEW, Seen.ABSENT, look(hours=24)) == Step(
        Status.MANUAL, alert=Alert.UNDECIDED_FOR_A_DAY
    )


def test_only_paypay_confirms_how_a_request_has_ended() -> None:
    assert is_confirmed(Status.REJECTED, None)
    assert [is_confirmed(Status.FAILED, said) for said in (None, "ACCEPTED", "SUCCESS", "FAILURE")] == [False] * 3 + [
        True
    ]
    assert [is_confirmed(Status.SUCCESS, said) for said in (None, "FAILURE", "SUCCESS")] == [False, False, True]
    # A person's word is checked for a month.
    assert next_confirming_at(NOW, NOW) == NOW + timedelta(hours=1)
    assert next_confirming_at(NOW - timedelta(days=30), NOW) is None


@pytest.mark.parametrize("case", EXCHANGES["conversion"], ids=str)
def test_points_are_worth_what_is_published(case: dict[str, Any]) -> None:
    def worth() -> int:
        return yen_for(checked_points(case["points"]), case["device"])

    if "error" in case:
        with pytest.raises(RefusedCommand) as refused:
            worth()
        assert refused.value.code == case["error"]
    else:
        assert worth() == case["paypay_amount_jpy"]


def test_more_yen_than_paypay_gives_at_once_are_refused_before_points_are_held() -> None:
    most = 99_999_999_900

    assert (yen_for(most, "APP"), yen_for(2 * most, "PC")) == (most, most)
    for points, device in ((most + 100, "APP"), (2 * most + 200, "PC")):
        with pytest.raises(RefusedCommand) as refused:
            yen_for(points, device)
        assert refused.value.code == "TOO_MANY_POINTS"


@given(st.integers(1, 1000).map(lambda n: n * 100), st.data())
def test_reversals_of_all_the_yen_return_all_the_points(points: int, data: st.DataObject) -> None:
    granted = data.draw(st.integers(1, points))
    returned = reversed_jpy = 0
    while reversed_jpy < granted:
        part = data.draw(st.integers(1, granted - reversed_jpy))
        back = points_back(
            points=points,
            granted_jpy=granted,
            returned=returned,
            reversed_before_jpy=reversed_jpy,
            reversed_jpy=part,
        )
        assert back >= 0
        returned, reversed_jpy = returned + back, reversed_jpy + part
        # Never more than the share of what was taken.
        assert returned * granted <= points * reversed_jpy

    assert returned == points


def test_a_year_goes_back_to_the_same_time_of_day() -> None:
    assert a_year_before(datetime(2028, 2, 29, 12, tzinfo=UTC)) == datetime(2027, 2, 28, 12, tzinfo=UTC)
    assert a_year_before(NOW) == NOW.replace(year=2025)


@pytest.mark.parametrize("case", TOKENS["response_tokens"], ids=lambda case: case["name"])
def test_tokens_are_read_or_refused_by_their_signature(case: dict[str, Any]) -> None:
    settings = PayPaySettings(api_key=TOKENS["api_key"], api_secret=SecretStr(TOKENS["api_secret"]))
    fits_no_session = {"expired", "wrong_nonce", "other_member", "no_user_id"}

    if case["expect"] == "refused" and case["name"] not in fits_no_session:
        with pytest.raises(RefusedCommand) as refused:
            read_token(case["token"], settings)
        assert refused.value.code == "TOKEN_REFUSED"
        assert case["token"] not in refused.value.detail
        return
    token = read_token(case["token"], settings)
    assert token.user_authorization_id == case.get("user_authorization_id") or case["name"] in fits_no_session
    assert token.result == ("declined" if case["expect"] == "declined" else "succeeded")


async def test_a_session_is_locked_before_the_points_whatever_ends_an_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(what: str) -> Any:
        async def note(*_: object) -> None:
            order.append(what)

        return note

    port = SimpleNamespace(spend=noted("points"))
    for name in ("find_session", "tell_points", "tell_end"):
        monkeypatch.setattr(cashback, name, noted(name))
    monkeypatch.setattr(cashback, "members", lambda _settings: port)
    row: Any = SimpleNamespace(id=UUID(int=1), session_id=UUID(int=2), amount_jpy=50, points=100)
    ctx: Any = SimpleNamespace(settings=None, now=NOW, ledger=SimpleNamespace(post=noted("yen")))

    await cashback._spend(row, ctx)

    assert order[:2] == ["find_session", "points"]


async def test_an_exchange_that_a_look_finds_failed_has_not_failed_because_of_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = {"resultInfo": {"code": "SUCCESS", "codeId": "08100001"}, "data": {"status": "FAILURE"}}
    asked = Asked(Call.READ_CASHBACK)
    outcome = outcome_of(asked, facts_from(asked, Answer(http_status=200, body=json.dumps(raw).encode())))
    row: Any = SimpleNamespace(state=Status.ACCEPTED, status="ACCEPTED", merchant_cashback_id="cb-1", cashback_id=None)
    told: list[str] = []

    async def answer(value: Any) -> Any:
        return value

    async def release(_row: Any, reason: str, _ctx: Any) -> None:
        told.append(reason)

    @asynccontextmanager
    async def reading() -> AsyncIterator[Any]:
        yield SimpleNamespace(get=lambda *_: answer(row))

    ctx: Any = SimpleNamespace(reading=reading, call=lambda *_, **__: answer(outcome), begin=lambda: answer(None))
    client = SimpleNamespace(read_cashback=None)
    monkeypatch.setattr(cashback, "paypay", lambda _ctx: client)
    monkeypatch.setattr(cashback, "_row", lambda *_: answer(row))
    monkeypatch.setattr(cashback, "was_reversed", lambda *_: answer(False))
    monkeypatch.setattr(cashback, "note_seen", lambda *_, **__: Step(Status.FAILED))
    monkeypatch.setattr(cashback, "settle", lambda *_: None)
    monkeypatch.setattr(cashback, "_release", release)

    await cashback.check_cashback.function(CashbackCheck(request_id=UUID(int=1), reason="sweep"), ctx)

    assert told == ["FAILURE"]
