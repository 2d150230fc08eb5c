"""What the played PayPal knows: plans, subscriptions, sales, invoices, events.

One file, so that every process shares it. The daemon and the commands beside it open the book one after the other:
nothing in it is ever half written.

Source: docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

Row: TypeAlias = dict[str, Any]

PLAN_COUNT: Final = 3
PRICES: Final = (("9.99", "USD"), ("20.00", "USD"), ("300", "TWD"))
API_BASE: Final = "https://api.sandbox.paypal.com"
EVENTS_KEPT_MAX: Final = 5_000


@dataclass(slots=True)
class Book:
    """The state, as JSON values. ``requests`` maps a PayPal-Request-Id to what it made; ``faults`` are to come.

    With ``has_loose_numbers`` two invoices may have one number, as nobody has promised that they may not.
    """

    count: int = 0
    plans: dict[str, Row] = field(default_factory=dict)
    subscriptions: dict[str, Row] = field(default_factory=dict)
    sales: dict[str, Row] = field(default_factory=dict)
    invoices: dict[str, Row] = field(default_factory=dict)
    events: dict[str, Row] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    faults: list[Row] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)
    has_loose_numbers: bool = False

    def number(self) -> int:
        """The next number; every id holds one."""
        self.count += 1
        return self.count

    def take_fault(self, place: str) -> Row | None:
        """The next misbehaviour that is asked for here, used up once."""
        for fault in self.faults:
            if fault["place"] in (place, "*") and fault["times"] > 0:
                fault["times"] -= 1
                self.faults = [one for one in self.faults if one["times"] > 0]
                return fault
        return None

    def note(self, body: Row) -> Row:
        """Remember an event that is told by webhook."""
        self.events[body["id"]] = body
        while len(self.events) > EVENTS_KEPT_MAX:
            del self.events[next(iter(self.events))]
        return body


class BookKeeper:
    """Opens the book of one folder, for one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def opened(self) -> Iterator[Book]:
        """The book, saved when the block ends well. Nothing may be awaited within."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "book.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = self._folder / "book.json"
            before = file.read_bytes() if file.exists() else b""
            book = Book(**json.loads(before)) if before else _new_book()
            yield book
            after = json.dumps({name: getattr(book, name) for name in Book.__slots__}).encode()
            if after != before:
                draft = file.with_suffix(".tmp")
                draft.write_bytes(after)
                os.replace(draft, file)


def _new_book() -> Book:
    book = Book()
    for number in range(1, PLAN_COUNT + 1):
        value, currency = PRICES[number - 1]
        plan_id = f"P-SANDBOX{number:017d}"
        book.plans[plan_id] = {
            "id": plan_id,
            "product_id": "PROD-SANDBOX0000001",
            "name": f"Plan {number}",
            "description": "A plan of the sandbox",
            "status": "ACTIVE",
            "usage_type": "LICENSED",
            "quantity_supported": False,
            "create_time": "2026-01-01T00:00:00Z",
            "billing_cycles": [
                {
                    "tenure_type": "REGULAR",
                    "sequence": 1,
                    "total_cycles": 0,
                    "frequency": {"interval_unit": "MONTH", "interval_count": 1},
                    "pricing_scheme": {"fixed_price": {"value": value, "currency_code": currency}},
                }
            ],
            "links": [{"href": f"{API_BASE}/v1/billing/plans/{plan_id}", "rel": "self", "method": "GET"}],
        }
    return book


def time_text(now: datetime) -> str:
    """A time as PayPal writes it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
