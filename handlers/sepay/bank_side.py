"""What watching the bank adds to the capability: the poll of the statement, and what people decide.

Begin with ``polling.py`` (what no webhook brought), ``reconciling.py`` (the statement against the books) and
``desk.py`` (money in suspense).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.sepay import tables_polls
from handlers.sepay.adjusting import refund_order, refund_to_wallet, withdraw_from_wallet
from handlers.sepay.callback import confirm_callback
from handlers.sepay.desk import assign_transfer, note_refund
from handlers.sepay.license_desk import restore_license, revoke_license, suspend_license
from handlers.sepay.oauth import sepay_oauth2
from handlers.sepay.polling import poll_statement
from handlers.sepay.settling_by_hand import settle_by_hand
from hub.capability import HandlerSpec
from hub.ingress.schemes import SchemeFactory
from schemas.sepay_desk import (
    CallbackReceived,
    LicenseOrder,
    OrderRefund,
    TransferAssignment,
    TransferRefundNote,
    TransferResolved,
    TransferSettled,
    TransferSettlement,
    WalletAdjusted,
    WalletAdjustment,
)

__all__ = ["HANDLERS", "SCHEMAS", "SCHEMES", "tables_polls"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {
    "poll_statement": poll_statement,
    "confirm_callback": confirm_callback,
    "settle_by_hand": settle_by_hand,
    "assign_transfer": assign_transfer,
    "note_refund": note_refund,
    "refund_to_wallet": refund_to_wallet,
    "refund_order": refund_order,
    "suspend_license": suspend_license,
    "restore_license": restore_license,
    "revoke_license": revoke_license,
    "withdraw_from_wallet": withdraw_from_wallet,
}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "CallbackReceived": CallbackReceived,
    "OrderRefund": OrderRefund,
    "LicenseOrder": LicenseOrder,
    "TransferAssignment": TransferAssignment,
    "TransferRefundNote": TransferRefundNote,
    "TransferSettlement": TransferSettlement,
    "TransferSettled": TransferSettled,
    "TransferResolved": TransferResolved,
    "WalletAdjustment": WalletAdjustment,
    "WalletAdjusted": WalletAdjusted,
}
SCHEMES: Final[Mapping[str, SchemeFactory]] = {"sepay_oauth2": sepay_oauth2}
