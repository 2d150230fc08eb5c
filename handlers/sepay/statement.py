"""The bank statement as SePay's transaction list gives it, in both versions, read into the webhook's own form.

A row becomes the body that the webhook of the same transfer would have had, so that a transfer which the list brings
goes the same way under the same identity. Source: docs/providers/sepay.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import ValidationError

from handlers.sepay.transfers import BankTransfer, read_transfer
from hub.errors import HubError, UnreadableError
from hub.event import stable_hash
from hub.jsonbody import parse_json
from schemas.sepay import Transfer

Version = Literal["1", "2"]

MADE_ID_MIN: Final = 1 << 62
"""Ids from here on stand for rows of version 2, which names transfers by a UUID; SePay's own counter is far below."""
_MADE_ID_BITS: Final = 61
AMOUNT_DIGITS_MAX: Final = 20


class StatementError(HubError):
    """SePay refused to show the statement, or showed something else. Never "no rows"."""


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One transfer of the statement: the body that its webhook would have had, and what that says.

    ``uuid`` is version 2's own name of it, empty in version 1. ``transfer`` is None where the row cannot be read; its
    body goes in nevertheless, and is shown to a person as any transfer that cannot be read.
    """

    body: Mapping[str, Any]
    uuid: str
    transfer: BankTransfer | None

    @property
    def id(self) -> int:
        return int(self.body["id"])


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a statement, in the order given, and whether there are more behind them."""

    rows: Sequence[StatementRow]
    has_more: bool = False


def read_page_v1(body: bytes, *, limit: int) -> Page:
    """A page of ``GET /userapi/transactions/list``. Raises StatementError.

    With a wrong token this version answers 200 and nothing at all, which must not pass for an empty statement.
    """
    answer = _object(body)
    if answer.get("status") != 200 or answer.get("error"):
        raise StatementError("the transaction list says that it failed")
    rows = [_row_v1(row) for row in _list(answer, "transactions")]
    return Page(rows, has_more=len(rows) >= limit)


def read_page_v2(body: bytes) -> Page:
    """A page of ``GET /v2/transactions``. Raises StatementError."""
    answer = _object(body)
    if answer.get("status") != "success":
        raise StatementError("the transaction list says that it failed")
    meta = answer.get("meta")
    pagination = meta.get("pagination") if isinstance(meta, dict) else None
    if not isinstance(pagination, dict) or not isinstance(pagination.get("has_more"), bool):
        raise StatementError("the transaction list does not say whether there is more")
    return Page([_row_v2(row) for row in _list(answer, "data")], has_more=pagination["has_more"])


def made_id(uuid: str) -> int:
    """The number under which a row of version 2 is kept: the same for the same UUID, and none of SePay's counter."""
    return MADE_ID_MIN | int.from_bytes(stable_hash("sepay", uuid)[:8], "big") & (1 << _MADE_ID_BITS) - 1


def is_made(sepay_tx_id: int) -> bool:
    """Whether this number was made here, for a row of version 2."""
    return sepay_tx_id >= MADE_ID_MIN


def _row_v1(row: Mapping[str, Any]) -> StatementRow:
    number = row.get("id")
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= len(str(MADE_ID_MIN)):
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < MADE_ID_MIN:
        raise StatementError("a row of the transaction list has no number")
    return _row({"id": number, "subAccount": _plain(row.get("sub_account")), **_body(row)}, "")


def _row_v2(row: Mapping[str, Any]) -> StatementRow:
    try:
        uuid = str(UUID(row["id"]))
    except (KeyError, ValueError, AttributeError, TypeError):
        raise StatementError("a row of the transaction list has no UUID") from None
    return _row({"id": made_id(uuid), "providerUuid": uuid, "subAccount": _plain(row.get("va")), **_body(row)}, uuid)


def _row(body: dict[str, Any], uuid: str) -> StatementRow:
    try:
        return StatementRow(body, uuid, read_transfer(Transfer.model_validate(body)))
    except (ValueError, ValidationError):
        return StatementRow(body, uuid, None)


def _body(row: Mapping[str, Any]) -> dict[str, Any]:
    amount_in, amount_out = _amount(row.get("amount_in")), _amount(row.get("amount_out"))
    return {
        "gateway": _plain(row.get("bank_brand_name")),
        "transactionDate": _plain(row.get("transaction_date")),
        "accountNumber": _plain(row.get("account_number")),
        "code": _plain(row.get("code")),
        "content": _plain(row.get("transaction_content")),
        "transferType": "in" if amount_in else "out",
        "transferAmount": amount_in or amount_out,
        "referenceCode": _plain(row.get("reference_number")),
        "description": "",
        "accumulated": _amount(row.get("accumulated")),
    }


def _amount(value: object) -> int | str | None:
    """A whole number of dong as an int, as webhooks write it; else its text, to be judged like a webhook's."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return str(value)
    is_whole = number.is_finite() and number.adjusted() < AMOUNT_DIGITS_MAX and number == number.to_integral_value()
    return int(number) if is_whole else str(value)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int) else None


def _object(body: bytes) -> Mapping[str, Any]:
    if not body.strip():
        raise StatementError("the transaction list is empty text: SePay does not know the token")
    try:
        answer = parse_json(body)
    except UnreadableError as error:
        raise StatementError("the transaction list is not JSON") from error
    if not isinstance(answer, dict):
        raise StatementError("the transaction list is not a JSON object")
    return answer


def _list(answer: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    rows = answer.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise StatementError(f"the transaction list has no {name}")
    return rows
