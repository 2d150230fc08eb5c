"""What the capability's handlers tell: each type of event and message with its model, for the published schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.sepay.by_message import COMMANDS
from schemas.sepay import HeldTransferReleased, TransferNeedsReview, WalletCredited
from schemas.sepay_desk import TransferResolved, WalletAdjusted
from schemas.sepay_events import (
    CommandAnswered,
    CommandRefused,
    LicenseChanged,
    OrderCancelled,
    OrderPaid,
    OrderRefunded,
    PaymentExpired,
    RenewalChanged,
    RenewalDue,
)

EMITS: Final[Mapping[str, type[BaseModel]]] = {
    "wallet.credited": WalletCredited,
    "wallet.refunded": WalletAdjusted,
    "wallet.withdrawn": WalletAdjusted,
    "order.paid": OrderPaid,
    "order.cancelled": OrderCancelled,
    "order.refunded": OrderRefunded,
    "payment.expired": PaymentExpired,
    "license.activated": LicenseChanged,
    "license.extended": LicenseChanged,
    "license.expired": LicenseChanged,
    "license.expires_soon": LicenseChanged,
    "license.shortened": LicenseChanged,
    "license.suspended": LicenseChanged,
    "license.restored": LicenseChanged,
    "license.revoked": LicenseChanged,
    "renewal.succeeded": RenewalChanged,
    "renewal.failed": RenewalChanged,
    "renewal.suspended": RenewalChanged,
    "renewal.completed": RenewalChanged,
    "renewal.paused": RenewalChanged,
    "renewal.resumed": RenewalChanged,
    "renewal.cancelled": RenewalChanged,
    "sepay.renewal.due": RenewalDue,
    "sepay.transaction.needs_review": TransferNeedsReview,
    "sepay.transaction.resolved": TransferResolved,
    "sepay.transfer.held_released": HeldTransferReleased,
}
"""Events that handlers emit; routing.yaml decides which of them go out."""

PUBLISHES: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "run_command": {"sepay.command.answered": CommandAnswered, "sepay.command.refused": CommandRefused},
}
"""Handler → routing key → what it sends to the destinations of its route."""

READS: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "run_command": {type_: spec.model for type_, spec in COMMANDS.items() if spec.model is not None},
}
"""A handler that takes events as they are → type → what it reads them as."""
