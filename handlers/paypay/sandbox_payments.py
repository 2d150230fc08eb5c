"""How the sandbox's PayPay takes payments: QR codes, authorized users, captures, reverts, cancels, refunds.

A payment that is cancelled ends as FAILED, a reverted authorization as CANCELED, as at PayPay. Source:
docs/providers/paypay.md, "Sandbox"; https://www.paypay.ne.jp/opa/doc/v1.0/dynamicqrcode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from handlers.paypay.sandbox_books import Books, Code, Payment, Refund, User
from handlers.paypay.sandbox_cashback import CashbackDesk, Timing
from handlers.paypay.sandbox_replies import (
    Refusal,
    Reply,
    epoch_of,
    optional_text,
    reply_of,
    success,
    text_of,
    yen,
    yen_of,
)

CODE_S: Final = 300
AUTHORIZATION_S: Final = 30 * 86_400
CANCEL_UNTIL: Final = time(0, 15)
JAPAN: Final = ZoneInfo("Asia/Tokyo")
CODE_TYPE: Final = "ORDER_QR"


class PaymentDesk:
    """PayPay's rules of payments."""

    def __init__(
        self,
        books: Books,
        users: CashbackDesk,
        *,
        timing: Timing,
        new_id: Callable[[], str],
        refunds_max: int = 1,
    ) -> None:
        self._books = books
        self._users = users
        self._timing = timing
        self._new_id = new_id
        self._refunds_max = refunds_max

    def create_code(self, body: Mapping[str, Any], now: float, page: Callable[[str], str]) -> Reply:
        """A QR code; ``page`` makes the address behind it."""
        id, amount_jpy = text_of(body, "merchantPaymentId"), yen_of(body)
        if body.get("codeType") != CODE_TYPE:
            raise Refusal("missing" if body.get("codeType") is None else "invalid")
        if self._books.find(Code, id) is not None or self._books.find(Payment, id) is not None:
            raise Refusal("same_code")
        code_id = f"04-{self._new_id()[:20]}"
        shown = {
            "codeId": code_id,
            "url": page(code_id),
            "deeplink": f"paypay://payment?link_key={code_id}",
            "expiryDate": int(now) + CODE_S,
            **{name: value for name, value in body.items() if name != "orderItems"},
            "amount": yen(amount_jpy),
        }
        self._books.keep(Code(id=id, code_id=code_id, body=shown, expires_at=int(now) + CODE_S))
        return success(shown, http_status=201)

    def code(self, code_id: str) -> Code | None:
        """The code of this id of PayPay's."""
        return next((code for code in self._books.all(Code) if code.code_id == code_id), None)

    def delete_code(self, code_id: str) -> Reply:
        """Switch a code off."""
        code = self.code(code_id)
        if code is None or code.is_deleted:
            raise Refusal("no_code")
        if self._books.find(Payment, code.id) is not None:
            raise Refusal("paid_code")
        code.is_deleted = True
        self._books.keep(code)
        return success({"qrStatus": "DELETED"})

    def pay_code(self, code_id: str, now: float) -> Payment:
        """A user scans the code and pays. Raises Refusal where PayPay's app would say no."""
        code = self.code(code_id)
        if code is None or code.is_deleted or now >= code.expires_at:
            raise Refusal("no_code")
        if self._books.find(Payment, code.id) is not None:
            raise Refusal("paid_code")
        is_authorization = code.body.get("isAuthorization") is True
        return self._take(code.id, "", code.body, now, is_authorization=is_authorization)

    def code_payment(self, id: str, now: float) -> Reply:
        """The payment of a code; CREATED while nobody has paid."""
        if self._books.find(Payment, id) is not None:
            return self.read(id, now)
        code = self._books.find(Code, id)
        if code is None or code.is_deleted or now >= code.expires_at:
            raise Refusal("no_code_payment")
        return success({"status": "CREATED", "merchantPaymentId": id, "amount": code.body["amount"]})

    def create(self, body: Mapping[str, Any], now: float, *, is_authorization: bool, fails: bool = False) -> Reply:
        """Take or authorize a payment; under an id that was used before, what became of that one."""
        id, user_id, amount_jpy = text_of(body, "merchantPaymentId"), text_of(body, "userAuthorizationId"), yen_of(body)
        epoch_of(body)
        known = self._books.find(Payment, id)
        if known is not None:
            return self._told(known, now, http_status=201)
        user = self._users.known_user(user_id, "direct_debit", now)
        if fails:
            raise Refusal("failed")
        if amount_jpy > user.balance_jpy:
            raise Refusal("no_fund")
        user.balance_jpy -= amount_jpy
        self._books.keep(user)
        payment = self._take(id, user.id, body, now, is_authorization=is_authorization)
        return self._told(payment, now, http_status=201)

    def read(self, id: str, now: float) -> Reply:
        """A payment as it stands."""
        return self._told(self._payment(id), now)

    def cancel(self, id: str, now: float) -> Reply:
        """Undo a payment of today, or one that nobody has made yet."""
        payment = self._books.find(Payment, id)
        if payment is None:
            self._books.cancel_unpaid(id)
            return reply_of("accepted")
        status = self.status(payment, now)
        in_time = now < _cancel_until(payment.accepted_at)
        if payment.fails_at is None and not (status == "AUTHORIZED" or (status == "COMPLETED" and in_time)):
            raise Refusal("not_reversible")
        if payment.fails_at is None:
            payment.fails_at = now + self._timing.decides_s
            self._books.keep(payment)
            self._give_back(payment.user, payment.amount_jpy)
        return reply_of("accepted")

    def capture(self, body: Mapping[str, Any], now: float) -> Reply:
        """Take what was authorized."""
        id, capture_id, amount_jpy = (
            text_of(body, "merchantPaymentId"),
            text_of(body, "merchantCaptureId"),
            yen_of(body),
        )
        requested_at, description = epoch_of(body), text_of(body, "orderDescription", length_max=255)
        payment = self._payment(id, else_="no_order")
        status = self.status(payment, now)
        refusals = {"COMPLETED": "captured", "REFUNDED": "captured", "EXPIRED": "expired"}
        if status != "AUTHORIZED":
            raise Refusal(refusals.get(status, "not_capturable"))
        if amount_jpy > payment.amount_jpy:
            raise Refusal("too_high")
        self._give_back(payment.user, payment.amount_jpy - amount_jpy)
        payment.status, payment.amount_jpy = "COMPLETED", amount_jpy
        payment.captures.append(
            {
                "acceptedAt": int(now),
                "merchantCaptureId": capture_id,
                "amount": yen(amount_jpy),
                "orderDescription": description,
                "requestedAt": requested_at,
                "expiresAt": None,
                "status": "COMPLETED",
            }
        )
        self._books.keep(payment)
        return self._told(payment, now)

    def revert(self, body: Mapping[str, Any], now: float) -> Reply:
        """Give up an authorization."""
        revert_id, payment_id = text_of(body, "merchantRevertId"), text_of(body, "paymentId")
        requested_at, reason = epoch_of(body), optional_text(body, "reason")
        payment = self._by_payment_id(payment_id, else_="no_payment")
        is_repeat = payment.revert is not None and payment.revert.get("merchantRevertId") == revert_id
        if self.status(payment, now) != "AUTHORIZED" and not is_repeat:
            raise Refusal("not_cancelable")
        if not is_repeat:
            payment.status = "CANCELED"
            payment.revert = {"acceptedAt": int(now), "merchantRevertId": revert_id, "requestedAt": requested_at}
            self._books.keep(payment)
            self._give_back(payment.user, payment.amount_jpy)
        told = {"status": "CANCELED", "acceptedAt": int(now), "paymentId": payment_id, "requestedAt": requested_at}
        return success({**told, "reason": reason})

    def refund(self, body: Mapping[str, Any], now: float, *, slowly: float = 1.0) -> Reply:
        """Give money back; under an id that was used before, what became of that refund."""
        id, payment_id, amount_jpy = text_of(body, "merchantRefundId"), text_of(body, "paymentId"), yen_of(body)
        requested_at, reason = epoch_of(body), optional_text(body, "reason")
        known = self._books.find(Refund, id)
        if known is not None:
            if known.payment_id != payment_id:
                raise Refusal("invalid")
            return self._told_refund(known, now)
        payment = self._by_payment_id(payment_id, else_="no_order")
        if self.status(payment, now) not in ("COMPLETED", "REFUNDED"):
            raise Refusal("not_refundable")
        before = [one for one in self._books.all(Refund) if one.payment_id == payment_id]
        if len(before) >= self._refunds_max:
            raise Refusal("refunded_before")
        if amount_jpy > payment.amount_jpy - sum(one.amount_jpy for one in before):
            raise Refusal("refund_amount")
        refund = Refund(
            id=id,
            payment_id=payment_id,
            amount_jpy=amount_jpy,
            requested_at=requested_at,
            accepted_at=now,
            decides_at=now + self._timing.decides_s * slowly,
            reason=reason,
        )
        self._books.keep(refund)
        self._give_back(payment.user, amount_jpy)
        return self._told_refund(refund, now)

    def read_refund(self, id: str, payment_id: str, now: float) -> Reply:
        """A refund as it stands."""
        found = self._books.find(Refund, id)
        if found is None or found.payment_id != payment_id:
            raise Refusal("no_refund")
        return self._told_refund(found, now)

    def status(self, payment: Payment, now: float) -> str:
        """PayPay's word for the state of a payment."""
        if payment.fails_at is not None and now >= payment.fails_at:
            return "FAILED"
        if payment.status == "AUTHORIZED" and payment.expires_at is not None and now >= payment.expires_at:
            return "EXPIRED"
        if payment.status == "COMPLETED" and any(
            one.payment_id == payment.payment_id and one.status(now) == "REFUNDED" for one in self._books.all(Refund)
        ):
            return "REFUNDED"
        return payment.status

    def _take(self, id: str, user: str, body: Mapping[str, Any], now: float, *, is_authorization: bool) -> Payment:
        expires_at = body.get("expiresAt") or body.get("authorizationExpiry") or int(now) + AUTHORIZATION_S
        payment = Payment(
            id=id,
            payment_id=self._books.next_number(),
            user=user,
            amount_jpy=yen_of(body),
            status="AUTHORIZED" if is_authorization else "COMPLETED",
            requested_at=int(body.get("requestedAt") or now),
            accepted_at=now,
            order_description=optional_text(body, "orderDescription"),
            expires_at=int(expires_at) if is_authorization else None,
            # Cancelled before it was made: it is undone right after.
            fails_at=now + self._timing.decides_s if id in self._books.cancelled else None,
        )
        self._books.keep(payment)
        return payment

    def _give_back(self, user_id: str, amount_jpy: int) -> None:
        user = self._books.find(User, user_id)
        if user is not None and amount_jpy:
            user.balance_jpy += amount_jpy
            self._books.keep(user)

    def _payment(self, id: str, else_: str = "no_payment") -> Payment:
        found = self._books.find(Payment, id)
        if found is None:
            raise Refusal(else_)
        return found

    def _by_payment_id(self, payment_id: str, *, else_: str) -> Payment:
        for payment in self._books.all(Payment):
            if payment.payment_id == payment_id:
                return payment
        raise Refusal(else_)

    def _told(self, payment: Payment, now: float, *, http_status: int = 200) -> Reply:
        refunds = [one for one in self._books.all(Refund) if one.payment_id == payment.payment_id]
        is_failed = self.status(payment, now) == "FAILED"
        return success(
            {
                "paymentId": payment.payment_id,
                "status": self.status(payment, now),
                "acceptedAt": int(payment.accepted_at),
                "refunds": {"data": [_refund(one, now) for one in refunds]} if refunds else None,
                "captures": {"data": payment.captures} if payment.captures else None,
                "revert": payment.revert,
                "merchantPaymentId": payment.id,
                "userAuthorizationId": payment.user or None,
                "amount": yen(payment.amount_jpy),
                "requestedAt": payment.requested_at,
                "expiresAt": payment.expires_at,
                "canceledAt": int(payment.fails_at) if is_failed and payment.fails_at is not None else None,
                "storeId": None,
                "terminalId": None,
                "orderReceiptNumber": None,
                "orderDescription": payment.order_description,
                "orderItems": None,
                "paymentMethods": [{"type": "WALLET", "amount": yen(payment.amount_jpy)}],
            },
            http_status=http_status,
        )

    def _told_refund(self, refund: Refund, now: float) -> Reply:
        return success(_refund(refund, now))


def _refund(refund: Refund, now: float) -> dict[str, Any]:
    return {
        "status": refund.status(now),
        "acceptedAt": int(refund.accepted_at),
        "merchantRefundId": refund.id,
        "paymentId": refund.payment_id,
        "amount": yen(refund.amount_jpy),
        "requestedAt": refund.requested_at,
        "reason": refund.reason,
    }


def _cancel_until(paid_at: float) -> float:
    """A payment can be cancelled up to 00:14:59 of the next day in Japan."""
    day = datetime.fromtimestamp(paid_at, JAPAN).date() + timedelta(days=1)
    return datetime.combine(day, CANCEL_UNTIL, JAPAN).timestamp()
