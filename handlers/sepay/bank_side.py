"""What watching the bank adds to the capability: the poll of the statement, and what people decide.

Begin with ``polling.py`` (what no webhook brought), ``reconciling.py`` (the statement against the books) and
``desk.py`` (money in suspense).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.sepay import tables_polls
from handlers.sepay.adjusting import refund_to_wallet, withdraw_from_wallet
from handlers.sepay.callback import confirm_callback
from handlers.sepay.desk import assign_transfer, note_refund
from handlers.sepay.oauth import sepay_oauth2
from handlers.sepay.polling import poll_statement
from hub.capability import HandlerSpec
from hub.ingress.schemes import SchemeFactory
from schemas.sepay_desk import (
    CallbackReceived,
    TransferAssignment,
    TransferRefundNote,
    TransferResolved,
    WalletAdjusted,
    WalletAdjustment,
)

__all__ = ["HANDLERS", "SCHEMAS", "SCHEMES", "tables_polls"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {
    "poll_statement": poll_statement,
    "confirm_callback": confirm_callback,
    "assign_transfer": assign_transfer,
    "note_refund": note_refund,
    "refund_to_wallet": refund_to_wallet,
    "withdraw_from_wallet": withdraw_from_wallet,
}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "CallbackReceived": CallbackReceived,
    "TransferAssignment": TransferAssignment,
    "TransferRefundNote": TransferRefundNote,
    "TransferResolved": TransferResolved,
    "WalletAdjustment": WalletAdjustment,
    "WalletAdjusted": WalletAdjusted,
}
SCHEMES: Final[Mapping[str, SchemeFactory]] = {"sepay_oauth2": sepay_oauth2}
