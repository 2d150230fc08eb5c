"""The events that are sent: the same for the hub and for every baseline, made from a few numbers.

About 550 bytes of JSON each, the size of a real purchase event; one in a hundred is sent twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

CUSTOMERS = 1_000
REPEAT_EVERY = 100
AMOUNT_MINOR = 1_000
PADDING = "x" * 400
HOT = "hot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A number of events. ``prefix`` sets their ids apart from those of other runs on the same database.

    ``poison_every``: each such event makes the handler raise, on a key of its own; 0 means none. ``hot``: all events
    concern one account, or one key (and its account).
    """

    events: int
    prefix: str = "e"
    poison_every: int = 0
    hot: str = ""

    @property
    def repeats(self) -> int:
        """How many messages are sent a second time."""
        return -(-self.events // REPEAT_EVERY)

    @property
    def poisoned(self) -> int:
        """How many events no handler can take."""
        return sum(self.is_poison(number) for number in range(self.events)) if self.poison_every else 0

    def is_poison(self, number: int) -> bool:
        # In the middle of each stretch, so that no poison event is also one that is sent twice.
        return bool(self.poison_every) and number % self.poison_every == self.poison_every // 2

    def is_repeated(self, number: int) -> bool:
        return number % REPEAT_EVERY == 0

    def id_of(self, number: int) -> str:
        return f"{self.prefix}{number}"

    def good_ids(self) -> set[str]:
        """The ids that must arrive."""
        return {self.id_of(number) for number in range(self.events) if not self.is_poison(number)}

    def body(self, number: int) -> bytes:
        """The body of one event."""
        is_poison = self.is_poison(number)
        customer = f"poison{number}" if is_poison else HOT if self.hot == "key" else f"c{number % CUSTOMERS}"
        data = {
            "id": self.id_of(number),
            "customer": customer,
            "wallet": HOT if self.hot and not is_poison else customer,
            "amount": AMOUNT_MINOR + number % 7,
            "is_poison": is_poison,
            "booked_at": "2026-11-21T09:35:00Z",
            "note": PADDING,
        }
        return json.dumps(data).encode()

    def messages(self) -> Iterator[tuple[str, bytes]]:
        """Message ids and bodies in the order in which they are sent, repeats included."""
        for number in range(self.events):
            message = self.id_of(number), self.body(number)
            yield message
            if self.is_repeated(number):
                yield message
