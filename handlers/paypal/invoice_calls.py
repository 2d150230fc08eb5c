"""PayPal asked about the invoice of one payment: each step, and the question whether it has happened.

Nothing here is decided by a time-out: a step whose answer is lost is looked up. Invoicing has no documented
PayPal-Request-Id; it is sent, and nothing relies on it. Source: Invoicing v2; docs/providers/paypal.md, "Invoices".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import structlog

from handlers.paypal import invoice_answers as answers
from handlers.paypal.client import Answer, Call, NoAnswerError
from handlers.paypal.invoice_body import READ_ONLY, Facts, amount_of, body_of, paypal_money, recipient_of
from handlers.paypal.office import Office
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalSubscription
from handlers.paypal.tables_invoices import PaypalInvoice
from hub.calls.outcome import Declined, LookupOutcome, NotFound, Outcome, Pending, Settled, Unknown
from hub.errors import RetryableError
from hub.money import Money
from schemas.paypal_invoices import InvoiceDue

PATH: Final = "/v2/invoicing/invoices"
SEARCH_PATH: Final = "/v2/invoicing/search-invoices"
SUBSCRIPTIONS_PATH: Final = "/v1/billing/subscriptions"
PAGE_SIZE: Final = "100"
METHOD: Final = "PAYPAL"

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


@dataclass(frozen=True, slots=True)
class InvoiceCalls:
    """The steps of one invoice. Each answers with an outcome; a ``…_happened`` is its lookup."""

    office: Office
    settings: PaypalSettings
    row: PaypalInvoice
    subscription: PaypalSubscription | None
    due: InvoiceDue
    now: datetime

    async def draft(self, request: object, key: str) -> Outcome:
        """Make the draft. Raises RetryableError while the buyer or the plan cannot be read: nothing is made then."""
        if self.due.turn:
            # A person has looked at PayPal meanwhile, and may have made it.
            found = await self.draft_happened(request, key)
            if not isinstance(found, NotFound):
                return found
        settings = self.settings
        body = body_of(
            self.row,
            await self._facts(),
            settings.invoice_texts,
            seller=settings.invoicer_email,
            brand=settings.brand_name,
            locale=settings.locale,
        )
        if not recipient_of(body):
            log.warning("invoice_without_recipient", payment_id=self.row.payment_id)
        call = Call("POST", PATH, "draft-invoice", body=body, request_id=key, prefer="representation")
        answer = await self._asked(call)
        if isinstance(answer, Unknown):
            return answer
        if answers.is_number_taken(answer):
            found = await self.draft_happened(request, key)
            missing = Unknown(f"PayPal says {answer.issue}, and finds no such invoice")
            return missing if isinstance(found, NotFound) else found
        if not answer.is_ok:
            return answers.undecided(answer)
        return await self._drafted(answer.body)

    async def _drafted(self, body: Any) -> Outcome:
        if isinstance(body, Mapping) and "amount" in body:
            return answers.drafted(self.row, body)
        id_ = answers.invoice_id_of(body)
        try:
            whole = await self._invoice(id_) if id_ else Unknown("PayPal's answer names no invoice")
        except RetryableError as error:
            # Of the look alone nothing has happened; the draft is there, and must not be made again unseen.
            return Unknown(f"PayPal has the draft, and does not show it: {error}")
        return whole if isinstance(whole, Unknown | Declined) else answers.drafted(self.row, whole)

    async def draft_happened(self, request: object, key: str) -> LookupOutcome:
        """Look for the invoice by its number."""
        query = {"page": "1", "page_size": PAGE_SIZE, "total_required": "false"}
        body = {"invoice_number": self.row.invoice_number}
        answer = await self._asked(Call("POST", SEARCH_PATH, "search-invoices", query=query, body=body))
        if isinstance(answer, Unknown):
            return answer
        if not answer.is_ok or not isinstance(answer.body, Mapping):
            return Unknown(f"PayPal answers {answer.status} {answer.issue} to a search")
        return answers.of_number(self.row, answer.body.get("items"))

    async def send(self, request: object, key: str) -> Outcome:
        """Send the invoice; without an address, or where the mail comes later, nobody is mailed."""
        is_mailed = self.settings.invoice_email == "on_send" and self.row.has_recipient
        answer = await self._send(key, is_mailed=is_mailed)
        if isinstance(answer, Answer) and answer.issue == answers.NO_EMAIL and is_mailed:
            log.warning("invoice_without_recipient", payment_id=self.row.payment_id)
            answer = await self._send(key, is_mailed=False)
        if isinstance(answer, Unknown):
            return answer
        if answer.status == 404:
            return Declined(answers.NOT_THERE)
        if answer.status == 202:
            return Pending("PayPal sends the invoice on its day")
        return Settled() if answer.is_ok or answer.issue == answers.ALREADY_SENT else answers.undecided(answer)

    async def _send(self, key: str, *, is_mailed: bool) -> Answer | Unknown:
        body = {"send_to_recipient": is_mailed, "send_to_invoicer": self.settings.invoice_copy}
        return await self._asked(Call("POST", f"{self._path}/send", "send-invoice", body=body, request_id=key))

    async def send_happened(self, request: object, key: str) -> LookupOutcome:
        invoice = await self._invoice(self.row.invoice_id or "")
        return invoice if isinstance(invoice, Unknown | Declined) else answers.sent(invoice)

    async def record(self, request: object, key: str) -> Outcome:
        """Mark the invoice as paid. To do so twice would be two payments: PayPal is asked before it is done again."""
        if self.due.turn:
            found = await self.record_happened(request, key)
            if not isinstance(found, NotFound):
                return found
        body = {
            "method": METHOD,
            "payment_date": self.row.dated,
            "amount": paypal_money(amount_of(self.row)),
            "note": f"PayPal payment {self.row.payment_id}",
        }
        call = Call("POST", f"{self._path}/payments", "record-invoice-payment", body=body, request_id=key)
        answer = await self._asked(call)
        if isinstance(answer, Unknown):
            return answer
        if answer.is_ok:
            return Settled({answers.BY_BUYER: False})
        if answer.issue in answers.NOT_PAYABLE:
            found = await self.record_happened(request, key)
            return Declined(answer.issue) if isinstance(found, NotFound) else found
        return answers.undecided(answer)

    async def record_happened(self, request: object, key: str) -> LookupOutcome:
        invoice = await self._invoice(self.row.invoice_id or "")
        return invoice if isinstance(invoice, Unknown | Declined) else answers.paid(self.row, invoice)

    async def notify(self, request: object, key: str) -> Outcome:
        """Have PayPal mail the invoice now that it is paid: an update that tells the buyer."""
        invoice = await self._invoice(self.row.invoice_id or "")
        if isinstance(invoice, Unknown | Declined):
            return invoice
        body = {name: value for name, value in invoice.items() if name not in READ_ONLY}
        query = {"send_to_recipient": "true", "send_to_invoicer": "false"}
        answer = await self._asked(Call("PUT", self._path, "update-invoice", query=query, body=body, request_id=key))
        if isinstance(answer, Unknown):
            return answer
        return Settled() if answer.is_ok else answers.undecided(answer)

    async def notify_happened(self, request: object, key: str) -> LookupOutcome:
        """Nobody can tell whether a mail went out: a second one hurts nobody."""
        return NotFound(may_repeat=True)

    async def refund(self, request: object, key: str) -> Outcome:
        """Record on the invoice what was given back."""
        back = Money(self.due.amount_minor, self.row.currency)
        body = {"method": METHOD, "refund_date": self.now.date().isoformat(), "amount": paypal_money(back)}
        call = Call("POST", f"{self._path}/refunds", "record-invoice-refund", body=body, request_id=key)
        answer = await self._asked(call)
        if isinstance(answer, Unknown):
            return answer
        return Settled() if answer.is_ok else answers.undecided(answer)

    async def refund_happened(self, request: object, key: str) -> LookupOutcome:
        invoice = await self._invoice(self.row.invoice_id or "")
        if isinstance(invoice, Unknown | Declined):
            return invoice
        due = self.due
        return answers.refunded(self.row, invoice, before_minor=due.before_minor, amount_minor=due.amount_minor)

    @property
    def _path(self) -> str:
        return f"{PATH}/{quote(self.row.invoice_id or '', safe='')}"

    async def _asked(self, call: Call) -> Answer | Unknown:
        try:
            return await self.office.client.ask(call)
        except NoAnswerError as error:
            return Unknown(str(error))

    async def _invoice(self, id_: str) -> Mapping[str, Any] | Unknown | Declined:
        answer = await self._asked(Call("GET", f"{PATH}/{quote(id_, safe='')}", "show-invoice"))
        if isinstance(answer, Unknown):
            return answer
        if answer.status == 404:
            return Declined(answers.NOT_THERE)
        if not answer.is_ok or not isinstance(answer.body, Mapping):
            return Unknown(f"PayPal answers {answer.status} {answer.issue}")
        return answer.body

    async def _facts(self) -> Facts:
        """The buyer and the plan: an address that we keep goes before PayPal's."""
        shown = await self._subscription()
        subscriber = shown.get("subscriber")
        subscriber = subscriber if isinstance(subscriber, Mapping) else {}
        name = subscriber.get("name")
        name = name if isinstance(name, Mapping) else {}
        kept = self.subscription
        plan_id = (kept.plan_id if kept else None) or _text(shown, "plan_id")
        plan = await self._plan(plan_id)
        return Facts(
            plan_id=plan_id,
            plan_name=_text(plan, "name"),
            plan_description=_text(plan, "description"),
            email=(kept.email if kept else None) or _text(subscriber, "email_address"),
            given_name=_text(name, "given_name"),
            surname=_text(name, "surname"),
        )

    async def _subscription(self) -> Mapping[str, Any]:
        if self.row.subscription_id is None:
            return {}
        path = f"{SUBSCRIPTIONS_PATH}/{quote(self.row.subscription_id, safe='')}"
        answer = await self._asked(Call("GET", path, "show-subscription"))
        if isinstance(answer, Answer) and answer.is_ok and isinstance(answer.body, Mapping):
            return answer.body
        if isinstance(answer, Answer) and answer.status == 404:
            return {}
        reason = answer.reason if isinstance(answer, Unknown) else f"{answer.status} {answer.issue}"
        raise RetryableError(f"PayPal does not show the subscription: {reason}")

    async def _plan(self, plan_id: str) -> Mapping[str, Any]:
        if not plan_id:
            return {}
        plans = await self.office.plans.listed(self.office.client.ask, self.now, changed_at=None, is_all=True)
        return next((plan for plan in plans if plan.get("id") == plan_id), {})


def _text(data: Mapping[str, Any], name: str) -> str:
    found = data.get(name)
    return found if isinstance(found, str) else ""
