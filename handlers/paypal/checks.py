"""``hub doctor paypal``: whether we can ask PayPal, and whether it can tell us.

Source: docs/providers/paypal.md, "Operating".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from handlers.paypal.asking import in_turns
from handlers.paypal.client import Ask, Call
from handlers.paypal.office import office_of
from handlers.paypal.settings import PaypalSettings
from hub.capability import CheckResult
from hub.errors import ConfigError, RetryableError

if TYPE_CHECKING:
    from hub.api import HubApi

WANTED: Final = (
    "BILLING.SUBSCRIPTION.CREATED",
    "BILLING.SUBSCRIPTION.ACTIVATED",
    "BILLING.SUBSCRIPTION.UPDATED",
    "BILLING.SUBSCRIPTION.SUSPENDED",
    "BILLING.SUBSCRIPTION.CANCELLED",
    "BILLING.SUBSCRIPTION.EXPIRED",
    "BILLING.SUBSCRIPTION.PAYMENT.FAILED",
    "PAYMENT.SALE.COMPLETED",
    "PAYMENT.SALE.PENDING",
    "PAYMENT.SALE.DENIED",
    "PAYMENT.SALE.REFUNDED",
    "PAYMENT.SALE.REVERSED",
)
"""What our webhook must be told of; ``*`` is all."""


async def checks(api: HubApi) -> Sequence[CheckResult]:
    """Every finding; PayPal is really asked."""
    settings: PaypalSettings = api.settings_of("paypal")
    try:
        office = office_of(settings)
    except ConfigError as error:
        return [CheckResult("trust anchors", ok=False, detail=str(error))]
    anchors = ", ".join(one.subject.rfc4514_string().partition(",")[0] for one in office.believed.trust.anchors)
    return [
        CheckResult("trust anchors", ok=True, detail=anchors),
        CheckResult("environment", ok=True, detail=f"{settings.environment}, {settings.api_url}"),
        *[one for name in settings.account_names for one in await _account(api, settings, name)],
    ]


async def _account(api: HubApi, settings: PaypalSettings, name: str | None) -> Sequence[CheckResult]:
    own, label = settings.account(name), f" of {name}" if name is not None else ""
    ask = in_turns(api, own)
    return [await _plans(ask, label), await _webhook(ask, own, label)]


async def _plans(ask: Ask, label: str) -> CheckResult:
    query = {"page_size": "1", "page": "1", "total_required": "true"}
    found = await _ask(ask, Call("GET", "/v1/billing/plans", "list-plans", query=query))
    if isinstance(found, str):
        return CheckResult(f"credentials and plans{label}", ok=False, detail=found)
    return CheckResult(f"credentials and plans{label}", ok=True, detail=f"{found.get('total_items', '?')} plans")


async def _webhook(ask: Ask, settings: PaypalSettings, label: str) -> CheckResult:
    name = f"webhook{label}"
    if not settings.webhook_ids:
        return CheckResult(name, ok=False, detail="HUB_PAYPAL_WEBHOOK_ID is not set: every webhook is refused")
    path = f"/v1/notifications/webhooks/{quote(settings.webhook_ids[0], safe='')}"
    found = await _ask(ask, Call("GET", path, "show-webhook"))
    if isinstance(found, str):
        return CheckResult(name, ok=False, detail=found)
    types = found.get("event_types")
    told = {one.get("name") for one in types if isinstance(one, Mapping)} if isinstance(types, list) else set()
    missing = [] if "*" in told else sorted(set(WANTED) - told)
    if missing:
        return CheckResult(name, ok=False, detail=f"{found.get('url')} is not told of {', '.join(missing)}")
    return CheckResult(name, ok=True, detail=f"{found.get('url')} is told of everything that matters")


async def _ask(ask: Ask, call: Call) -> Mapping[str, Any] | str:
    """The body of a good answer, or in words what is wrong."""
    try:
        answer = await ask(call)
    except RetryableError as error:
        return str(error)
    if not answer.is_ok or not isinstance(answer.body, Mapping):
        return f"PayPal answers {answer.status} {answer.issue}"
    return answer.body
