"""What the shop adds to the wallet: its handlers, its messages and its tables, for ``capability``.

Begin with ``ordering.py`` (somebody orders) and ``paying.py`` (an order is paid).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.sepay import table_views, tables_licenses, tables_orders
from handlers.sepay.by_message import run_command
from handlers.sepay.catalogue import upsert_symbol
from handlers.sepay.ledger_rules import check_wallets
from handlers.sepay.licenses import expire_licenses, remind_of_ends
from handlers.sepay.order_intents import create_intent, pay_by_transfer, top_up_for_order
from handlers.sepay.ordering import cancel_order, request_order
from handlers.sepay.paying import pay_from_wallet
from handlers.sepay.renewal_commands import cancel_renewal, pause_renewal, resume_renewal
from handlers.sepay.renewals import renew_license, sweep_renewals
from hub.capability import HandlerSpec
from schemas.sepay_events import (
    CommandAnswered,
    CommandMessage,
    CommandRefused,
    LicenseChanged,
    OrderCancelled,
    OrderPaid,
    OrderRefunded,
    PaymentExpired,
    RenewalChanged,
)
from schemas.sepay_orders import OrderCommand, OrderRequested, RenewalCommand, SymbolUpserted

__all__ = ["HANDLERS", "SCHEMAS", "table_views", "tables_licenses", "tables_orders"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {
    "upsert_symbol": upsert_symbol,
    "check_wallets": check_wallets,
    "run_command": run_command,
    "create_intent": create_intent,
    "request_order": request_order,
    "pay_from_wallet": pay_from_wallet,
    "pay_by_transfer": pay_by_transfer,
    "top_up_for_order": top_up_for_order,
    "cancel_order": cancel_order,
    "expire_licenses": expire_licenses,
    "remind_of_ends": remind_of_ends,
    "sweep_renewals": sweep_renewals,
    "renew_license": renew_license,
    "pause_renewal": pause_renewal,
    "resume_renewal": resume_renewal,
    "cancel_renewal": cancel_renewal,
}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "SymbolUpserted": SymbolUpserted,
    "OrderRequested": OrderRequested,
    "OrderCommand": OrderCommand,
    "RenewalCommand": RenewalCommand,
    "OrderPaid": OrderPaid,
    "OrderCancelled": OrderCancelled,
    "OrderRefunded": OrderRefunded,
    "LicenseChanged": LicenseChanged,
    "PaymentExpired": PaymentExpired,
    "RenewalChanged": RenewalChanged,
    "CommandMessage": CommandMessage,
    "CommandAnswered": CommandAnswered,
    "CommandRefused": CommandRefused,
}
