"""Loyalty: what happens to a member's bonuses, and one envelope in which loyalty platforms hear of it.

Begin with ``purchases.py``. Loymax's events come in as they are (``schemas/loymax.py``); what goes out is in
``announcing.py``.
"""

from __future__ import annotations

from pathlib import Path

from handlers.loyalty.announcing import (
    announce_license,
    announce_order,
    announce_subscription,
    announce_wallet_credit,
)
from handlers.loyalty.merges import apply_merge
from handlers.loyalty.messages import PUBLISHES
from handlers.loyalty.purchases import apply_purchase
from handlers.loyalty.refunds import apply_refund
from handlers.loyalty.tables import metadata
from hub.capability import Capability
from schemas.loyalty import LoyaltyEvent
from schemas.loymax import ProfilesMerged, PurchaseConfirmed, PurchaseRefunded

capability = Capability(
    name="loyalty",
    handlers={
        "announce_wallet_credit": announce_wallet_credit,
        "announce_order": announce_order,
        "announce_license": announce_license,
        "announce_subscription": announce_subscription,
        "apply_purchase": apply_purchase,
        "apply_refund": apply_refund,
        "apply_merge": apply_merge,
    },
    schemas={
        "LoyaltyEvent": LoyaltyEvent,
        "PurchaseConfirmed": PurchaseConfirmed,
        "PurchaseRefunded": PurchaseRefunded,
        "ProfilesMerged": ProfilesMerged,
    },
    publishes=PUBLISHES,
    tables=metadata,
    first_steps=(
        "Send a purchase:  hub publish tests/data/loymax/purchase_confirm.json"
        " --source loymax --type purchases.confirm.modelUpdate",
        "Read what it led to:  hub queue read smc.customerEvents",
    ),
    migrations=Path(__file__).parent / "migrations",
)
