"""The one envelope in which everything that concerns a loyalty member leaves the hub (exchange ``loyalty.events``)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

LoyaltyKind: TypeAlias = Literal[
    "loyalty.points.held",
    "loyalty.points.spent",
    "loyalty.points.released",
    "loyalty.points.returned",
    "loyalty.wallet.credited",
    "loyalty.order.paid",
    "loyalty.license.activated",
    "loyalty.license.extended",
    "loyalty.license.expired",
    "loyalty.subscription.paid",
    "loyalty.subscription.refunded",
    "loyalty.bonus.accrued",
    "loyalty.bonus.redeemed",
    "loyalty.bonus.reversed",
    "loyalty.bonus.merged",
]
"""What happened; it is the routing key too."""


class LoyaltyEvent(BaseModel):
    """Something that a loyalty platform should know about a member.

    event_id              stays the same when the message is repeated
    occurred_at           when it happened at its origin, UTC
    member_id             whom it concerns, as text; for a merge the survivor
    other_member_id       for a merge the member that ceased
    amount_minor          in the currency's minor unit (VND 0 decimals, POINT 0, BONUS 4). Positive, since the kind says
                          the direction; only ``loyalty.bonus.reversed`` is negative where bonuses were taken back.
                          Absent for licences, as is every other field that has no value.
    balance_after_minor   the member's balance afterwards, in the same unit
    reference             the business reference of the journal entry or payment
    source                the system that it comes from: sepay, paypay, paypal or loymax
    """

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    occurred_at: datetime
    member_id: str = Field(min_length=1)
    other_member_id: str | None = None
    kind: LoyaltyKind
    currency: str | None = None
    amount_minor: int | None = None
    balance_after_minor: int | None = None
    reference: str
    source: str
    trace_id: str
