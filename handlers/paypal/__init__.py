"""PayPal: subscriptions, and webhooks that are proven before anything happens.

Begin with ``subscribing.py`` (a buyer subscribes), ``webhooks.py`` (a delivery is proven), ``processing.py`` (what it
means) and ``invoicing.py`` (what comes of a payment). ``tables.py`` is what is remembered, ``office.py`` what one
process holds towards PayPal.
"""

from __future__ import annotations

from pathlib import Path

from handlers.paypal.checks import checks
from handlers.paypal.cli import paypal_cli
from handlers.paypal.doors import all_routes, prepare_sandbox
from handlers.paypal.failures import record_failed, tell_failures
from handlers.paypal.invoice_desk import decide_invoice
from handlers.paypal.invoicing import advance_invoice, plan_invoice
from handlers.paypal.measures import measures
from handlers.paypal.messages import EMITS, PUBLISHES
from handlers.paypal.owners import find_owner, take_shown
from handlers.paypal.payment_reports import release_payment
from handlers.paypal.processing import process_webhook
from handlers.paypal.reconcile_cli import reconcile
from handlers.paypal.record_mail import send_mail
from handlers.paypal.record_slack import tell_slack
from handlers.paypal.record_table import keep_record
from handlers.paypal.recording import record_refused
from handlers.paypal.refunds import book_refund
from handlers.paypal.reversals import resolve_reversal
from handlers.paypal.sandbox_cli import sandbox_cli
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.subscribing import create_subscription
from handlers.paypal.sweeping import abandon_subscriptions, sweep_pending
from handlers.paypal.tables import metadata
from handlers.paypal.transactions import apply_transaction, check_payment
from handlers.paypal.webhooks import paypal_transmission, take_fetched, verify_webhook
from hub.capability import Capability
from schemas.paypal import (
    EventRecorded,
    PaymentChanged,
    SubscriptionAnswer,
    SubscriptionRequested,
    WebhookRefused,
    WebhookVerified,
)
from schemas.paypal_invoices import InvoiceChanged, InvoiceDue

capability = Capability(
    name="paypal",
    handlers={
        "verify_webhook": verify_webhook,
        "process_webhook": process_webhook,
        "create_subscription": create_subscription,
        "release_payment": release_payment,
        "book_refund": book_refund,
        "find_owner": find_owner,
        "take_shown": take_shown,
        "take_fetched": take_fetched,
        "check_payment": check_payment,
        "apply_transaction": apply_transaction,
        "resolve_reversal": resolve_reversal,
        "abandon_subscriptions": abandon_subscriptions,
        "sweep_pending": sweep_pending,
        "tell_failures": tell_failures,
        "record_failed": record_failed,
        "plan_invoice": plan_invoice,
        "advance_invoice": advance_invoice,
        "decide_invoice": decide_invoice,
        "record_refused": record_refused,
        "keep_record": keep_record,
        "tell_slack": tell_slack,
        "send_mail": send_mail,
    },
    schemas={
        "WebhookVerified": WebhookVerified,
        "WebhookRefused": WebhookRefused,
        "EventRecorded": EventRecorded,
        "SubscriptionRequested": SubscriptionRequested,
        "SubscriptionAnswer": SubscriptionAnswer,
        "PaymentChanged": PaymentChanged,
        "InvoiceDue": InvoiceDue,
        "InvoiceChanged": InvoiceChanged,
    },
    emits=EMITS,
    publishes=PUBLISHES,
    http=all_routes,
    schemes={"paypal_transmission": paypal_transmission},
    cli=paypal_cli,
    sandbox_cli=sandbox_cli,
    sandbox=prepare_sandbox,
    checks=checks,
    measures=measures,
    reconcile=reconcile,
    tables=metadata,
    migrations=Path(__file__).parent / "migrations",
    settings=PaypalSettings,
    first_steps=('Look at PayPal\'s plans, subscribe, approve:  docs/providers/paypal.md, "Sandbox"',),
)
