"""The Loymax events that move bonuses: purchase, refund and merge.

Only what the handlers need is read; what is forwarded is never made from these models. Loymax spells some fields in two
ways (``accountgroupId`` and ``accountfroupId``, ``customerUid`` and ``customerCode``): both are accepted.
Source: docs/providers/loymax.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

BONUS_DECIMALS: Final = 4
BONUS_MAX: Final = Decimal(10) ** 11


def _id_text(value: Any) -> Any:
    # Ids come as numbers in one event and as text in the next; within the hub they are text.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _four_decimals(value: Decimal) -> Decimal:
    if value != round(value, BONUS_DECIMALS):
        raise ValueError(f"bonuses have at most {BONUS_DECIMALS} decimals")
    return value


def _nothing_is_empty(value: Any) -> Any:
    return () if value is None else value


IdText = Annotated[
    str,
    BeforeValidator(_id_text),
    StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[!\"$-~]+$"),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1, "maxLength": 64}, {"type": "integer"}]}),
]
Bonuses = Annotated[Decimal, Field(ge=-BONUS_MAX, le=BONUS_MAX, allow_inf_nan=False), AfterValidator(_four_decimals)]


class _Loymax(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class CustomerInfo(_Loymax):
    """A member of the loyalty programme; ``customer_id`` is the identity that the hub books under."""

    customer_id: IdText
    account_group_id: IdText | None = Field(
        default=None, validation_alias=AliasChoices("accountgroupId", "accountfroupId", "accountGroupId")
    )
    customer_uid: str | None = Field(default=None, validation_alias=AliasChoices("customerUid", "customerCode"))


class _BonusLine(_Loymax):
    """One line of bonuses: their ``amount``, whose sign says nothing, and its share of each position of the cheque."""

    amount: Bonuses
    position_info: Mapping[str, Decimal] | None = None
    currency_external_id: IdText | None = None
    currency_device_external_id: IdText | None = None

    @property
    def currency_id(self) -> str | None:
        """Which bonus account: Loymax names it in one of two fields."""
        return self.currency_external_id or self.currency_device_external_id

    @property
    def positions_match(self) -> bool:
        """Whether the positions add up to the amount."""
        return self.position_info is None or sum(self.position_info.values(), Decimal(0)) == self.amount


class Withdraw(_BonusLine):
    """Bonuses that the member paid with, when ``withdraw_type`` is Bonus."""

    withdraw_type: str


class Reward(_BonusLine):
    """Bonuses that the member earned, when ``reward_type`` is Bonus; a Discount moves none."""

    reward_type: str


class PurchaseData(_Loymax):
    """The cheque of a purchase or of a refund, each with a ``purchase_id`` of its own."""

    purchase_id: IdText
    external_purchase_id: IdText | None = None
    withdraws: Annotated[tuple[Withdraw, ...], BeforeValidator(_nothing_is_empty)] = ()
    rewards: Annotated[tuple[Reward, ...], BeforeValidator(_nothing_is_empty)] = ()
    is_refund: bool = False


class OperationInfo(_Loymax):
    """When, where and what was bought; the hub reads the cheque."""

    purchase_data: PurchaseData


class PurchaseConfirmed(_Loymax):
    """``purchases.confirm.modelUpdate``: a purchase has been confirmed."""

    operation: OperationInfo = Field(alias="purchaseOperationInfo")
    customer_info: CustomerInfo


class RefundedPurchase(_Loymax):
    """Which purchase a refund takes back, by Loymax's id or by the till's."""

    purchase_id: IdText | None = Field(default=None, alias="refundedPurchaseId")
    external_id: IdText | None = Field(default=None, alias="refundedPurchaseExternalId")


class PurchaseRefunded(_Loymax):
    """``purchases.refundModelUpdate``: a purchase has been refunded, in part or whole."""

    refunded: RefundedPurchase = Field(alias="refundedPurchaseViewModel")
    operation: OperationInfo = Field(alias="refundOperationInfo")
    customer_info: CustomerInfo


class ProfilesMerged(_Loymax):
    """``customer.profile.merge``: one member's account has been merged into another's."""

    ceased: CustomerInfo = Field(alias="fromCustomerInfo")
    survivor: CustomerInfo = Field(alias="toCustomerInfo")
