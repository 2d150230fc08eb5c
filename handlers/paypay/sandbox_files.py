"""The transaction files of the sandbox's PayPay: a day of payments and refunds, as CSV in Shift_JIS.

Source: docs/providers/paypay.md, "Sandbox"; https://www.paypay.ne.jp/opa/doc/v1.0/dynamicqrcode.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, Literal, TypeAlias

from handlers.paypay.sandbox_books import Books, Payment, Refund
from handlers.paypay.sandbox_payments import JAPAN, PaymentDesk

FileKind: TypeAlias = Literal["transaction", "preauth_transaction"]
ENCODING: Final = "cp932"
INSTANT: Final = (
    "決済番号",
    "加盟店ID",
    "屋号",
    "店舗ID",
    "店舗名",
    "端末番号/PosID",
    "取引ステータス",
    "取引日時",
    "取引金額",
    "レシート番号",
    "支払い方法",
    "マーチャント決済ID",
    "支払い詳細",
)
LATER: Final = (
    "orderId",
    "merchantId",
    "brandName",
    "storeId",
    "storeName",
    "terminalId",
    "transactionStatus",
    "acceptedAt",
    "amount",
    "orderReceiptNumber",
    "methodOfPayment",
    "merchantPaymentId",
    "paymentDetails",
)
COMPLETED: Final = "取引完了"
REFUNDED: Final = "返金完了"
METHOD: Final = "PayPay残高"


def file_name(kind: FileKind, merchant: str, day: date) -> str:
    """The name that PayPay gives the file of a day in Japan."""
    return f"{kind}_{merchant}_{day:%Y%m%d}000000_{day:%Y%m%d}235959_v2.csv"


def transaction_file(
    kind: FileKind, books: Books, payments: PaymentDesk, *, merchant: str, shop: str, day: date
) -> bytes:
    """The file of a day in Japan: instant payments, or those that were authorized first."""
    start = datetime.combine(day, time(), JAPAN)
    since, until = start.timestamp(), (start + timedelta(days=1)).timestamp()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(INSTANT if kind == "transaction" else LATER)
    for row in _rows(kind, books, payments, since, until):
        stamp = datetime.fromtimestamp(row.at, JAPAN).isoformat(timespec="seconds")
        details = json.dumps([{"paymentMethod": METHOD, "amount": row.amount_jpy}], ensure_ascii=False)
        place = (merchant, shop, "store-1", "本店", "pos-1")
        writer.writerow([row.order, *place, row.status, stamp, row.amount_jpy, "", METHOD, row.id, details])
    return text.getvalue().encode(ENCODING)


@dataclass(frozen=True, slots=True)
class _Row:
    """Something that happened: yen are negative for a refund, ``id`` is ours."""

    order: str
    status: str
    at: float
    amount_jpy: int
    id: str


def _rows(kind: FileKind, books: Books, payments: PaymentDesk, since: float, until: float) -> Iterator[_Row]:
    """What happened in this time to payments of this kind."""
    is_instant = kind == "transaction"
    of_kind = {one.payment_id: one for one in books.all(Payment) if is_instant == (one.expires_at is None)}
    for payment in of_kind.values():
        # What is cancelled is not in the instant file at all.
        if since <= payment.accepted_at < until and not (is_instant and payment.fails_at is not None):
            status = payments.status(payment, until)
            word = COMPLETED if is_instant else "COMPLETED" if status == "REFUNDED" else status
            yield _Row(payment.payment_id, word, payment.accepted_at, payment.amount_jpy, payment.id)
    for refund in books.all(Refund):
        if refund.payment_id in of_kind and since <= refund.accepted_at < until:
            word = REFUNDED if is_instant else "REFUNDED"
            yield _Row(refund.payment_id, word, refund.accepted_at, -refund.amount_jpy, refund.id)
