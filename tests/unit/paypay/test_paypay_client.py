"""The client against PayPay's stand-in: what leaves us, what comes back, and everything that can go wrong between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from handlers.paypay.client import BackOff, PayPay, client_of
from handlers.paypay.outcomes import (
    Declined,
    Facts,
    PayPayBusyError,
    PayPayPausedError,
    PayPayUnreachableError,
    Pending,
    Settled,
    Unknown,
    Verdict,
)
from handlers.paypay.sandbox import Sandbox
from handlers.paypay.sandbox_books import Cashback
from handlers.paypay.sandbox_faults import AFTER, BEFORE
from handlers.paypay.sdk import Sdk
from handlers.paypay.wire import (
    CapturePayment,
    CreateCode,
    CreatePayment,
    DeleteCode,
    GiveCashback,
    LinkAccount,
    OrderItem,
    ReadAuthorization,
    ReadCashback,
    ReadPayment,
    RefundPayment,
    ReverseCashback,
    RevertPayment,
)
from hub.flow.turn import Turn
from tests.support.paypay import USER, paypay_sandbox, settings_for

NOW = datetime(2026, 3, 15, 1, tzinfo=UTC)
WAIT_S_MAX = 20.0


@pytest.fixture
async def world() -> AsyncIterator[tuple[PayPay, Sandbox]]:
    """A client and the PayPay that it calls."""
    async with paypay_sandbox() as (sandbox, url):
        client = PayPay(settings_for(url))
        yield client, sandbox
        client.close()


def gift(id: str = "cb-1", amount_jpy: int = 50, **more: object) -> GiveCashback:
    return GiveCashback.model_validate(
        {
            "merchant_cashback_id": id,
            "user_authorization_id": USER,
            "amount_jpy": amount_jpy,
            "requested_at": NOW,
            "wallet_type": "PREPAID",
            **more,
        }
    )


def payment(id: str = "pay-1", amount_jpy: int = 1_200) -> CreatePayment:
    return CreatePayment(
        merchant_payment_id=id, user_authorization_id=USER, amount_jpy=amount_jpy, requested_at=NOW,
        order_description="月餅",
    )  # fmt: skip


def reversal(id: str = "rv-1", amount_jpy: int = 50) -> ReverseCashback:
    return ReverseCashback(
        merchant_cashback_reversal_id=id, merchant_cashback_id="cb-1", amount_jpy=amount_jpy, requested_at=NOW
    )


async def test_a_cashback_is_given_read_reversed_and_read_again(world: tuple[PayPay, Sandbox]) -> None:
    client, sandbox = world

    given = await client.give_cashback(gift(order_description="ポイント交換"), "")
    read = await client.read_cashback(gift(), "")
    again = await client.give_cashback(gift(), "")
    taken = await client.reverse_cashback(reversal(amount_jpy=20), "")
    reversed_ = await client.read_reversal(reversal(), "")
    unknown = await client.read_cashback(ReadCashback(merchant_cashback_id="cb-2"), "")

    assert isinstance(given, Pending)
    assert isinstance(read, Settled)
    assert Facts.of(read).amount_jpy == 50
    assert isinstance(again, Unknown)
    assert Facts.of(again).verdict is Verdict.DUPLICATE_OR_INVALID
    assert isinstance(taken, Pending)
    assert isinstance(reversed_, Settled)
    assert Facts.of(reversed_).amount_jpy == 20
    assert isinstance(unknown, Unknown)
    assert Facts.of(unknown).verdict is Verdict.NOT_FOUND_YET
    assert sandbox.cashbacks.granted_jpy == 50
    assert sandbox.refused == 0


async def test_a_user_is_linked_asked_about_and_unlinked(world: tuple[PayPay, Sandbox]) -> None:
    client, _ = world
    link = LinkAccount(nonce="nonce-1", redirect_url="https://shop.example.test/back", reference_id="member-1")

    linked = await client.link_account(link)
    active = await client.read_authorization(ReadAuthorization(user_authorization_id=USER))
    await client.unlink(ReadAuthorization(user_authorization_id=USER))
    inactive = await client.read_authorization(ReadAuthorization(user_authorization_id=USER))
    unknown = await client.read_authorization(ReadAuthorization(user_authorization_id="nobody"))

    assert "/link/" in Facts.of(linked).data["linkQRCodeURL"]
    assert [Facts.of(active).status, Facts.of(inactive).status] == ["ACTIVE", "INACTIVE"]
    assert isinstance(unknown, Declined)
    assert unknown.reason == "INVALID_USER_AUTHORIZATION_ID"


async def test_a_code_is_made_paid_refunded_and_another_deleted(world: tuple[PayPay, Sandbox]) -> None:
    client, sandbox = world
    items = (OrderItem(name="月餅", quantity=1, unit_price_jpy=1_200),)
    code = CreateCode(merchant_payment_id="pay-1", amount_jpy=1_200, requested_at=NOW, order_items=items)

    made = await client.create_code(code, "")
    same = await client.create_code(code, "")
    unpaid = await client.read_code_payment(code, "")
    sandbox.payments.pay_code(Facts.of(made).data["codeId"], sandbox.clock())
    paid = await client.read_code_payment(code, "")
    refund = RefundPayment(
        merchant_refund_id="rf-1",
        payment_id=Facts.of(paid).data["paymentId"],
        amount_jpy=200,
        requested_at=NOW,
    )
    refunded = await client.refund_payment(refund, "")
    read = await client.read_refund(refund, "")
    second = await client.refund_payment(refund.model_copy(update={"merchant_refund_id": "rf-2"}), "")
    too_late = await client.delete_code(DeleteCode(code_id=Facts.of(made).data["codeId"]), "")
    other = await client.create_code(code.model_copy(update={"merchant_payment_id": "pay-2"}), "")
    deleted = await client.delete_code(DeleteCode(code_id=Facts.of(other).data["codeId"]), "")
    gone = await client.read_code_payment(ReadPayment(merchant_payment_id="pay-2"), "")

    assert Facts.of(same).verdict is Verdict.DUPLICATE
    assert isinstance(unpaid, Pending)
    assert (Facts.of(paid).status, Facts.of(paid).amount_jpy) == ("COMPLETED", 1_200)
    assert isinstance(refunded, Settled)
    assert isinstance(read, Settled)
    assert (Facts.of(second).code, Facts.of(second).code_id) == ("UNACCEPTABLE_OP", "00200014")
    assert Facts.of(too_late).code == "DYNAMIC_QR_ALREADY_PAID"
    assert isinstance(deleted, Settled)
    assert Facts.of(gone).verdict is Verdict.NOT_FOUND


async def test_payments_are_authorized_captured_reverted_cancelled_and_repeated(world: tuple[PayPay, Sandbox]) -> None:
    client, _ = world

    held = await client.preauthorize(payment(), "")
    capture = CapturePayment(
        merchant_payment_id="pay-1", merchant_capture_id="cap-1", amount_jpy=1_000, requested_at=NOW,
        order_description="月餅",
    )  # fmt: skip
    captured = await client.capture_payment(capture, "")
    twice = await client.capture_payment(capture, "")
    other = await client.preauthorize(payment("pay-2"), "")
    revert = RevertPayment(merchant_revert_id="rvt-1", payment_id=Facts.of(other).data["paymentId"], requested_at=NOW)
    reverted = await client.revert_payment(revert, "")
    done = await client.create_payment(payment("pay-3"), "")
    repeated = await client.create_payment(payment("pay-3", 9_999), "")
    cancelled = await client.cancel_payment(ReadPayment(merchant_payment_id="pay-3"), "")
    read = await client.read_payment(ReadPayment(merchant_payment_id="pay-3"), "")
    poor = await client.create_payment(payment("pay-4", 1_000_000), "")
    missing = await client.read_payment(ReadPayment(merchant_payment_id="pay-5"), "")

    assert Facts.of(held).status == "AUTHORIZED"
    assert (Facts.of(captured).status, Facts.of(captured).amount_jpy) == ("COMPLETED", 1_000)
    assert Facts.of(twice).verdict is Verdict.DUPLICATE
    assert Facts.of(reverted).status == "CANCELED"
    assert Facts.of(done).data["paymentId"] == Facts.of(repeated).data["paymentId"]
    assert Facts.of(repeated).amount_jpy == 1_200
    assert isinstance(cancelled, Pending)
    assert isinstance(read, Declined)
    assert Facts.of(poor).code == "NO_SUFFICIENT_FUND"
    assert Facts.of(missing).verdict is Verdict.NOT_FOUND


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER])
async def test_a_fault_leaves_an_honest_outcome_and_the_truth_at_paypay(
    world: tuple[PayPay, Sandbox], fault: str
) -> None:
    client, sandbox = world
    sandbox.faults.order(fault, times=1)

    if fault == "busy-429":
        with pytest.raises(PayPayBusyError):
            await client.give_cashback(gift(), "")
    else:
        assert isinstance(await client.give_cashback(gift(), ""), Unknown)

    assert len(sandbox.books.all(Cashback)) == (fault in AFTER)
    assert sandbox.refused == 0


async def test_only_a_good_answer_ends_the_turn_before_it_was_judged(world: tuple[PayPay, Sandbox]) -> None:
    client, sandbox = world
    ended: list[str] = []

    async def give(id: str) -> None:
        with Turn(lambda: ended.append(id)).taken():
            await client.give_cashback(gift(id), id)

    await give("cb-good")
    await asyncio.sleep(0)
    sandbox.faults.order("busy-429", times=1)
    with pytest.raises(PayPayBusyError):
        await give("cb-busy")

    # Whoever calls next must have heard that it is too many.
    assert ended == ["cb-good"]


async def test_a_refused_key_is_told_and_nothing_is_guessed() -> None:
    async with paypay_sandbox(api_secret="b3RoZXI=") as (_, url):
        client = PayPay(settings_for(url))

        with pytest.raises(PayPayPausedError, match="UNAUTHORIZED"):
            await client.give_cashback(gift(), "")
        with pytest.raises(PayPayPausedError, match="is not set"):
            await PayPay(settings_for(url, api_key="")).give_cashback(gift(), "")
        client.close()


async def test_no_connection_is_not_an_unknown_outcome() -> None:
    with closed_port() as port:
        client = PayPay(settings_for(f"http://127.0.0.1:{port}"))

        with pytest.raises(PayPayUnreachableError):
            await client.give_cashback(gift(), "")
        client.close()


async def test_redirects_long_and_dribbling_answers_are_no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.paypay.client.SEND_S", 0.3)
    monkeypatch.setattr("handlers.paypay.sdk.CONNECT_S", 0.3)
    followed: list[str] = []

    async def redirect(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/followed")

    async def follow(request: web.Request) -> web.Response:
        followed.append(request.path)
        return web.json_response({})

    async def long(_request: web.Request) -> web.Response:
        return web.Response(body=b" " * (2 * 1024 * 1024), content_type="application/json")

    async def dribble(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    for answer in (redirect, long, dribble):
        async with served(answer, also=follow) as url:
            client = PayPay(settings_for(url))
            async with asyncio.timeout(WAIT_S_MAX):
                assert isinstance(await client.give_cashback(gift(), ""), Unknown), answer
            client.close()
    assert followed == []


async def test_many_calls_at_once_never_read_each_others_answer() -> None:
    ids = [f"cb-{number}" for number in range(24)]
    async with paypay_sandbox(latency_s=0.02) as (sandbox, url):
        client = PayPay(settings_for(url))

        await asyncio.gather(*(client.give_cashback(gift(id, 1 + number), "") for number, id in enumerate(ids)))
        read = await asyncio.gather(*(client.read_cashback(ReadCashback(merchant_cashback_id=id), "") for id in ids))
        client.close()

    facts = [Facts.of(outcome) for outcome in read]
    told = [(one.data["merchantCashbackId"], one.amount_jpy) for one in facts]
    assert told == [(id, 1 + number) for number, id in enumerate(ids)]
    assert sandbox.calls_in_flight_most > 1


async def test_whoever_leaves_while_all_threads_are_busy_has_sent_nothing(world: tuple[PayPay, Sandbox]) -> None:
    client, sandbox = world
    sandbox.faults.order("timeout-before-commit", times=1)
    narrow = PayPay(settings_for(str(client_url(client)), calls_max=1))

    first = asyncio.create_task(narrow.give_cashback(gift("cb-1"), ""))
    await until(lambda: sandbox.calls > 0)
    waiting = asyncio.create_task(narrow.give_cashback(gift("cb-2"), ""))
    await asyncio.sleep(0)
    waiting.cancel()

    assert isinstance(await first, Unknown)
    assert isinstance(await narrow.read_cashback(ReadCashback(merchant_cashback_id="cb-2"), ""), Unknown)
    assert sandbox.books.all(Cashback) == []
    narrow.close()


async def test_the_screen_stays_clean_and_nothing_of_a_call_is_logged(
    world: tuple[PayPay, Sandbox], capsys: pytest.CaptureFixture[str]
) -> None:
    client, _ = world

    await client.give_cashback(gift(user_authorization_id="someone-else"), "")

    shown = capsys.readouterr()
    assert "troubleshoot" not in shown.out + shown.err
    assert "someone-else" not in shown.out + shown.err
    assert "OPA-Auth" not in shown.out + shown.err


def test_a_missing_setuptools_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from handlers.paypay import sdk  # noqa: PLC0415

    def broken(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("paypayopa"):
            raise ModuleNotFoundError("No module named 'pkg_resources'")
        return real(name, *args, **kwargs)

    real = __import__
    monkeypatch.setattr("builtins.__import__", broken)

    assert "setuptools below version 81" in str(sdk.load_problem())


@pytest.mark.parametrize(
    "change",
    [
        {"merchant_cashback_id": "a/b?c"},
        {"merchant_cashback_id": "x" * 65},
        {"merchant_cashback_id": "line\n"},
        {"merchant_cashback_id": ""},
        {"amount_jpy": 0},
        {"amount_jpy": 1.5},
        {"amount_jpy": True},
        {"amount_jpy": 100_000_000_000},
        {"order_description": "x" * 256},
        {"wallet_type": "OTHER"},
        {"requested_at": datetime(2026, 3, 15)},  # noqa: DTZ001 - a time without a zone is what is refused
        {"surprise": 1},
    ],
)
def test_what_paypay_would_refuse_does_not_leave(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GiveCashback.model_validate({**gift().model_dump(), **change})


def test_the_pause_after_429_doubles_up_to_five_minutes_and_starts_anew() -> None:
    back_off = BackOff(chance=lambda: 0.0)

    assert [back_off.next_s() for _ in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    back_off.forget()
    assert back_off.next_s(at_least_s=7.0) == 7.0


def test_there_is_one_client_for_all_who_share_its_settings() -> None:
    settings = settings_for("http://127.0.0.1:1")

    assert client_of(settings) is client_of(settings)
    assert client_of(settings) is not client_of(settings_for("http://127.0.0.1:2"))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not holds():  # noqa: ASYNC110 - what is waited for is in another thread
            await asyncio.sleep(0.01)


def client_url(client: PayPay) -> str | None:
    sdk: Sdk = client._sdk
    return sdk._settings.url


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine where nobody listens, and nobody else will for now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    *,
    also: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Any:
    @asynccontextmanager
    async def serve() -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes([web.route("*", "/followed", also), web.route("*", "/{tail:.*}", answer)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    return serve()
