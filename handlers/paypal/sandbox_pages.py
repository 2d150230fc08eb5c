"""The page on which the played buyer approves a subscription, or thinks better of it.

Source: docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

from aiohttp import web

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.sandbox_api import SandboxApi, approval_token
from handlers.paypal.sandbox_book import Row

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}"
    "button{font:inherit;padding:.5rem 1.5rem;margin-right:1rem}table{border-spacing:1rem 0;margin:1rem -1rem}"
)


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """Below ``path``; who comes without the link's token sees nothing."""

    api: SandboxApi
    path: str

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        yield web.get(f"{self.path}/approve", self.show)
        yield web.post(f"{self.path}/approve", self.decide)

    async def show(self, request: web.Request) -> web.Response:
        """What is to be approved, with both buttons."""
        row = self._asked(request)
        if row is None:
            return _page("Not found", "<p>There is no such subscription.</p>", status=404)
        if row["status"] != "APPROVAL_PENDING":
            return _page("Decided", f"<p>This subscription is {escape(row['status'])}.</p>")
        subscriber = row.get("subscriber", {})
        name = subscriber.get("name", {})
        with self.api.keeper.opened() as book:
            plan = book.plans[row["plan_id"]]
        price = plan["billing_cycles"][0]["pricing_scheme"]["fixed_price"]
        facts = {
            "Seller": row.get("application_context", {}).get("brand_name", ""),
            "Plan": plan["name"],
            "Price": f"{price['value']} {price['currency_code']} a month",
            "Buyer": f"{name.get('given_name', '')} {name.get('surname', '')}",
            "Subscription": row["id"],
        }
        lines = "".join(f"<tr><th align=left>{label}<td>{escape(value)}" for label, value in facts.items() if value)
        form = (
            '<form method="post"><button name="action" value="approve">Agree and subscribe</button>'
            '<button name="action" value="cancel">Cancel</button></form>'
        )
        return _page("Subscribe with PayPal (sandbox)", f"<table>{lines}</table>{form}")

    async def decide(self, request: web.Request) -> web.Response:
        """The buyer's choice: an agreement is ACTIVE and paid at once; a change of mind changes nothing."""
        row, fields = self._asked(request), await request.post()
        if row is None:
            return _page("Not found", "<p>There is no such subscription.</p>", status=404)
        context = row.get("application_context", {})
        if fields.get("action") != "approve":
            return _goodbye("Cancelled", "Nothing was subscribed.", context.get("cancel_url", ""))
        now = self.api.now
        with self.api.keeper.opened() as book:
            if deeds.found(book, row["id"])["status"] != "APPROVAL_PENDING":
                return _page("Decided", "<p>This subscription was decided before.</p>", status=409)
            told = [
                deeds.change_status(book, row["id"], "ACTIVE", now),
                deeds.pay(book, row["id"], now),
            ]
        for body in told:
            self.api.send(body)
        return _goodbye("Thank you", f"Subscription {row['id']} is active.", context.get("return_url", ""))

    def _asked(self, request: web.Request) -> Row | None:
        subscription_id, token = request.query.get("subscription", ""), request.query.get("ba_token", "")
        if not hmac.compare_digest(token.encode(), approval_token(subscription_id).encode()):
            return None
        with self.api.keeper.opened() as book:
            return book.subscriptions.get(subscription_id)


def _goodbye(title: str, text: str, url: str) -> web.Response:
    link = f'<p>The shop goes on at <a href="{escape(url)}">{escape(url)}</a>.</p>' if url.startswith("http") else ""
    return _page(title, f"<p>{escape(text)}</p>{link}")


def _page(title: str, body: str, *, status: int = 200) -> web.Response:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)
