"""What points are worth, and what comes back of them. Pure arithmetic on whole numbers.

Source: docs/providers/paypay.md, "Rates".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from handlers.paypay.tables import APP, PC, SP
from handlers.paypay.wire import AMOUNT_JPY_MAX
from hub.errors import RefusedCommand

UNIT_POINTS: Final = 100
JPY_PER_UNIT: Final[Mapping[str, int]] = {PC: 50, SP: 50, APP: 100}
"""Device → yen for 100 points. The device is the one that linked the account, never one that a request names."""


@dataclass(frozen=True, slots=True)
class Split:
    """Points by where the member had them from."""

    purchase: int
    promotion: int

    @property
    def points(self) -> int:
        return self.purchase + self.promotion


def checked_points(points: object, *, points_max: int = 0) -> int:
    """The points as a number that can be exchanged. Raises RefusedCommand, with the page's own code."""
    # bool is an int to Python; and 100.0 may be somebody's rounding error.
    if type(points) is not int:
        raise RefusedCommand("POINTS_NOT_INTEGER", "points must be a whole number")
    if points <= 0:
        raise RefusedCommand("POINTS_NOT_POSITIVE", "points must be above zero")
    if points % UNIT_POINTS:
        raise RefusedCommand("POINTS_NOT_MULTIPLE_OF_100", f"points are exchanged in steps of {UNIT_POINTS}")
    if points_max and points > points_max:
        raise RefusedCommand("TOO_MANY_POINTS", f"at most {points_max} points can be exchanged at once")
    return points


def yen_for(points: int, device_type: str) -> int:
    """How many yen so many points are.

    Raises RefusedCommand for a device that has no rate, and for more than PayPay gives at once: such an exchange could
    never be sent, and its points would stay held.
    """
    rate = JPY_PER_UNIT.get(device_type)
    if rate is None:
        raise RefusedCommand("UNKNOWN_DEVICE_TYPE", f"device_type must be one of {', '.join(JPY_PER_UNIT)}")
    amount_jpy = points // UNIT_POINTS * rate
    if amount_jpy > AMOUNT_JPY_MAX:
        raise RefusedCommand("TOO_MANY_POINTS", f"at most {AMOUNT_JPY_MAX} yen can be given at once")
    return amount_jpy


def points_back(*, points: int, granted_jpy: int, returned: int, reversed_before_jpy: int, reversed_jpy: int) -> int:
    """How many points a reversal gives back: its share, rounded down; the last one gives back all the rest."""
    if reversed_before_jpy + reversed_jpy >= granted_jpy:
        return points - returned
    return min(points * reversed_jpy // granted_jpy, points - returned)
