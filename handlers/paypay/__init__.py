"""PayPay: points become PayPay balance, and payments are taken; no outcome is guessed.

Begin with ``exchange_side.py`` (points become balance), ``payment_side.py`` (payments are taken) and ``client.py`` (all
that can be asked of PayPay). ``tables.py`` is what is remembered, ``books.py`` where points and yen can be.
"""

from __future__ import annotations

from pathlib import Path

from handlers.paypay import exchange_side, files_side, payment_side
from handlers.paypay.checks import checks
from handlers.paypay.console_pages import PAGES
from handlers.paypay.desk_cli import paypay_cli
from handlers.paypay.doors import all_routes
from handlers.paypay.finance_cli import finance_points
from handlers.paypay.reconcile_cli import reconcile
from handlers.paypay.sandbox_cli import sandbox_cli
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables import metadata
from hub.capability import Capability

capability = Capability(
    name="paypay",
    handlers={**exchange_side.HANDLERS, **payment_side.HANDLERS, **files_side.HANDLERS},
    schemas={**exchange_side.SCHEMAS, **payment_side.SCHEMAS},
    emits={**exchange_side.EMITS, **payment_side.EMITS, **files_side.EMITS},
    publishes={**exchange_side.PUBLISHES, **payment_side.PUBLISHES},
    http=all_routes,
    schemes=exchange_side.SCHEMES,
    cli=paypay_cli,
    sandbox_cli=sandbox_cli,
    checks=checks,
    reconcile=reconcile,
    console=PAGES,
    reports={"finance-points": finance_points},
    tables=metadata,
    migrations=Path(__file__).parent / "migrations",
    settings=PayPaySettings,
)
