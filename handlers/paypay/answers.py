"""From the bytes of an answer to its facts, and from the facts to one of the closed outcomes.

Nothing is judged by the HTTP status alone: a failed cashback comes with 200. What contradicts itself, is about another
thing than was asked for, or cannot be read is unknown. Source: docs/providers/paypay.md, "What the answers mean".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from handlers.paypay.codes import Call, verdict_of, verdict_without_code
from handlers.paypay.outcomes import (
    Declined,
    Facts,
    Outcome,
    PayPayBusyError,
    PayPayPausedError,
    Pending,
    Settled,
    Unknown,
    Verdict,
)
from handlers.paypay.wire import AMOUNT_JPY_MAX, CURRENCY, only
from hub.errors import UnreadableError
from hub.jsonbody import parse_json

BUSY_S: Final = 1.0
REPAIR_S: Final = 60.0
"""How long to leave PayPay alone that refused our key or our contract."""
CODE_CHARS_MAX: Final = 255
KEPT: Final = (
    "paymentId",
    "merchantPaymentId",
    "cashbackId",
    "merchantCashbackId",
    "cashbackReversalId",
    "merchantCashbackReversalId",
    "merchantRefundId",
    "codeId",
    "url",
    "deeplink",
    "expiryDate",
    "linkQRCodeURL",
    "acceptedAt",
    "requestedAt",
    "canceledAt",
    "expiresAt",
    "expireAt",
    "scopes",
    "referenceIds",
)
"""What is kept of an answer's data: nobody's authorization, nothing that nobody reads. ``referenceIds`` are our own."""
KEPT_OF_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "refunds": ("merchantRefundId", "status", "amount", "acceptedAt"),
    "captures": ("merchantCaptureId", "status", "amount", "acceptedAt"),
}
PARTS_MAX: Final = 100
TEXT_MAX: Final = 2_048
ID_CHARS_MAX: Final = 255
"""As long as a column that keeps an id of PayPay's."""

