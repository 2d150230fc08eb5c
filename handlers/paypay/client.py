"""Everything that can be asked of PayPay, through its SDK, and nothing else of the SDK.

Each method is a ``send`` or ``lookup`` of ``ctx.call``: it takes (request, key) and answers with one of the outcomes of
``outcomes.py``. The key is not used on the wire: the request's own merchant id is the idempotency key, so give
``ctx.call(..., key=request.merchant_cashback_id)`` the same. Reads answer like sends, with *not found* told as Unknown
and its verdict, because only the caller knows how often PayPay must have said so before it counts.

    outcome = await ctx.call(
        "give", paypay(ctx).give_cashback, request,
        key=request.merchant_cashback_id, lookup=paypay(ctx).read_cashback, timeout_s=CALL_S,
    )

Source: docs/providers/paypay.md, "Calls".
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from handlers.paypay.answers import Answer, Asked, facts_from, outcome_of
from handlers.paypay.codes import Call
from handlers.paypay.outcomes import (
    Outcome,
    PayPayBusyError,
    PayPayPausedError,
    PayPayUnreachableError,
    Unknown,
)
from handlers.paypay.sdk import CONNECT_S, Do, Lost, NotSent, Sdk, SdkMissingError
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.wire import (
    CapturePayment,
    CreateCode,
    CreatePayment,
    DeleteCode,
    GiveCashback,
    LinkAccount,
    NamesCashback,
    NamesPayment,
    NamesRefund,
    NamesReversal,
    ReadAuthorization,
    RefundPayment,
    ReverseCashback,
    RevertPayment,
)

if TYPE_CHECKING:
    from hub.deliver.context import Context

__all__ = ["CALL_S", "PayPay", "client_of", "paypay"]

SEND_S: Final = 30.0
"""How long PayPay may take over a call that moves money: its own advice, and no payment may be given up sooner."""
READ_S: Final = 15.0
LINK_S: Final = 10.0
CALL_S: Final = CONNECT_S + SEND_S + 7.0
"""The ``timeout_s`` of ``ctx.call``: connecting, reading, and room for a busy machine."""
MISSING_S: Final = 300.0
BACK_OFF_S: Final = 1.0
BACK_OFF_S_MAX: Final = 300.0
JITTER: Final = 0.25

log = structlog.get_logger(__name__)


class BackOff:
    """How long to leave PayPay alone: a second, then twice as long each time in a row, with some chance in it."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._in_a_row = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """One more in a row; what to wait now."""
        doubled = BACK_OFF_S * 2.0 ** min(self._in_a_row, 16)
        self._in_a_row += 1
        return min(BACK_OFF_S_MAX, max(doubled, at_least_s)) * (1.0 + JITTER * self._chance())

    def forget(self) -> None:
        """It answers again."""
        self._in_a_row = 0


class PayPay:
    """PayPay as one merchant sees it. One object per process: it holds the threads.

    Whose turn it is to call is the hub's affair (``providers:`` of routing.yaml); a delay that is raised here is the
    hub's to keep, for every process.
    """

    def __init__(self, settings: PayPaySettings) -> None:
        self._sdk = Sdk(settings)
        self._back_off = BackOff()
        self._is_set_up = settings.is_set_up

    def close(self) -> None:
        """Let the threads end."""
        self._sdk.close()

    async def give_cashback(self, request: GiveCashback, key: str) -> Outcome:
        """Ask for a cashback. Pending = accepted, the normal answer; Declined = refused for good."""
        return await self._send(Call.GIVE_CASHBACK, lambda sdk: sdk.Cashback.give_cashback(request.body()))

    async def read_cashback(self, request: NamesCashback, key: str) -> Outcome:
        """Settled = granted, Declined = failed (reason: PayPay's code), Pending = accepted, else Unknown."""
        one = request.merchant_cashback_id
        return await self._read(
            Call.READ_CASHBACK, lambda sdk: sdk.Cashback.check_cashback_detail(one), merchantCashbackId=one
        )

    async def reverse_cashback(self, request: ReverseCashback, key: str) -> Outcome:
        """Ask for a reversal. Pending = accepted; Declined = refused for good."""
        return await self._send(Call.REVERSE_CASHBACK, lambda sdk: sdk.Cashback.reverse_cashback(request.body()))

    async def read_reversal(self, request: NamesReversal, key: str) -> Outcome:
        """As ``read_cashback``; ``Facts.amount_jpy`` is what PayPay really took back."""
        reversal, cashback = request.merchant_cashback_reversal_id, request.merchant_cashback_id
        return await self._read(
            Call.READ_REVERSAL,
            lambda sdk: sdk.Cashback.check_cashback_reversal_detail(reversal, cashback),
            merchantCashbackReversalId=reversal,
            merchantCashbackId=cashback,
        )

    async def link_account(self, request: LinkAccount, key: str = "") -> Outcome:
        """Settled with ``Facts.data["linkQRCodeURL"]``."""
        return await self._send(
            Call.LINK_ACCOUNT, lambda sdk: sdk.Account.create_qr_session(request.body()), read_s=LINK_S
        )

    async def read_authorization(self, request: ReadAuthorization, key: str = "") -> Outcome:
        """Settled with status ACTIVE or INACTIVE, ``scopes`` and ``expireAt``."""
        user = request.user_authorization_id
        return await self._read(Call.READ_AUTHORIZATION, lambda sdk: sdk.User.get_authorization_status(user))

    async def unlink(self, request: ReadAuthorization, key: str = "") -> Outcome:
        """End a user's authorization."""
        user = request.user_authorization_id
        return await self._read(Call.UNLINK, lambda sdk: sdk.User.unlink_user_athorization(user))

    async def create_code(self, request: CreateCode, key: str) -> Outcome:
        """Settled with ``codeId``, ``url``, ``deeplink``, ``expiryDate``; verdict DUPLICATE for an id used before."""
        return await self._send(
            Call.CREATE_CODE,
            lambda sdk: sdk.Code.create_qr_code(request.body()),
            merchantPaymentId=request.merchant_payment_id,
        )

    async def read_code_payment(self, request: NamesPayment, key: str) -> Outcome:
        """The payment of a QR code; see ``read_payment``."""
        one = request.merchant_payment_id
        return await self._read(
            Call.READ_CODE_PAYMENT, lambda sdk: sdk.Code.get_payment_details(one), merchantPaymentId=one
        )

    async def delete_code(self, request: DeleteCode, key: str) -> Outcome:
        """Settled also where PayPay no longer knows the code; Declined when it is paid."""
        return await self._send(Call.DELETE_CODE, lambda sdk: sdk.Code.delete_qr_code(request.code_id), read_s=READ_S)

    async def create_payment(self, request: CreatePayment, key: str) -> Outcome:
        """Settled: COMPLETED or AUTHORIZED; Pending: CREATED; Declined: failed or refused for this id."""
        return await self._send(
            Call.CREATE_PAYMENT,
            lambda sdk: sdk.Payment.create(request.body()),
            merchantPaymentId=request.merchant_payment_id,
        )

    async def preauthorize(self, request: CreatePayment, key: str) -> Outcome:
        """As ``create_payment``, and nothing is taken yet."""
        # Not through the SDK's own method: it insists on an expiry, which is optional.
        return await self._send(
            Call.PREAUTHORIZE,
            lambda sdk: sdk.post("/v2/payments/preauthorize", request.body(), api_id="preauthorize"),
            merchantPaymentId=request.merchant_payment_id,
        )

    async def read_payment(self, request: NamesPayment, key: str) -> Outcome:
        """Settled with ``Facts.status``; Pending while CREATED or REAUTHORIZING; Declined when FAILED."""
        one = request.merchant_payment_id
        return await self._read(
            Call.READ_PAYMENT, lambda sdk: sdk.Payment.get_payment_details(one), merchantPaymentId=one
        )

    async def cancel_payment(self, request: NamesPayment, key: str) -> Outcome:
        """Pending = accepted: no notification follows, read until FAILED. Declined = too late, refund."""
        one = request.merchant_payment_id
        return await self._send(Call.CANCEL_PAYMENT, lambda sdk: sdk.Payment.cancel_payment(one), read_s=READ_S)

    async def capture_payment(self, request: CapturePayment, key: str) -> Outcome:
        """Settled: COMPLETED. Pending: the user must confirm. Verdict DUPLICATE: captured before, read it."""
        return await self._send(
            Call.CAPTURE_PAYMENT,
            lambda sdk: sdk.Payment.capture_payment(request.body()),
            merchantPaymentId=request.merchant_payment_id,
        )

    async def revert_payment(self, request: RevertPayment, key: str) -> Outcome:
        """Settled: CANCELED."""
        return await self._send(
            Call.REVERT_PAYMENT,
            lambda sdk: sdk.Payment.revert_payment(request.body()),
            paymentId=request.payment_id,
        )

    async def refund_payment(self, request: RefundPayment, key: str) -> Outcome:
        """Settled: REFUNDED; Pending: CREATED, which is a success on its way."""
        return await self._send(
            Call.REFUND_PAYMENT,
            lambda sdk: sdk.Payment.refund_payment(request.body()),
            merchantRefundId=request.merchant_refund_id,
        )

    async def read_refund(self, request: NamesRefund, key: str) -> Outcome:
        """As ``refund_payment``; REFUND_FAILED is passing and so Pending."""
        # Not through the SDK's own method: it cannot say which payment, and PayPay asks for that.
        refund, payment = request.merchant_refund_id, request.payment_id
        return await self._read(
            Call.READ_REFUND,
            lambda sdk: sdk.get(f"/v2/refunds/{refund}", {"paymentId": payment}, api_id="refund_details"),
            merchantRefundId=refund,
        )

    async def _send(self, call: Call, do: Do, *, read_s: float | None = None, **same: str) -> Outcome:
        return await self._call(Asked(call, same), do, read_s=SEND_S if read_s is None else read_s)

    async def _read(self, call: Call, do: Do, **same: str) -> Outcome:
        return await self._call(Asked(call, same), do, read_s=READ_S)

    async def _call(self, asked: Asked, do: Do, *, read_s: float) -> Outcome:
        """Make one call. Raises a BusyError where PayPay did nothing, or was not asked."""
        if not self._is_set_up:
            raise PayPayPausedError(code="PAYPAY_API_KEY or PAYPAY_API_SECRET is not set", delay_s=MISSING_S)
        try:
            exchanged = await self._sdk.exchange(do, read_s=read_s)
        except SdkMissingError as error:
            log.error("paypay_sdk_missing", reason=str(error))
            raise PayPayPausedError(code="the SDK is missing", delay_s=MISSING_S) from error
        match exchanged:
            case Answer():
                return self._judge(asked, exchanged)
            case NotSent():
                raise PayPayUnreachableError(delay_s=self._back_off.next_s())
            case Lost(reason=reason):
                return Unknown(reason)

    def _judge(self, asked: Asked, answer: Answer) -> Outcome:
        facts = facts_from(asked, answer)
        log.debug(
            "paypay_answered",
            call=facts.call,
            http_status=facts.http_status,
            code=facts.code,
            code_id=facts.code_id,
            request_id=facts.request_id,
            duration_ms=facts.elapsed_ms,
        )
        if facts.http_status == 429:
            delay_s = self._back_off.next_s(answer.retry_after_s or 0.0)
            raise PayPayBusyError(delay_s=delay_s, request_id=facts.request_id)
        if answer.http_status < 500:
            self._back_off.forget()
        try:
            return outcome_of(asked, facts)
        except PayPayPausedError:
            log.error("paypay_refused_our_key", call=facts.call, code=facts.code, request_id=facts.request_id)
            raise


_clients: weakref.WeakKeyDictionary[PayPaySettings, PayPay] = weakref.WeakKeyDictionary()


def client_of(settings: PayPaySettings) -> PayPay:
    """The process's client for these settings, made on first use."""
    client = _clients.get(settings)
    if client is None:
        client = _clients[settings] = PayPay(settings)
    return client


def paypay(ctx: Context) -> PayPay:
    """The client, from a calling handler of this capability."""
    return client_of(ctx.settings)
