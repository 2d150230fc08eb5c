"""What the sandbox's PayPay remembers: users, links, cashbacks, reversals, codes, payments, refunds.

Plain records; the rules are in ``sandbox_cashback.py`` and ``sandbox_payments.py``. With a file, every change is a line
of JSON appended whole, so that a sandbox that starts again still knows what it promised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
ACCEPTED: Final = "ACCEPTED"
NUMBER_BASE: Final = 900_000_000_000_000_000
YEAR_S: Final = 365 * 86_400


@dataclass(slots=True)
class User:
    """A PayPay user as one merchant knows it. ``balance_jpy`` is what a reversal can take and a payment can spend."""

    id: str
    reference_id: str
    scopes: list[str]
    issued_at: int
    expires_at: int
    balance_jpy: int = 0
    is_active: bool = True


@dataclass(slots=True)
class Link:
    """A page that asks a user for an authorization."""

    id: str
    nonce: str
    reference_id: str
    redirect_url: str
    scopes: list[str]
    created_at: int
    is_used: bool = False


@dataclass(slots=True)
class Cashback:
    """A gift that was accepted. Its ``decision`` is fixed then, and seen from ``decides_at`` on."""

    id: str
    number: str
    user: str
    amount_jpy: int
    requested_at: int
    accepted_at: float
    shows_at: float
    decides_at: float
    decision: str
    code: str = SUCCESS
    wallet_type: str = ""
    order_description: str | None = None

    def status(self, now: float) -> str:
        return self.decision if now >= self.decides_at else ACCEPTED


@dataclass(slots=True)
class Reversal:
    """A reversal that was accepted. ``taken_jpy`` is what the user still had."""

    id: str
    cashback: str
    number: str
    asked_jpy: int
    taken_jpy: int
    requested_at: int
    accepted_at: float
    shows_at: float
    decides_at: float
    decision: str

    def status(self, now: float) -> str:
        return self.decision if now >= self.decides_at else ACCEPTED


@dataclass(slots=True)
class Code:
    """A QR code. Its ``id`` is our merchantPaymentId, which PayPay takes once."""

    id: str
    code_id: str
    body: dict[str, Any]
    expires_at: int
    is_deleted: bool = False


@dataclass(slots=True)
class Payment:
    """A payment. ``status`` is PayPay's word for its state; a cancelled one is FAILED from ``fails_at`` on."""

    id: str
    payment_id: str
    user: str
    amount_jpy: int
    status: str
    requested_at: int
    accepted_at: float
    order_description: str | None = None
    expires_at: int | None = None
    fails_at: float | None = None
    captures: list[dict[str, Any]] = field(default_factory=list)
    revert: dict[str, Any] | None = None


@dataclass(slots=True)
class Refund:
    """A refund that was accepted."""

    id: str
    payment_id: str
    amount_jpy: int
    requested_at: int
    accepted_at: float
    decides_at: float
    reason: str | None = None

    def status(self, now: float) -> str:
        return "REFUNDED" if now >= self.decides_at else "CREATED"


Record = User | Link | Cashback | Reversal | Code | Payment | Refund
One = TypeVar("One", bound=Record)
_KINDS: Final[Mapping[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Record)}


class Books:
    """Everything that PayPay knows, by kind and id."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._kept: dict[type[Any], dict[str, Any]] = {kind: {} for kind in _KINDS.values()}
        self.cancelled: set[str] = set()
        """Our ids that were cancelled before anybody paid: a payment under one of them fails."""
        if file is not None and file.exists():
            self._load(file)

    def find(self, kind: type[One], id: str) -> One | None:
        """The record of this kind and id."""
        found: One | None = self._kept[kind].get(id)
        return found

    def all(self, kind: type[One]) -> list[One]:
        """Every record of this kind, in the order in which they came."""
        return list(self._kept[kind].values())

    def keep(self, record: Record) -> None:
        """Write a new record, or what became of one."""
        self._kept[type(record)][record.id] = record
        self._write({"kind": type(record).__name__, **asdict(record)})

    def forget(self, record: Record) -> None:
        """PayPay does not know it any more; a sandbox that starts again does."""
        del self._kept[type(record)][record.id]

    def cancel_unpaid(self, id: str) -> None:
        """Nobody may pay under this id any more."""
        self.cancelled.add(id)
        self._write({"kind": "cancelled", "id": id})

    def next_number(self) -> str:
        """A number of PayPay's own kind."""
        return f"{NUMBER_BASE + sum(len(kept) for kept in self._kept.values()) + 1:020d}"

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _load(self, file: Path) -> None:
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                read = json.loads(line)
                kind = read.pop("kind")
            except (ValueError, KeyError, AttributeError):
                # Cut off in the middle by whoever stopped the process; the same change comes again.
                continue
            if kind == "cancelled":
                self.cancelled.add(read["id"])
            elif kind in _KINDS:
                known = {one.name for one in fields(_KINDS[kind])}
                record = _KINDS[kind](**{name: value for name, value in read.items() if name in known})
                self._kept[_KINDS[kind]][record.id] = record