State: TypeAlias = "type[Settled] | type[Declined] | type[Pending]"
_CASHBACK: Final[Mapping[str, State]] = {"SUCCESS": Settled, "FAILURE": Declined, "ACCEPTED": Pending}
_PAYMENT: Final[Mapping[str, State]] = {
    "CREATED": Pending,
    "REAUTHORIZING": Pending,
    "AUTHORIZED": Settled,
    "COMPLETED": Settled,
    "REFUNDED": Settled,
    "CANCELED": Settled,
    "EXPIRED": Settled,
    "FAILED": Declined,
}
_REFUND: Final[Mapping[str, State]] = {"REFUNDED": Settled, "CREATED": Pending, "REFUND_FAILED": Pending}
_STATUSES: Final[Mapping[Call, Mapping[str, State]]] = {
    Call.READ_CASHBACK: _CASHBACK,
    Call.READ_REVERSAL: _CASHBACK,
    Call.CREATE_PAYMENT: _PAYMENT,
    Call.PREAUTHORIZE: _PAYMENT,
    Call.READ_PAYMENT: _PAYMENT,
    Call.READ_CODE_PAYMENT: _PAYMENT,
    # What is still authorized after its capture was asked for is not captured yet.
    Call.CAPTURE_PAYMENT: {**_PAYMENT, "AUTHORIZED": Pending},
    Call.REVERT_PAYMENT: {"CANCELED": Settled},
    Call.REFUND_PAYMENT: _REFUND,
    Call.READ_REFUND: _REFUND,
    Call.READ_AUTHORIZATION: {"ACTIVE": Settled, "INACTIVE": Settled},
}
"""What PayPay's word for a thing's state makes of the call that got it; any other word is unknown."""
_ONLY_ACCEPTED: Final = frozenset({Call.GIVE_CASHBACK, Call.REVERSE_CASHBACK, Call.CANCEL_PAYMENT})
"""Calls that PayPay only takes in: whatever their 2xx says, a read decides."""
_READS: Final = frozenset(
    {
        Call.READ_CASHBACK,
        Call.READ_REVERSAL,
        Call.READ_PAYMENT,
        Call.READ_CODE_PAYMENT,
        Call.READ_REFUND,
        Call.READ_AUTHORIZATION,
    }
)
_ENDED_USERS: Final = frozenset({"CANCELED_USER", "INVALID_USER_AUTHORIZATION_ID", "EXPIRED_USER_AUTHORIZATION_ID"})
"""What a read says of an authorization that is over."""
_PROOF: Final[Mapping[Call, str]] = {Call.CREATE_CODE: "codeId", Call.LINK_ACCOUNT: "linkQRCodeURL"}
"""Calls without a status: done where this member is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over HTTP."""

    http_status: int
    body: bytes
    request_id: str = ""
    elapsed_ms: int = 0
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which call it was, and which members of the answer must be what was asked for, where they are there."""

    call: Call
    same: Mapping[str, str] = field(default_factory=dict)


def facts_from(asked: Asked, answer: Answer) -> Facts:
    """Everything that the answer says; a body that cannot be read says nothing."""
    facts = Facts(
        call=str(asked.call),
        http_status=answer.http_status,
        request_id=answer.request_id,
        elapsed_ms=answer.elapsed_ms,
        verdict=verdict_without_code(answer.http_status),
    )
    info, data = _envelope(answer.body)
    code = info.get("code")
    if not isinstance(code, str) or not code:
        return facts
    code_id = info.get("codeId")
    code, code_id = _word(code), _word(code_id)
    status = data.get("qrStatus") if asked.call is Call.DELETE_CODE else data.get("status")
    return replace(
        facts,
        verdict=verdict_of(asked.call, http_status=answer.http_status, code=code, code_id=code_id),
        code=code,
        code_id=code_id,
        status=_word(status),
        amount_jpy=_amount_jpy(data.get("amount")),
        data=_kept(data),
    )


def outcome_of(asked: Asked, facts: Facts) -> Outcome:
    """The outcome of a call. Raises PayPayBusyError and PayPayPausedError where nothing happened at PayPay."""
    reason, data = _reason(facts), facts.stored()
    foreign = [name for name, ours in asked.same.items() if str(facts.data.get(name, ours)) != ours]
    if foreign:
        return Unknown(f"the answer is about another {foreign[0]}", data)
    match facts.verdict:
        case Verdict.SUCCESS | Verdict.READ_STATUS | Verdict.ACCEPTED:
            return _by_status(asked, facts)
        case Verdict.WAITING_USER:
            return Pending(reason, data)
        case Verdict.FAILED:
            return _failed(asked, facts)
        case Verdict.REJECTED if asked.call in _READS and not _is_ended_user(asked, facts):
            # That we may not read it says nothing of the thing itself.
            return Unknown(reason, data)
        case Verdict.RETRY_SAME_ID if facts.http_status == 429:
            raise PayPayBusyError(delay_s=BUSY_S, request_id=facts.request_id)
        case Verdict.REJECTED | Verdict.RETRY_NEW_CAPTURE_ID | Verdict.RETRY_SAME_ID:
            # What is to be tried again later is one payment's affair, and no reason to leave PayPay alone.
            return Declined(reason, data)
        case Verdict.NOT_FOUND if asked.call is Call.DELETE_CODE:
            return Settled(data)
        case Verdict.REJECTED_CONFIG:
            raise PayPayPausedError(code=facts.code, delay_s=REPAIR_S)
        case _:
            return Unknown(reason, data)


def _is_ended_user(asked: Asked, facts: Facts) -> bool:
    return asked.call is Call.READ_AUTHORIZATION and facts.code in _ENDED_USERS


def _by_status(asked: Asked, facts: Facts) -> Outcome:
    data = facts.stored()
    if asked.call in _ONLY_ACCEPTED:
        return Pending(_reason(facts), data)
    proof = _PROOF.get(asked.call)
    if proof is not None:
        return Settled(data) if facts.data.get(proof) else Unknown(f"a success without {proof}", data)
    if asked.call in (Call.DELETE_CODE, Call.UNLINK):
        return Settled(data)
    if facts.verdict is Verdict.ACCEPTED and not facts.status:
        return Pending(_reason(facts), data)
    state = _STATUSES[asked.call].get(facts.status) if asked.call in _STATUSES else None
    if state is None:
        return Unknown(f"a success with status {facts.status or 'none'!r}", data)
    if state is Declined:
        return Declined(facts.status, data)
    return Settled(data) if state is Settled else Pending(facts.status, data)


def _failed(asked: Asked, facts: Facts) -> Outcome:
    """A failure counts where PayPay is the one that can have failed: a refused gift may have been given before."""
    data = facts.stored()
    if asked.call in _ONLY_ACCEPTED:
        return Unknown(_reason(facts), data)
    if asked.call in (Call.READ_CASHBACK, Call.READ_REVERSAL) and facts.status != "FAILURE":
        return Unknown(f"{facts.code} with status {facts.status or 'none'!r}", data)
    return Declined(_reason(facts), data)


def _reason(facts: Facts) -> str:
    return facts.code or f"HTTP {facts.http_status} without a code"


def _envelope(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    try:
        parsed = parse_json(body)
    except UnreadableError:
        return {}, {}
    info = parsed.get("resultInfo") if isinstance(parsed, Mapping) else None
    if not isinstance(info, Mapping):
        return {}, {}
    data = parsed.get("data")
    # Null and an empty text both mean that there is none.
    return info, data if isinstance(data, Mapping) else {}


def _amount_jpy(amount: object) -> int | None:
    if not isinstance(amount, Mapping) or amount.get("currency", CURRENCY) != CURRENCY:
        return None
    value = amount.get("amount")
    return value if type(value) is int and 0 <= value <= AMOUNT_JPY_MAX else None


def _word(value: object) -> str:
    """A code or a state as every database takes it, never one that it was not; empty for what is no text."""
    text = value[:CODE_CHARS_MAX] if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _id(value: object) -> str:
    """An id as text, also where it comes as a number; what can be none is empty, and so nobody's."""
    text = str(value) if isinstance(value, str) or type(value) is int else ""
    return text if text.isprintable() and len(text) <= ID_CHARS_MAX else ""


def _small(data: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    named = {name: _id(value) if name.endswith("Id") else value for name, value in only(data, *names).items()}
    return {name: value for name, value in named.items() if _is_small(value)}


def _kept(data: Mapping[str, Any]) -> dict[str, Any]:
    kept = _small(data, KEPT)
    for name, members in KEPT_OF_PARTS.items():
        part = data.get(name)
        listed = part.get("data") if isinstance(part, Mapping) else None
        if isinstance(listed, Sequence) and not isinstance(listed, str):
            kept[name] = [_part(one, members) for one in listed[:PARTS_MAX] if isinstance(one, Mapping)]
    return kept


def _part(one: Mapping[str, Any], members: Sequence[str]) -> dict[str, Any]:
    part = _small(one, members)
    part.pop("amount", None)
    amount_jpy = _amount_jpy(one.get("amount"))
    return part if amount_jpy is None else {**part, "amountJpy": amount_jpy}


def _is_small(value: object) -> bool:
    """A text of ordinary length, a whole number, or a list of such texts."""
    if isinstance(value, list):
        return len(value) <= PARTS_MAX and all(isinstance(one, str) and _is_small(one) for one in value)
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= TEXT_MAX and value.isprintable())
