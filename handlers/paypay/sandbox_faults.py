"""Everything that the sandbox can do wrong, by chance or by order.

A fault is a name and a chance (``timeout-after-commit=0.2``), or a number of times that it is to happen to the next
requests that it can happen to. ``all=0.2`` lets a fifth of everything go wrong: of the answers, of the decisions, of
the reads and of the notifications, each fault as often as its neighbours. With a seed the same requests meet the same
faults.

Source: docs/providers/paypay.md, "Sandbox".
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hub.errors import UsageError

BEFORE: Final[Mapping[str, str]] = {
    "timeout-before-commit": "no answer, and nothing was done",
    "reset-before-commit": "the connection is cut, and nothing was done",
    "error-500": "500 INTERNAL_SERVER_ERROR, and nothing was done",
    "html-502": "502 with a page of HTML, and nothing was done",
    "html-503": "503 with a page of HTML, and nothing was done",
    "html-504": "504 with a page of HTML, and nothing was done",
    "busy-429": "429 RATE_LIMIT",
    "maintenance": "503 MAINTENANCE_MODE, and nothing was done",
}
AFTER: Final[Mapping[str, str]] = {
    "timeout-after-commit": "it was done, and no answer comes",
    "reset-after-commit": "it was done, and the connection is cut",
    "error-500-after-commit": "it was done, and the answer is 500",
    "html-502-after-commit": "it was done, and the answer is 502 with HTML",
    "maintenance-after-commit": "it was done, and the answer is 503 MAINTENANCE_MODE",
    "no-result-info": "it was done, and the 2xx answer has no resultInfo",
}
DECIDED: Final[Mapping[str, str]] = {
    "failure": "a cashback is decided against (NOT_ENOUGH_MONEY), a reversal takes nothing, a payment fails",
    "slow-decision": "PayPay takes ten times as long to show and to decide it",
}
READS: Final[Mapping[str, str]] = {
    "not-found": "a read says that the thing is not there, although it is",
    "stale-read": "a read says ACCEPTED of what is decided",
}
NOTICES: Final[Mapping[str, str]] = {
    "notice-lost": "its notification never comes",
    "notice-duplicate": "its notification comes three times",
    "notice-late": "its notification comes long after",
    "notice-early": "its notification comes before it is decided: out of order",
    "notice-contradictory": "its notification says the opposite",
}
FAULTS: Final[Mapping[str, str]] = {**BEFORE, **AFTER, **DECIDED, **READS, **NOTICES}
"""Name → what happens."""
ALL: Final = "all"
ORDERS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Luck:
    """What goes wrong with one request; "" = nothing."""

    answer: str = ""
    decision: str = ""
    read: str = ""
    notice: str = ""


@dataclass(slots=True)
class Order:
    """A fault to happen to the next ``times`` requests whose path begins so."""

    fault: str
    times: int
    path: str = ""


@dataclass(slots=True)
class Faults:
    """The chances, and the orders that come first."""

    chances: dict[str, float] = field(default_factory=dict)
    seed: int | None = None
    orders: list[Order] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - nothing here is secret

    def order(self, fault: str, *, times: int, path: str = "") -> None:
        """Let a fault happen to the next requests. Raises UsageError."""
        _known(fault)
        if not 1 <= times <= ORDERS_MAX or len(self.orders) >= ORDERS_MAX:
            raise UsageError(f"times: expected from 1 to {ORDERS_MAX}")
        self.orders.append(Order(fault, times, path))

    def clear(self) -> None:
        """No fault any more, neither by chance nor by order."""
        self.chances.clear()
        self.orders.clear()

    def of(self, path: str, *, is_read: bool) -> Luck:
        """What goes wrong with this request."""
        answers = {**BEFORE, **AFTER} if not is_read else BEFORE
        return Luck(
            answer=self._drawn(answers, path),
            decision="" if is_read else self._drawn(DECIDED, path),
            read=self._drawn(READS, path) if is_read else "",
            notice="" if is_read else self._drawn(NOTICES, path),
        )

    def _drawn(self, among: Iterable[str], path: str) -> str:
        """One of these faults at most: the first that was ordered, else each by its chance."""
        names = list(among)
        for order in self.orders:
            if order.fault in names and path.startswith(order.path):
                order.times -= 1
                if order.times == 0:
                    self.orders.remove(order)
                return self._count(order.fault)
        # Shuffled, so that none comes first whenever several would happen.
        for name in self._random.sample(names, len(names)):
            chance = self.chances.get(name, 0.0)
            if chance and self._random.random() < chance:
                return self._count(name)
        if self._random.random() < self.chances.get(ALL, 0.0):
            return self._count(self._random.choice(names))
        return ""

    def _count(self, name: str) -> str:
        self.happened[name] = self.happened.get(name, 0) + 1
        return name


def chances_of(texts: Sequence[str]) -> dict[str, float]:
    """``NAME=CHANCE`` of the command line. Raises UsageError."""
    chances: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            chance = float(number or "1")
        except ValueError:
            chance = -1.0
        if not 0 <= chance <= 1:
            raise UsageError(f"--fault {text}: expected NAME=CHANCE with a chance from 0 to 1")
        chances[name if name == ALL else _known(name)] = chance
    return chances


def _known(name: str) -> str:
    if name not in FAULTS:
        raise UsageError(f"unknown fault {name!r}; expected {ALL} or one of {', '.join(FAULTS)}")
    return name
