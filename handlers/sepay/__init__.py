"""SePay: wallets that Vietnamese bank transfers fill.

Begin with ``topup.py`` (a user asks to pay in) and ``settle.py`` (the bank's transfer comes in). ``tables.py`` is what
is remembered, ``books.py`` where the money can be.
"""

from __future__ import annotations

from pathlib import Path

from handlers.sepay import bank_side
from handlers.sepay.bank_cli import reconcile
from handlers.sepay.checks import checks
from handlers.sepay.cli import sandbox_cli, sepay_cli
from handlers.sepay.crediting import release_held
from handlers.sepay.doors import all_routes
from handlers.sepay.guide_reply import guide_reply
from handlers.sepay.intents import expire_intents
from handlers.sepay.measures import measures
from handlers.sepay.messages import EMITS, PUBLISHES, READS
from handlers.sepay.polling import SOURCE
from handlers.sepay.settings import SepaySettings
from handlers.sepay.settle import settle_transfer
from handlers.sepay.shop import HANDLERS, SCHEMAS
from handlers.sepay.shop_desk import stock_sandbox
from handlers.sepay.tables import metadata
from handlers.sepay.topup import request_topup
from handlers.sepay.wallets import activate_wallet, open_wallet, suspend_wallet
from hub.capability import Capability
from schemas.sepay import TopupRequested, Transfer, TransferNeedsReview, WalletCredited

capability = Capability(
    name="sepay",
    handlers={
        "request_topup": request_topup,
        "settle_transfer": settle_transfer,
        "release_held": release_held,
        "expire_intents": expire_intents,
        "open_wallet": open_wallet,
        "suspend_wallet": suspend_wallet,
        "activate_wallet": activate_wallet,
        **HANDLERS,
        **bank_side.HANDLERS,
    },
    schemas={
        "Transfer": Transfer,
        "TopupRequested": TopupRequested,
        "WalletCredited": WalletCredited,
        "TransferNeedsReview": TransferNeedsReview,
        **SCHEMAS,
        **bank_side.SCHEMAS,
    },
    emits=EMITS,
    publishes=PUBLISHES,
    reads=READS,
    http=all_routes,
    schemes=bank_side.SCHEMES,
    replies={SOURCE: guide_reply},
    cli=sepay_cli,
    sandbox_cli=sandbox_cli,
    reconcile=reconcile,
    checks=checks,
    measures=measures,
    sandbox=stock_sandbox,
    tables=metadata,
    migrations=Path(__file__).parent / "migrations",
    settings=SepaySettings,
)
