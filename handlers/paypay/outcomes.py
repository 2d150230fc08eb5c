"""What PayPay's answers mean: the hub's closed set of outcomes, and the facts behind each.

    Settled    PayPay did it, or the thing that was read stands in a decided state
    Declined   PayPay refused or failed it, finally: this id will never succeed
    Pending    PayPay has it and has not decided (a cashback is always pending first)
    Unknown    we do not know: ask again under the same id. Never released by a timer, never taken for a refusal

A handler branches on the outcome and then, where it must, on ``Facts.of(outcome).verdict`` and ``.status``. What leaves
no trace at PayPay is raised: ``PayPayBusyError`` and its neighbours below use up no attempt, and the step may be sent
again under the same id without asking.

Source: docs/providers/paypay.md, "What the answers mean".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from hub.calls.outcome import Declined, LookupOutcome, NotFound, Outcome, Pending, Settled, Unknown
from hub.errors import BusyError, UnreachableError

__all__ = [
    "Declined",
    "Facts",
    "LookupOutcome",
    "NotFound",
    "Outcome",
    "PayPayBusyError",
    "PayPayPausedError",
    "PayPayUnreachableError",
    "Pending",
    "Settled",
    "Unknown",
    "Verdict",
    "facts_of",
]


class Verdict(StrEnum):
    """What one answer says, finer than its outcome; the words of the list of codes."""

    SUCCESS = "success"
    READ_STATUS = "read_status"
    ACCEPTED = "accepted"
    WAITING_USER = "waiting_user"
    REJECTED = "rejected"
    FAILED = "failed"
    REJECTED_CONFIG = "rejected_config"
    DUPLICATE = "duplicate"
    DUPLICATE_OR_INVALID = "duplicate_or_invalid"
    NOT_FOUND = "not_found"
    NOT_FOUND_YET = "not_found_yet"
    RETRY_SAME_ID = "retry_same_id"
    RETRY_NEW_CAPTURE_ID = "retry_new_capture_id"
    RETRY_READ = "retry_read"
    UNKNOWN = "unknown"
    MANUAL = "manual"
    """A refusal that nobody has seen before: for a person, and never a silent failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one answer. ``data`` holds what later steps need, no user's id, JSON values only.

    ``status`` is PayPay's word for the state of the thing (``data.status``); ``amount_jpy`` whole yen as PayPay says.
    """

    call: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    http_status: int | None = None
    code: str = ""
    code_id: str = ""
    request_id: str = ""
    status: str = ""
    amount_jpy: int | None = None
    elapsed_ms: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """As JSON values, for ``outcome.data``."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def of(cls, outcome: LookupOutcome) -> Self:
        """The facts behind an outcome; empty ones for a call that ended without an answer."""
        stored = getattr(outcome, "data", {})
        if "verdict" not in stored:
            return cls()
        known = {name: stored[name] for name in cls.__slots__ if name in stored}
        return cls(**{**known, "verdict": Verdict(known["verdict"])})


def facts_of(outcome: LookupOutcome) -> Facts:
    """Short for ``Facts.of``."""
    return Facts.of(outcome)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if isinstance(value, StrEnum) else value


class PayPayBusyError(BusyError):
    """PayPay answered 429: nothing happened there, ask again after ``delay_s`` seconds."""

    def __init__(self, *, delay_s: float, request_id: str = "") -> None:
        super().__init__(f"PayPay is busy: wait {delay_s:.1f} s (request {request_id})", delay_s=delay_s)
        self.request_id = request_id


class PayPayUnreachableError(UnreachableError):
    """No connection to PayPay came about: nothing was sent."""

    def __init__(self, *, delay_s: float) -> None:
        super().__init__(f"PayPay cannot be reached: wait {delay_s:.1f} s", delay_s=delay_s)


class PayPayPausedError(BusyError):
    """PayPay is not to be asked: it refused our key, or there is none. Nothing happened there.

    ``code`` says why, in PayPay's word where it gave one.
    """

    def __init__(self, *, code: str, delay_s: float) -> None:
        super().__init__(f"PayPay is paused ({code}): wait {delay_s:.1f} s", delay_s=delay_s)
        self.code = code
