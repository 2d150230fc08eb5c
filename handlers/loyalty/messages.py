"""What each handler tells loyalty platforms: always the one envelope, under these kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from schemas.loyalty import LoyaltyEvent, LoyaltyKind


def _kinds(*kinds: LoyaltyKind) -> Mapping[str, type[BaseModel]]:
    return dict.fromkeys(kinds, LoyaltyEvent)


PUBLISHES: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "announce_wallet_credit": _kinds("loyalty.wallet.credited"),
    "announce_order": _kinds("loyalty.order.paid"),
    "announce_license": _kinds("loyalty.license.activated", "loyalty.license.extended", "loyalty.license.expired"),
    "announce_subscription": _kinds("loyalty.subscription.paid", "loyalty.subscription.refunded"),
    "apply_purchase": _kinds("loyalty.bonus.accrued", "loyalty.bonus.redeemed"),
    "apply_refund": _kinds("loyalty.bonus.reversed"),
    "apply_merge": _kinds("loyalty.bonus.merged"),
}
"""Handler → routing key → what it sends to the destinations of its route."""
